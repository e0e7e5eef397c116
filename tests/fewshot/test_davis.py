"""`python -m fewshot.davis`: folders of PNGs in, the table of the DAVIS toolkit out."""

from __future__ import annotations

from pathlib import Path

import pytest

from benchmarks.davis import Folders, evaluate, table
from fewshot import davis
from tests.benchmarks.test_davis import write_masks, write_referring


@pytest.fixture
def call(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Runs the command on the masks below `tmp_path`: its exit code, output and errors."""
    write_masks(tmp_path)

    def run(*words: str, folders: bool = True) -> tuple[int, str, str]:
        given = [f"results={tmp_path / 'result'}", f"annotations={tmp_path / 'truth'}"] if folders else []
        monkeypatch.setattr("sys.argv", ["davis", *given, *words])
        code = 0
        try:
            davis.main()
        except SystemExit as end:
            code = end.code
        return code, *capsys.readouterr()

    return run


def test_the_command_prints_the_table(tmp_path: Path, call) -> None:
    expected = table(evaluate(Folders(tmp_path / "result", tmp_path / "truth")))
    assert call() == (0, expected + "\n", "")
    code, out, _ = call("task=unsupervised", "processes=2", "wrapped_ids=true")
    assert code == 0 and "dog_2" in out


def test_chosen_sequences_and_binary_masks(tmp_path: Path, call) -> None:
    (tmp_path / "val.txt").write_text("cat\n")
    _, out, _ = call(f"sequences={tmp_path / 'val.txt'}", "binary=true")
    assert "cat_1" in out and "cat_2" not in out and "dog" not in out


def test_referring(tmp_path: Path, call) -> None:
    write_referring(tmp_path, write_masks(tmp_path))
    code, out, _ = call("task=referring")
    assert code == 0 and out.startswith("Annotator") and "anno_3" in out
    code, _, err = call("task=referring", "binary=true")
    assert code == 1 and "binary=true is for DAVIS 2016" in err


@pytest.mark.parametrize(
    ("word", "message"),
    [
        ("task=semi", "valid are semi-supervised, unsupervised, referring"),
        ("tsk=unsupervised", "Did you mean 'task'?"),
        ("binary=yes", "binary=yes: give true or false"),
        ("processes=0", "processes=0: the smallest valid value is 1"),
        ("sequences=/nowhere.txt", "/nowhere.txt is not a file of sequence names"),
        ("fast", "expected key=value, got 'fast'"),
    ],
)
def test_wrong_words(call, word: str, message: str) -> None:
    code, out, err = call(word)
    assert (code, out) == (1, "") and err.startswith("error: ") and message in err
    assert err.count("\n") == 1


def test_missing_folders_and_help(call) -> None:
    code, _, err = call("results=/tmp", folders=False)
    assert code == 1 and "missing: annotations=" in err
    code, out, _ = call("--help", folders=False)
    assert code == 0 and "annotations" in out

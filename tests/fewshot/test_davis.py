"""`python -m fewshot.davis`: folders of PNGs in, the table of the DAVIS toolkit out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.davis import Folders, csv_tables, evaluate, table
from benchmarks.metrics.davis import DavisAccumulator, ObjectScore, SequenceScore
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
    code, out, err = call()
    assert (code, err) == (0, "") and out.startswith(expected + "\n")
    code, out, _ = call("task=unsupervised", "processes=2", "wrapped_ids=true")
    assert code == 0 and "dog_2" in out


def test_the_two_csv_files_of_the_toolkit(tmp_path: Path, call) -> None:
    (tmp_path / "val.txt").write_text("dog\n")
    for _ in range(2):  # its own files are replaced
        code, out, _ = call(f"sequences={tmp_path / 'val.txt'}", f"out={tmp_path / 'tables'}")
    one, two = tmp_path / "tables/global_results-val.csv", tmp_path / "tables/per-sequence_results-val.csv"
    assert code == 0 and str(one) in out and str(two) in out
    score = evaluate(Folders(tmp_path / "result", tmp_path / "truth"), ["dog"])
    values = ",".join(f"{value:.3f}" for value in score.compute().values())
    assert one.read_text() == f"J&F-Mean,J-Mean,J-Recall,J-Decay,F-Mean,F-Recall,F-Decay\n{values}\n"
    rows = "".join(f"{name},{j:.3f},{f:.3f}\n" for name, (j, f) in score.rows().items())
    assert two.read_text() == "Sequence,J-Mean,F-Mean\n" + rows and rows.startswith("dog_1,")
    assert call("split=test-dev")[0] == 0
    assert (tmp_path / "result/global_results-test-dev.csv").is_file(), "beside the results, as the toolkit does"


def test_a_file_of_another_program_is_not_replaced(tmp_path: Path, call) -> None:
    path = tmp_path / "result/per-sequence_results-val.csv"
    path.write_text("mine\n")
    code, out, err = call()
    assert (code, out, path.read_text()) == (1, "", "mine\n")
    assert err == f"error: {path} is no table of DAVIS: move it away, or give another out=<folder> or split=<name>\n"
    code, _, err = call("split=../x")
    assert code == 1 and "split=../x: give the name of a part" in err


def test_csv_of_a_number_that_is_none() -> None:
    score = DavisAccumulator([SequenceScore("a", {1: ObjectScore(np.full(300, 0.5), np.full(300, 0.5))})])
    head, row, rest = csv_tables(score, "val", wrapped_ids=True)["global_results-val.csv"].split("\n")
    assert dict(zip(head.split(","), row.split(","), strict=True))["J-Decay"] == "" and rest == ""


@pytest.mark.parametrize("processes", [1, 2])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "cannot be read as a PNG"),
        (b"hello", "cannot be read as a PNG"),
        ("JPEG", "is a JPEG image: label maps are PNGs"),
    ],
)
def test_a_broken_mask_is_named_in_one_line(tmp_path: Path, call, processes: int, content, message: str) -> None:
    path = tmp_path / "result/cat/00001.png"
    if content == "JPEG":
        Image.new("L", (32, 24)).save(path, "JPEG")
    else:
        path.write_bytes(content)
    code, out, err = call(f"processes={processes}")
    assert (code, out) == (1, "") and err.startswith(f"error: {path} ") and message in err and err.count("\n") == 1


def test_a_list_that_is_no_text_and_a_truth_without_sequences(tmp_path: Path, call) -> None:
    (tmp_path / "val.txt").write_bytes("caf\xe9".encode("latin-1"))
    code, _, err = call(f"sequences={tmp_path / 'val.txt'}")
    assert code == 1 and "val.txt is not text in UTF-8" in err and err.count("\n") == 1
    (tmp_path / "nothing").mkdir()
    code, _, err = call(f"annotations={tmp_path / 'nothing'}", f"results={tmp_path / 'result'}", folders=False)
    assert code == 1 and "nothing holds no folder of a sequence" in err


def test_chosen_sequences_and_binary_masks(tmp_path: Path, call) -> None:
    (tmp_path / "val.txt").write_text("cat\n")
    _, out, _ = call(f"sequences={tmp_path / 'val.txt'}", "binary=true")
    assert "cat_1" in out and "cat_2" not in out and "dog" not in out


def test_referring(tmp_path: Path, call) -> None:
    write_referring(tmp_path, write_masks(tmp_path))
    code, out, _ = call("task=referring")
    assert code == 0 and out.startswith("Annotator") and "anno_3" in out
    assert all((tmp_path / f"result/anno_{k}/global_results-val.csv").is_file() for k in range(4))
    for word, mean in (("keep_ids=false", "1.000"), ("keep_ids=true", "0.000")):  # the objects are exchanged
        code, out, _ = call("task=referring", word)
        assert code == 0 and out.splitlines()[3].split()[:3:2] == ["anno_0", mean]
    code, _, err = call("keep_ids=true")
    assert code == 1 and "semi-supervised always keeps the ids" in err
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

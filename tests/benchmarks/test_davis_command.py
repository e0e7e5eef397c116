"""`python -m benchmarks.davis`: folders of PNGs in, the official table out."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from benchmarks.davis import Folders, evaluate, main
from benchmarks.metrics.davis import DavisAccumulator, score_semi_supervised
from benchmarks.png import write_labels


@pytest.fixture
def masks(tmp_path: Path) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Truth and result of two sequences, `(T, 24, 32)`, written below `tmp_path`."""
    made = {}
    for name, frames in (("cat", 4), ("dog", 6)):
        truth = np.zeros((frames, 24, 32), np.uint8)
        truth[:, 4:12, 4:14], truth[:, 14:22, 10:24] = 1, 2
        made[name] = truth, np.roll(truth, 2, axis=2)
        for root, labels in zip(("truth", "result"), made[name], strict=True):
            for t, frame in enumerate(labels):
                write_labels(tmp_path / root / name / f"{t:05d}.png", frame)
    return made


def run(tmp_path: Path, capsys: pytest.CaptureFixture, *more: str) -> str:
    main([f"results={tmp_path / 'result'}", f"annotations={tmp_path / 'truth'}", *more])
    return capsys.readouterr().out


def test_table_of_the_command(tmp_path: Path, masks: dict, capsys: pytest.CaptureFixture) -> None:
    expected = DavisAccumulator(score_semi_supervised(name, *pair) for name, pair in masks.items())
    lines = run(tmp_path, capsys).splitlines()
    assert lines[0].split() == list(expected.compute())
    assert lines[2].split() == [f"{value:.3f}" for value in expected.compute().values()]
    assert lines[-1].split() == ["dog_2", *(f"{value:.3f}" for value in expected.rows()["dog_2"])]


def test_several_processes_give_the_same(tmp_path: Path, masks: dict) -> None:
    folders = Folders(tmp_path / "result", tmp_path / "truth", task="unsupervised")
    one, two = evaluate(folders), evaluate(folders, processes=2)
    assert one.compute() == two.compute() and one.rows() == two.rows()


def test_chosen_sequences_and_binary_masks(tmp_path: Path, masks: dict, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "val.txt").write_text("cat\n")
    out = run(tmp_path, capsys, f"sequences={tmp_path / 'val.txt'}", "binary=true")
    assert "cat_1" in out and "cat_2" not in out and "dog" not in out


def test_results_are_needed_for_scored_frames_only(tmp_path: Path, masks: dict, capsys: pytest.CaptureFixture) -> None:
    (tmp_path / "result" / "cat" / "00000.png").unlink()
    before = run(tmp_path, capsys)
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, capsys, "task=unsupervised")
    assert "00000.png is missing" in capsys.readouterr().err
    assert "cat_1" in before
    (tmp_path / "result" / "cat" / "00001.png").unlink()
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, capsys)
    assert "00001.png is missing" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argument", "message"),
    [
        ("task=semi", "valid are semi-supervised, unsupervised, referring"),
        ("tsk=unsupervised", "Did you mean 'task'?"),
        ("binary=yes", "binary must be true or false"),
        ("processes=0", "processes must be a whole number of at least 1"),
        ("annotations=/nowhere", "/nowhere is not a folder"),
        ("fast", "'fast' is not a key=value pair"),
    ],
)
def test_wrong_arguments(
    tmp_path: Path, masks: dict, capsys: pytest.CaptureFixture, argument: str, message: str
) -> None:
    with pytest.raises(SystemExit, match="2"):
        run(tmp_path, capsys, argument)
    assert message in capsys.readouterr().err


def test_missing_and_help(capsys: pytest.CaptureFixture) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["results=/tmp"])
    assert "missing: annotations=..." in capsys.readouterr().err
    with pytest.raises(SystemExit, match="0"):
        main(["--help"])
    assert "annotations" in capsys.readouterr().out


def test_sizes_and_empty_folders_are_named(tmp_path: Path, masks: dict) -> None:
    folders = Folders(tmp_path / "result", tmp_path / "truth")
    for t in range(4):
        write_labels(tmp_path / "result" / "cat" / f"{t:05d}.png", np.zeros((12, 16)))
    with pytest.raises(ValueError, match="resolution of the annotations"):
        evaluate(folders, ["cat"])
    (tmp_path / "truth" / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no PNG"):
        evaluate(folders, ["empty"])

"""Folders of PNGs in, the table of the DAVIS toolkit out."""

from __future__ import annotations

import weakref
from pathlib import Path

import numpy as np
import pytest

from benchmarks.davis import (
    ANNOTATORS,
    Folders,
    evaluate,
    evaluate_referring,
    mean_of_runs,
    read_sequence_list,
    referring_table,
    table,
)
from benchmarks.masks import png
from benchmarks.masks.png import read_labels, write_labels
from benchmarks.masks.submission import check_submission, write_results
from benchmarks.metrics.davis import DavisAccumulator, score_semi_supervised, score_unsupervised
from episodes.sources.tasks import open_task_source
from tests.shared import require_shared

Masks = dict[str, tuple[np.ndarray, np.ndarray]]


def write_masks(folder: Path) -> Masks:
    """Truth and result of two sequences, `(T, 24, 32)`, written to `truth` and `result` below `folder`."""
    made = {}
    for name, frames in (("cat", 4), ("dog", 6)):
        truth = np.zeros((frames, 24, 32), np.uint8)
        truth[:, 4:12, 4:14], truth[:, 14:22, 10:24] = 1, 2
        made[name] = truth, np.roll(truth, 2, axis=2)
        for root, labels in zip(("truth", "result"), made[name], strict=True):
            for t, frame in enumerate(labels):
                write_labels(folder / root / name / f"{t:05d}.png", frame)
    return made


def write_referring(folder: Path, masks: Masks) -> dict[str, DavisAccumulator]:
    """Results of four annotators, each shifted further from the truth, and their expected scores.

    The objects have swapped ids, which the unsupervised protocol matches.
    """
    expected = {}
    for shift, name in enumerate(ANNOTATORS):
        results = {video: np.roll(np.array([0, 2, 1])[truth], shift, axis=2) for video, (truth, _) in masks.items()}
        for video, labels in results.items():
            for t, frame in enumerate(labels):
                write_labels(folder / "result" / name / video / f"{t:05d}.png", frame)
        runs = (score_unsupervised(video, masks[video][0], labels) for video, labels in results.items())
        expected[name] = DavisAccumulator(runs)
    return expected


@pytest.fixture
def masks(tmp_path: Path) -> Masks:
    return write_masks(tmp_path)


@pytest.fixture
def referring(tmp_path: Path, masks: Masks) -> dict[str, DavisAccumulator]:
    return write_referring(tmp_path, masks)


def test_table(tmp_path: Path, masks: Masks) -> None:
    expected = DavisAccumulator(score_semi_supervised(name, *pair) for name, pair in masks.items())
    lines = table(evaluate(Folders(tmp_path / "result", tmp_path / "truth"))).splitlines()
    assert lines[0].split() == list(expected.compute())
    assert lines[2].split() == [f"{value:.3f}" for value in expected.compute().values()]
    assert lines[-1].split() == ["dog_2", *(f"{value:.3f}" for value in expected.rows()["dog_2"])]


def test_several_processes_give_the_same(tmp_path: Path, masks: Masks) -> None:
    folders = Folders(tmp_path / "result", tmp_path / "truth", task="unsupervised")
    one, two = evaluate(folders), evaluate(folders, processes=2)
    assert one.compute() == two.compute() and one.rows() == two.rows()


def test_chosen_sequences_and_binary_masks(tmp_path: Path, masks: Masks) -> None:
    (tmp_path / "val.txt").write_text("cat\n")
    names = read_sequence_list(tmp_path / "val.txt")
    scores = evaluate(Folders(tmp_path / "result", tmp_path / "truth", binary=True), names)
    assert scores.rows().keys() == {"cat_1"}
    with pytest.raises(ValueError, match="no.txt is not a file of sequence names"):
        read_sequence_list(tmp_path / "no.txt")


def test_results_are_needed_for_scored_frames_only(tmp_path: Path, masks: Masks) -> None:
    folders = Folders(tmp_path / "result", tmp_path / "truth")
    (tmp_path / "result" / "cat" / "00000.png").unlink()
    assert "cat_1" in evaluate(folders).rows()
    with pytest.raises(ValueError, match="00000.png is missing"):
        evaluate(Folders(tmp_path / "result", tmp_path / "truth", "unsupervised"))
    (tmp_path / "result" / "cat" / "00001.png").unlink()
    with pytest.raises(ValueError, match="00001.png is missing"):
        evaluate(folders)


def test_impossible_folders(tmp_path: Path, masks: Masks) -> None:
    with pytest.raises(ValueError, match="'semi': valid are semi-supervised, unsupervised, identity, referring"):
        Folders(tmp_path / "result", tmp_path / "truth", "semi")
    with pytest.raises(ValueError, match="/nowhere is not a folder"):
        Folders(tmp_path / "result", Path("/nowhere"))


def test_sizes_and_empty_folders_are_named(tmp_path: Path, masks: Masks) -> None:
    folders = Folders(tmp_path / "result", tmp_path / "truth")
    for t in range(4):
        write_labels(tmp_path / "result" / "cat" / f"{t:05d}.png", np.zeros((12, 16)))
    with pytest.raises(ValueError, match="resolution of the annotations"):
        evaluate(folders, ["cat"])
    (tmp_path / "truth" / "empty").mkdir()
    with pytest.raises(ValueError, match="empty holds no PNG"):
        evaluate(folders, ["empty"])


def test_ref_davis_is_the_mean_over_four_annotators(tmp_path: Path, referring: dict[str, DavisAccumulator]) -> None:
    rows = [run.compute() for run in referring.values()]
    assert [row["J&F-Mean"] for row in rows] == sorted((row["J&F-Mean"] for row in rows), reverse=True)
    assert rows[0]["J&F-Mean"] == 1 and rows[3]["J-Mean"] < 0.9
    found_runs = evaluate_referring(tmp_path / "result", tmp_path / "truth")
    mean = mean_of_runs(found_runs.values())
    assert mean == {column: pytest.approx(sum(row[column] for row in rows) / 4) for column in rows[0]}
    lines = referring_table(found_runs).splitlines()
    assert lines[0].split() == ["Annotator", *rows[0]]
    found = {line.split()[0]: line.split()[1:] for line in lines[2:]}
    assert found["mean"] == [f"{value:.3f}" for value in mean.values()]
    assert [found[name] for name in ANNOTATORS] == [[f"{value:.3f}" for value in row.values()] for row in rows]


def test_ref_davis_needs_four_runs(tmp_path: Path, referring: dict[str, DavisAccumulator]) -> None:
    (tmp_path / "result" / "anno_2").rename(tmp_path / "away")
    with pytest.raises(ValueError, match="result has no anno_2: Ref-DAVIS17 is the mean over"):
        evaluate_referring(tmp_path / "result", tmp_path / "truth")
    with pytest.raises(ValueError, match="no run was given"):
        mean_of_runs([])


def test_the_truth_of_a_real_video_scores_one(tmp_path: Path) -> None:
    """From the lists through result files to the numbers: nothing is lost, renamed or resized on the way."""
    root, chosen = require_shared("data", "davis-240p"), ("car-shadow",)
    items = [i for i in open_task_source("ref_davis17", root).items() if i.video in chosen]
    given = [i for i in open_task_source("davis17", root).items() if i.video in chosen]
    truth = root / "DAVIS" / "Annotations" / "480p"
    for item in (*items, *given):
        labels = np.stack([read_labels(truth / item.video / f"{frame}.png") for frame in item.frames])
        benchmark = "davis17" if item in given else "ref_davis17"
        write_results(benchmark, tmp_path / benchmark, item, item.frames, labels)
    assert check_submission("ref_davis17", tmp_path / "ref_davis17", items, read=True) == []
    assert check_submission("davis17", tmp_path / "davis17", given, read=True) == []
    mean = mean_of_runs(evaluate_referring(tmp_path / "ref_davis17", truth, chosen).values())
    rest = evaluate(Folders(tmp_path / "davis17", truth), chosen).compute()
    for row in (mean, rest):
        assert [row[f"{m}-{s}"] for m in "JF" for s in ("Mean", "Recall", "Decay")] == [1, 1, 0, 1, 1, 0]


@pytest.mark.parametrize("task", ["semi-supervised", "unsupervised", "identity"])
def test_maps_are_read_and_forgotten_frame_by_frame(tmp_path: Path, task: str, monkeypatch: pytest.MonkeyPatch) -> None:
    alive: list[int] = [0, 0]  # now, at most

    def watched(path: Path) -> np.ndarray:
        labels = read_labels(path)
        alive[:] = alive[0] + 1, max(alive[1], alive[0] + 1)
        weakref.finalize(labels, lambda: alive.__setitem__(0, alive[0] - 1))
        return labels

    monkeypatch.setattr(png, "read_labels", watched)
    truth = write_masks(tmp_path)["dog"][0]
    for t in range(6, 20):
        for root in ("truth", "result"):
            write_labels(tmp_path / root / "dog" / f"{t:05d}.png", truth[0])
    evaluate(Folders(tmp_path / "result", tmp_path / "truth", task), ["dog"])
    assert 0 < alive[1] <= 4, "truth and result of a frame, and those of the frame before"

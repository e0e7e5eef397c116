"""Whole videos by a system's own way: the truth scores 100 in every layout, and files are those of the toolkits."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.masks.png import read_labels
from benchmarks.masks.submission import check_submission
from episodes.sources.tasks import open_task_source
from episodes.transforms.clips import FitTransform
from fewshot.evaluation.tasks.build import check_system
from fewshot.evaluation.tasks.clipwise import CLIPWISE
from fewshot.evaluation.tasks.everything import check_truth, everything_measures
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.samples import samples_of
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import make_system, systems
from fewshot.systems.univs.config import SMALL, UniVSConfig
from tests.episodes.panoptic_tree import write_vipseg
from tests.episodes.sources.test_tracks import lists, write_tracks
from tests.episodes.sources.test_viposeg import root as viposeg  # noqa: F401
from tests.episodes.sources.test_vspw import write_vspw
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import FRAMES, write_davis
from tests.fewshot.evaluation.tasks.knowing import Truth
from tests.fewshot.evaluation.tasks.trees import PAIR, write_ref_davis


def predicted(source: Any, folder: Path) -> list[dict[str, Any]]:
    """The rows of all videos, whose results are written."""
    rows = []
    predictor = None
    for sample in samples_of(source.items()):
        reader = FrameReader(source, FitTransform(24, 99), 32, "cpu")
        predictor = CLIPWISE[source.task](source, reader, Truth(source, sample.video), folder)
        rows += predictor.predict(sample)
    assert predictor is not None
    predictor.complete(rows)
    return rows


def scored(source: Any, folder: Path, **options: Any) -> Any:
    samples = samples_of(source.items())
    check_truth(source, samples)
    return everything_measures(source, samples, folder, None, **options)


def test_tracks_are_written_as_the_server_reads_them(tmp_path: Path) -> None:
    source = open_task_source("youtube_vis19", write_tracks(tmp_path), "train")
    rows = predicted(source, tmp_path / "out")
    measures = scored(source, tmp_path / "out")
    assert measures.values["AP"] == pytest.approx(1) and measures.beside == {}
    stored = json.loads((tmp_path / "out/results.json").read_text())
    assert {(row["video_id"], row["category_id"]) for row in stored} == {(4, 1), (4, 2), (9, 1)}
    cat = next(row for row in stored if row["category_id"] == 2)
    assert [mask is None for mask in cat["segmentations"]] == [False, False, True] and cat["score"] == 0.9
    assert {(row["video"], row["frames"], row["found"]) for row in rows} == {("b", 3, 2), ("a", 2, 2)}


def test_videos_that_are_not_tested_are_no_part_of_the_truth(tmp_path: Path) -> None:
    source = open_task_source("youtube_vis19", write_tracks(tmp_path), "train")
    predicted(source, tmp_path / "out")
    samples = samples_of(source.items())[:1]
    path = tmp_path / "out/results.json"
    path.write_text(json.dumps([row for row in json.loads(path.read_text()) if row["video_id"] == 9]))
    assert samples[0].video == "a"
    assert everything_measures(source, samples, tmp_path / "out", None).values["AP"] == pytest.approx(1)


def test_a_truth_that_a_server_keeps_is_not_scored(tmp_path: Path) -> None:
    write_tracks(tmp_path, content={**lists(), "annotations": []})
    source = open_task_source("youtube_vis19", tmp_path, "train")
    with pytest.raises(ValueError, match="lists no tracks, a server keeps them: take task.score=none"):
        check_truth(source, samples_of(source.items()))


def test_a_truth_that_is_not_there_is_told_before_anything_is_predicted(tmp_path: Path) -> None:
    semantic = open_task_source("vspw", write_vspw(tmp_path / "vspw"))
    (tmp_path / "vspw/data/12_a/mask").rename(tmp_path / "elsewhere")
    with pytest.raises(FileNotFoundError, match="12_a/mask/00000051.png"):
        check_truth(semantic, samples_of(semantic.items()))
    panoptic = open_task_source("vipseg", write_vipseg(tmp_path / "vipseg"))
    (tmp_path / "vipseg/panomasksRGB/a/00000.png").unlink()
    with pytest.raises(FileNotFoundError, match="panomasksRGB/a/00000.png"):
        check_truth(panoptic, samples_of(panoptic.items()))


@pytest.mark.parametrize("processes", [1, 2])
def test_classes_are_written_from_zero(tmp_path: Path, processes: int) -> None:
    source = open_task_source("vspw", write_vspw(tmp_path))
    rows = predicted(source, tmp_path / "out")
    measures = scored(source, tmp_path / "out", processes=processes)
    assert measures.values["mIoU"] == 1 and set(measures.beside) == {"vspw", "vspw_baseline"}
    found = read_labels(tmp_path / "out/7_b/00000066.png")
    assert found[3].tolist() == [2] * 6 and found[1].tolist() == [0] * 6
    assert [(row["video"], row["frames"], row["classes"]) for row in rows] == [("12_a", 2, 2), ("7_b", 3, 2)]


def test_segments_are_written_with_their_lists(tmp_path: Path) -> None:
    source = open_task_source("vipseg", write_vipseg(tmp_path))
    rows = predicted(source, tmp_path / "out")
    measures = scored(source, tmp_path / "out")
    assert measures.values["VPQ1"] == 1 and measures.values["STQ"] == pytest.approx(1) and "vipseg" in measures.beside
    stored = json.loads((tmp_path / "out/pred.json").read_text())["annotations"]
    assert {row["video_id"]: len(row["annotations"]) for row in stored} == {"a": 2, "b": 3}
    assert {s["category_id"] for row in stored for f in row["annotations"] for s in f["segments_info"]} == {0, 3, 7}
    assert (tmp_path / "out/pan_pred/b/00010.png").is_file() and [row["segments"] for row in rows] == [4, 4]


def test_objects_and_stuff_from_given_masks(viposeg: Path, tmp_path: Path) -> None:  # noqa: F811
    source = open_task_source("viposeg", viposeg)
    predicted(source, tmp_path / "out")
    measures = scored(source, tmp_path / "out")
    assert measures.values["thing seen"] == 1 and measures.beside["viposeg"]["thing seen"] == 1
    (sample,) = samples_of(source.items())
    assert check_submission("viposeg", tmp_path / "out", sample.items, read=True) == []
    (viposeg / "valid/Annotations_gt").rename(viposeg / "elsewhere")
    with pytest.raises(FileNotFoundError, match="must hold the masks of all frames"):
        check_truth(source, [sample])


def test_given_masks_come_with_their_frames_and_frames_before_them_get_no_file(tmp_path: Path) -> None:
    source: Any = open_task_source("davis17", write_davis(tmp_path / "DAVIS"))
    sample = next(sample for sample in samples_of(source.items()) if sample.video == "b")
    reader, task = FrameReader(source, FitTransform(24, 99), 32, "cpu"), Truth(source, "b", window=3)
    rows = CLIPWISE["vos"](source, reader, task, tmp_path / "out").predict(sample)
    assert [set(given) for given in task.given] == [{1, 2}, set(), set(), set()]
    assert task.given[0][2].shape == (12, 16) and task.asked[0].objects == (1, 2) and task.asked[0].size == (12, 16)
    assert rows == [{"video": "b", "object": k, "frames": 4, "found": 4, "score": 0.5} for k in (1, 2)]
    assert check_submission("davis17", tmp_path / "out", sample.items, read=True) == []


def test_expressions_share_an_image_or_have_one_each(tmp_path: Path) -> None:
    root = write_ref_davis(tmp_path / "data", {"v": PAIR, "w": TinyVideo({1: "dog"}, [], frames=2)})
    for name, exclusive in (("ref_davis17", True), ("ref_youtube_vos", False)):
        source: Any = open_task_source(name, root)
        sample = next(s for s in samples_of(source.items()) if s.video == "v")
        if not exclusive:
            sample = type(sample)(sample.name, "v", sample.items[::4])  # one expression of each object
        reader, task = FrameReader(source, FitTransform(24, 99), 32, "cpu"), Truth(source, "v")
        rows = CLIPWISE["rvos"](source, reader, task, tmp_path / name).predict(sample)
        assert len(rows) == 2 and task.asked[0].exclusive is exclusive and rows[0]["found"] == 4
        if exclusive:
            labels = read_labels(tmp_path / name / "anno_0" / "v" / f"{FRAMES[1]}.png")
            assert np.array_equal(labels, PAIR.mask(1))
        assert check_submission(name, tmp_path / name, sample.items) == []


def test_a_system_without_an_answer_is_refused() -> None:
    prototype = make_system(PrototypeConfig(backbone="tiny"), 0)
    with pytest.raises(
        ValueError, match="prototype as it is built does not answer task vis; systems for it: univs, videomt"
    ):
        check_system(prototype, systems()["prototype"], "vis")
    univs = make_system(UniVSConfig(**{**SMALL, "text": "none"}), 0)
    for kind in ("vis", "vss", "vps", "vos", "pvos"):
        check_system(univs, systems()["univs"], kind)
    with pytest.raises(ValueError, match="task rvos gives the system an expression, which univs as it is built"):
        check_system(univs, systems()["univs"], "rvos")

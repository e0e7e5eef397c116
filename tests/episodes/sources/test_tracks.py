"""Tracks on disk: the layouts of YouTube-VIS and OVIS, clips of all objects, the truth for the metric, broken lists."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pycocotools import mask as coco_mask

from benchmarks.metrics.vis import VisAccumulator
from episodes.episode import ClipSpec
from episodes.sources.tasks import open_task_source
from episodes.sources.tracks import TrackSource
from episodes.sources.vocabulary import Category
from episodes.task_items import VocabularyItem

SIZE = (8, 10)
FRAMES = ("00000", "00005", "00010")
POLYGON = [[1, 1, 5, 1, 5, 4, 1, 4]]


def square(left: int) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[2:6, left : left + 3] = True
    return mask


def numbers(mask: np.ndarray) -> dict[str, Any]:
    """Run lengths as numbers, as the training files have them."""
    flat = mask.T.ravel()
    changes = np.flatnonzero(np.diff(flat)) + 1
    counts = np.diff([0, *changes, flat.size]).tolist()
    return {"size": list(mask.shape), "counts": [0, *counts] if flat[0] else counts}


def string(mask: np.ndarray) -> dict[str, Any]:
    runs = coco_mask.encode(np.asfortranarray(mask, np.uint8))
    return {"size": list(mask.shape), "counts": runs["counts"].decode()}


def lists() -> dict[str, Any]:
    """Two videos; in `b` a cat that leaves, a dog as strings, and a crowd of polygons."""
    videos = [
        {"id": k, "height": 8, "width": 10, "length": n, "file_names": [f"{name}/{f}.jpg" for f in FRAMES[:n]]}
        for k, name, n in ((4, "b", 3), (9, "a", 2))
    ]
    rows = [
        (0, 4, 2, [numbers(square(0)), numbers(square(1)), None], 0),
        (1, 4, 1, [None, string(square(5)), string(square(6))], 0),
        (2, 4, 1, [POLYGON, None, None], 1),
        (3, 9, 1, [string(square(3)), string(square(4))], 0),
    ]
    annotations = [
        {"id": k, "video_id": v, "category_id": c, "segmentations": s, "iscrowd": i} for k, v, c, s, i in rows
    ]
    return {
        "videos": videos,
        "categories": [{"id": 2, "name": "cat"}, {"id": 1, "name": "dog"}],
        "annotations": annotations,
    }


def write_tracks(
    root: Path, list_file: str = "train.json", images: str = "train/JPEGImages", content: Any = None
) -> Path:
    content = lists() if content is None else content
    for video in lists()["videos"]:
        for number, file in enumerate(video["file_names"]):
            path = root / images / file
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((*SIZE, 3), 20 * number, np.uint8)).save(path)
    (root / list_file).parent.mkdir(parents=True, exist_ok=True)
    (root / list_file).write_text(json.dumps(content))
    return root


def open_tracks(root: Path, name: str = "youtube_vis19", split: str = "train") -> TrackSource:
    source = open_task_source(name, root, split)
    assert isinstance(source, TrackSource)
    return source


@pytest.mark.parametrize(
    ("name", "list_file", "images"),
    [
        ("youtube_vis19", "train.json", "train/JPEGImages"),
        ("youtube_vis19", "annotations/instances_train.json", "train/JPEGImages"),
        ("youtube_vis21", "train/instances.json", "train/JPEGImages"),
        ("ovis", "annotations_train.json", "train"),
    ],
)
def test_layouts(tmp_path: Path, name: str, list_file: str, images: str) -> None:
    source = open_tracks(write_tracks(tmp_path, list_file, images), name)
    assert source.categories == (Category(1, "dog"), Category(2, "cat"))
    assert list(source.items()) == [VocabularyItem("a", FRAMES[:2]), VocabularyItem("b", FRAMES)]
    assert source.problems() == [] and source.object_ids("b") == (0, 1) and source.video_id("b") == 4
    assert source.read_frames("b", FRAMES).shape == (3, 3, *SIZE)


def test_a_clip_has_the_tracks_that_it_shows_but_crowds(tmp_path: Path) -> None:
    source = open_tracks(write_tracks(tmp_path))
    objects = source.read(source.clip_spec("b", 0, 3)).objects
    assert objects.ids.tolist() == [0, 1] and objects.labels.tolist() == [1, 0] and objects.exhaustive
    empty = np.zeros(SIZE, bool)
    wanted = [[square(0), square(1), empty], [empty, square(5), square(6)]]
    assert (objects.masks.numpy() == np.array(wanted)).all() and objects.boxes[0, 1].tolist() == [1, 2, 3, 5]
    assert source.read(source.clip_spec("b", 2, 1)).objects.ids.tolist() == [1]
    assert source.read(ClipSpec("b", 1, FRAMES)).masks.flatten(1).any(1).tolist() == [False, True, True]
    with pytest.raises(ValueError, match="video 'a' of youtube_vis19 has 2 frames, too few for a clip of 3"):
        source.clip_spec("a", 0, 3)


def test_the_truth_scores_one_hundred(tmp_path: Path) -> None:
    source = open_tracks(write_tracks(tmp_path))
    accumulator = VisAccumulator(source.truth)
    for video in source.names():
        own = [row for row in source.truth["annotations"] if row["video_id"] == source.video_id(video)]
        accumulator.update(source.video_id(video), [{**row, "score": 0.5} for row in own])
    assert accumulator.compute().stats["AP"] == pytest.approx(1)


def test_a_split_whose_truth_a_server_keeps(tmp_path: Path) -> None:
    hidden = {key: rows for key, rows in lists().items() if key != "annotations"}
    source = open_tracks(write_tracks(tmp_path, "valid.json", "valid/JPEGImages", hidden), split="valid")
    assert not source.has_truth() and source.object_ids("a") == () and len(list(source.items())) == 2
    assert len(source.read(source.clip_spec("a", 0, 2)).objects) == 0
    assert open_tracks(write_tracks(tmp_path)).has_truth()


def changed(edit: Callable[[dict[str, Any]], Any]) -> dict[str, Any]:
    content = lists()
    edit(content)
    return content


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda c: c.pop("categories"), "is no list of tracks"),
        (lambda c: c["videos"][0].pop("height"), "is no list of tracks"),
        (lambda c: (c["videos"][0].update(file_names=[]), c.pop("annotations")), "is no list of tracks"),
        (lambda c: c["annotations"][1].update(category_id=40), "track 1 is of video 4 and category 40, which"),
        (lambda c: c["annotations"][1].update(video_id=5), "track 1 is of video 5 and category 1, which"),
        (lambda c: c["annotations"][1]["segmentations"].pop(), "track 1 has 2 segmentations in a video of 3 frames"),
        (lambda c: c["annotations"][1].update(id=0), "lists annotations 0 twice"),
        (lambda c: c["videos"][0]["file_names"].reverse(), "where '00000' is due"),
        (lambda c: c["videos"][1].update(file_names=["b/1.jpg", "b/2.jpg"]), "lists folders b twice"),
    ],
)
def test_broken_lists_are_refused(tmp_path: Path, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    write_tracks(tmp_path, content=changed(edit))
    with pytest.raises(ValueError, match=f"train.json.*{message}"):
        open_tracks(tmp_path)


def test_broken_masks_and_missing_files_are_named(tmp_path: Path) -> None:
    content = changed(lambda c: c["annotations"][3].update(segmentations=[numbers(np.ones((2, 2), bool)), None]))
    source = open_tracks(write_tracks(tmp_path, content=content))
    with pytest.raises(ValueError, match=r"track 3 of .*train.json has a mask that cannot be read: run lengths"):
        source.read(source.clip_spec("a", 0, 2))
    (tmp_path / "train/JPEGImages/b/00005.jpg").unlink()
    assert source.problems()[0].startswith("frame 00005.jpg missing in ")
    with pytest.raises(FileNotFoundError, match="has no list of tracks such as test.json or test/instances.json"):
        open_tracks(tmp_path, split="test")
    write_tracks(tmp_path / "other", "train.json", "elsewhere")
    with pytest.raises(FileNotFoundError, match="has no folder of frames such as train/JPEGImages or JPEGImages/train"):
        open_tracks(tmp_path / "other")

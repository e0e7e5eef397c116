"""Panoptic data on disk: maps, lists and objects of VIPSeg and COCO panoptic, and what is broken."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from episodes.episode import ClipSpec
from episodes.panoptic import colours_of_ids, ids_of_colours
from episodes.sources.panoptic import PanopticSource
from episodes.sources.tasks import open_task_source
from episodes.sources.vocabulary import EVERYTHING, Category
from episodes.task_items import VocabularyItem
from tests.episodes.panoptic_tree import (
    CAT,
    DOG,
    FRAMES,
    ROAD,
    SIZE,
    panoptic_map,
    write_coco_panoptic,
    write_vipseg,
)


def open_vipseg(root: Path, split: str = "val") -> PanopticSource:
    source = open_task_source("vipseg", root, split)
    assert isinstance(source, PanopticSource)
    return source


@pytest.fixture
def vipseg(tmp_path: Path) -> Path:
    return write_vipseg(tmp_path)


@pytest.mark.parametrize("inner", ["", "VIPSeg_720P"])
def test_vipseg(tmp_path: Path, inner: str) -> None:
    write_vipseg(tmp_path / inner)
    source = open_vipseg(tmp_path)
    assert source.categories == (Category(0, "road", False), Category(3, "dog"), Category(7, "cat"))
    assert (source.classes.things, source.classes.stuff) == ({3, 7}, {0})
    assert list(source.items()) == [VocabularyItem("a", FRAMES[:2]), VocabularyItem("b", FRAMES)]
    assert source.problems() == [] and source.object_ids("b") == (ROAD, DOG, CAT)
    frames = list(source.read_panoptic("b"))
    assert [frame.name for frame in frames] == list(FRAMES)
    assert all((frame.ids == panoptic_map(t)).all() for t, frame in enumerate(frames))
    assert [(s.id, s.category, s.crowd) for s in frames[0].segments] == [
        (DOG, 3, False),
        (300, 3, True),
        (ROAD, 0, False),
    ]


def test_a_clip_has_every_segment_that_it_shows_but_crowds(vipseg: Path) -> None:
    source = open_vipseg(vipseg)
    clip = source.read(source.clip_spec("b", 0, 2))
    objects = clip.objects
    assert objects is not None and clip.exhaustive and clip.frame_names == FRAMES[:2]
    assert objects.ids.tolist() == [DOG, ROAD, CAT] and objects.labels.tolist() == [1, 0, 2]
    wanted = np.stack([[panoptic_map(t) == k for t in range(2)] for k in (DOG, ROAD, CAT)])
    assert (objects.masks.numpy() == wanted).all() and objects.valid.tolist() == [
        [True, True],
        [True, True],
        [False, True],
    ]
    assert objects.boxes[0].tolist() == [[0, 1, 1, 3], [1, 1, 2, 3]]
    assert len(source.read(source.clip_spec("b", 0, 1)).objects) == 2
    one = source.read(ClipSpec("b", CAT, FRAMES))
    assert one.masks.flatten(1).sum(1).tolist() == [0, 2, 2] and source.visible("b", FRAMES[1], CAT)
    assert not source.visible("b", FRAMES[0], CAT)


def test_a_clip_that_is_longer_than_its_video_is_refused(vipseg: Path) -> None:
    source = open_vipseg(vipseg)
    with pytest.raises(ValueError, match="video 'a' of vipseg has 2 frames, too few for a clip of 3 from number 0 on"):
        source.clip_spec("a", 0, 3)
    with pytest.raises(ValueError, match="too few for a clip of 2 from number 1 on"):
        source.clip_spec("a", 1, 2)
    assert source.clip_spec("a", 1, 1).frames == FRAMES[1:2] and source.clip_spec("a", 0, 2).object_id == EVERYTHING


def test_coco_panoptic_is_videos_of_one_frame(tmp_path: Path) -> None:
    source = open_task_source("coco_panoptic", write_coco_panoptic(tmp_path))
    assert isinstance(source, PanopticSource) and source.split == "val2017"
    assert source.names() == ("000000000000", "000000000001") and source.frames("000000000001") == ("0",)
    assert source.read(source.clip_spec("000000000001", 0, 1)).objects.ids.tolist() == [CAT, DOG, ROAD]
    assert source.problems() == []


def test_ids_are_colours() -> None:
    ids = np.array([[0, 1, 256, 65_536, 256**3 - 1]], np.uint32)
    assert (ids_of_colours(colours_of_ids(ids)) == ids).all()
    assert colours_of_ids(np.array([[66_051]])).tolist() == [[[3, 2, 1]]]
    with pytest.raises(ValueError, match="ids of panoptic maps are 0 to 16777215, got 0 to 16777216"):
        colours_of_ids(np.array([[0, 256**3]]))


def test_a_map_that_does_not_fit_its_list_is_named(vipseg: Path) -> None:
    path = vipseg / "panomasksRGB/b/00002.png"
    good = panoptic_map(1)
    source = open_vipseg(vipseg)
    for changed, fault in (
        (np.where(good == CAT, 77, good), "id 77 of the map is not in its list"),
        (np.where(good == CAT, 0, good), f"segment {CAT} of the list has no pixel in the map"),
    ):
        Image.fromarray(colours_of_ids(changed)).save(path)
        with pytest.raises(ValueError, match=f"{re.escape(str(path))} does not fit .*_val.json: {fault}"):
            source.read(source.clip_spec("b", 1, 1))
        assert source.read(source.clip_spec("b", 0, 1)).objects is not None


def test_maps_of_two_sizes_and_missing_files_are_named(vipseg: Path) -> None:
    source = open_vipseg(vipseg)
    ids = np.repeat(panoptic_map(1), 2, axis=1)
    Image.fromarray(colours_of_ids(ids)).save(vipseg / "panomasksRGB/b/00002.png")
    with pytest.raises(ValueError, match="video 'b': .*00002.png is 6x16, but .*00000.png is 6x8"):
        source.read(source.clip_spec("b", 0, 2))
    (vipseg / "panomasksRGB/b/00002.png").unlink()
    (vipseg / "images/a/00000.jpg").unlink()
    with pytest.raises(FileNotFoundError, match="00002.png is missing"):
        source.read(source.clip_spec("b", 0, 2))
    assert len(source.problems()) == 2 and any("map 00002.png missing" in line for line in source.problems())


def change(root: Path, edit: Callable[[dict[str, Any]], Any]) -> None:
    path = root / "panoptic_gt_VIPSeg_val.json"
    lists = json.loads(path.read_text())
    edit(lists)
    path.write_text(json.dumps(lists))


def first(lists: dict[str, Any]) -> dict[str, Any]:
    return lists["annotations"][0]["annotations"][0]


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda lists: lists.pop("categories"), r"is no list of panoptic segments \(KeyError\('categories'\)\)"),
        (lambda lists: first(lists)["segments_info"][0].pop("id"), "is no list of panoptic segments"),
        (lambda lists: first(lists)["segments_info"][0].update(id=1.5), "1.5 is no whole number"),
        (
            lambda lists: first(lists)["segments_info"][0].update(category_id=9),
            "category 9, which the file does not name",
        ),
        (lambda lists: lists["annotations"].append(lists["annotations"][0]), "lists videos b twice"),
        (lambda lists: lists["annotations"][0]["annotations"].reverse(), "where '00000' is due"),
        (lambda lists: lists["categories"].append({"id": 3, "name": "x", "isthing": 0}), "lists categories 3 twice"),
    ],
)
def test_broken_lists_are_refused(vipseg: Path, edit: Callable[[dict[str, Any]], Any], message: str) -> None:
    change(vipseg, edit)
    with pytest.raises(ValueError, match=f"panoptic_gt_VIPSeg_val.json.*{message}"):
        open_vipseg(vipseg)


def test_missing_lists_and_unknown_videos(vipseg: Path, tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="panoptic_gt_VIPSeg_train.json is missing: data.root must be"):
        open_vipseg(vipseg, "train")
    with pytest.raises(FileNotFoundError, match="panoptic_val2017.json is missing: data.root must be"):
        open_task_source("coco_panoptic", tmp_path)
    with pytest.raises(KeyError, match="has no video 'z'"):
        open_vipseg(vipseg).frames("z")
    with pytest.raises(ValueError, match="video 'a' has no object 44"):
        open_vipseg(vipseg).read_masks("a", FRAMES[:1], 44)


def test_the_fingerprint_follows_the_lists(vipseg: Path) -> None:
    before = open_vipseg(vipseg).fingerprint()
    assert open_vipseg(vipseg).fingerprint() == before
    change(vipseg, lambda lists: first(lists)["segments_info"][0].update(category_id=7))
    assert open_vipseg(vipseg).fingerprint() != before


def test_sizes(vipseg: Path) -> None:
    clip = open_vipseg(vipseg).read(open_vipseg(vipseg).clip_spec("a", 0, 1))
    assert clip.size == clip.original_size == SIZE

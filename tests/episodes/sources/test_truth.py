"""The truth of expressions: two layouts of Ref-YouTube-VOS, and the run lengths of MeViS."""

from __future__ import annotations

import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.episode import ClipSpec
from episodes.sources.mevis import MevisSource
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.tasks import open_task_source
from episodes.task_items import RVOSItem
from tests.episodes.expression_trees import LAYOUTS, write_expressions

LABELS = np.zeros((3, 6, 8), np.uint8)
LABELS[:, 1:3, 1:4], LABELS[1:, 4:, 5:] = 1, 2  # object 2 is absent in the first frame


def opened(root: Path, layout: str) -> RefVideoSource:
    source = open_task_source(*write_expressions(root, layout, {"v": (LABELS, [1, 2])}))
    assert isinstance(source, RefVideoSource)
    return source


@pytest.mark.parametrize("layout", LAYOUTS)
def test_every_layout_gives_the_same_masks(tmp_path: Path, layout: str) -> None:
    source = opened(tmp_path, layout)
    assert source.has_truth() and source.truth_faults() == []
    for k, item in enumerate(source.items(), start=1):
        found = dict(source.truth(item))
        assert list(found) == ["00000", "00001", "00002"]
        assert np.array_equal(np.stack(list(found.values())), LABELS == k)


def test_frames_without_a_mask_of_the_truth_do_not_count(tmp_path: Path) -> None:
    source = opened(tmp_path, "own")
    folder = tmp_path / "valid" / "Annotations" / "v" / "0"
    (folder / "00001.png").unlink()
    first = next(iter(source.items()))
    assert [frame for frame, _ in source.truth(first)] == ["00000", "00002"]
    for path in folder.iterdir():
        path.unlink()
    assert [
        f"no truth of expression 0 of video 'v'; expected PNGs in {folder}" in f for f in source.truth_faults()
    ] == [True]
    with pytest.raises(ValueError, match="no truth of expression 0"):
        list(source.truth(first))


def test_masks_by_object_need_to_be_told_which_is_meant(tmp_path: Path) -> None:
    opened(tmp_path, "shared")
    path = tmp_path / "meta_expressions" / "valid" / "meta_expressions.json"
    content = json.loads(path.read_text())
    for row in content["videos"]["v"]["expressions"].values():
        del row["obj_id"]
    path.write_text(json.dumps(content))
    source = open_task_source("ref_youtube_vos", tmp_path)
    assert isinstance(source, RefVideoSource)
    assert not source.has_truth()
    assert "the lists do not say which of them expression 0 means: give obj_id" in source.truth_faults()[0]


def test_the_one_mask_that_is_given_of_a_video_is_no_truth(tmp_path: Path) -> None:
    source = opened(tmp_path, "shared")
    for frame in ("00001", "00002"):
        (tmp_path / "valid" / "Annotations" / "v" / f"{frame}.png").unlink()
    assert not source.has_truth()


def change(root: Path, edit: Callable[[dict, dict], Any]) -> RefVideoSource:
    """MeViS with lists and masks changed."""
    opened(root, "mevis")
    paths = [root / "valid_u" / name for name in ("meta_expressions.json", "mask_dict.json")]
    lists, masks = (json.loads(path.read_text()) for path in paths)
    edit(lists["videos"]["v"]["expressions"], masks)
    for path, content in zip(paths, (lists, masks), strict=True):
        path.write_text(json.dumps(content))
    source = open_task_source("mevis", root)
    assert isinstance(source, RefVideoSource)
    return source


def test_an_expression_of_mevis_means_all_its_objects(tmp_path: Path) -> None:
    source = change(tmp_path, lambda said, masks: said["1"].update(anno_id=[0, 1]))
    items = list(source.items())
    assert items[1] == RVOSItem("v", ("00000", "00001", "00002"), "1", "the thing 2", object_id=2)
    assert np.array_equal(np.stack([mask for _, mask in source.truth(items[1])]), LABELS > 0)
    for frame in ("00000", "00001", "00002"):
        path = tmp_path / "valid_u" / "JPEGImages" / "v" / f"{frame}.jpg"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (8, 6)).save(path)
    assert source.problems() == []
    clip = source.read(ClipSpec("v", 2, ("00001", "00002")))
    assert clip.masks is not None and torch.equal(clip.masks, torch.from_numpy(LABELS[1:] > 0))


def test_absent_objects_of_mevis_are_empty_masks(tmp_path: Path) -> None:
    source = change(tmp_path, lambda said, masks: masks.update({"1": [None, None, None]}))
    found = [mask for _, mask in source.truth(list(source.items())[1])]
    assert [mask.shape for mask in found] == [(6, 8)] * 3 and not any(mask.any() for mask in found)
    assert not source.visible("v", "00001", 2) and source.visible("v", "00001", 1)


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (lambda said, masks: masks.pop("1"), "annotation 1 is not in "),
        (lambda said, masks: masks["1"].pop(), "annotation 1 has 2 frames, and its video 3,"),
        (lambda said, masks: said["0"].update(anno_id=7), "is malformed"),
        (lambda said, masks: said["0"].update(exp=" "), "expression '0' is empty"),
    ],
)
def test_faults_of_mevis_are_named(tmp_path: Path, edit: Callable[[dict, dict], Any], message: str) -> None:
    assert any(message in fault for fault in change(tmp_path, edit).broken())


def test_splits_of_mevis_whose_masks_a_server_keeps(tmp_path: Path) -> None:
    source = change(tmp_path, lambda said, masks: [row.pop("anno_id") for row in said.values()])
    assert not source.has_truth() and "a server keeps the masks" in source.truth_faults()[0]
    assert [item.object_id for item in source.items()] == [None, None] and source.expressions("v") == ()
    with pytest.raises(FileNotFoundError, match="no MeViS under data.root="):
        open_task_source("mevis", tmp_path, "valid")


def test_a_file_of_masks_that_is_missing_or_damaged(tmp_path: Path) -> None:
    source = opened(tmp_path, "mevis")
    (tmp_path / "valid_u" / "mask_dict.json").write_text("{")
    assert "mask_dict.json is not a JSON file" in source.truth_faults()[0]
    (tmp_path / "valid_u" / "mask_dict.json").unlink()
    assert not source.has_truth() and "mask_dict.json is missing" in source.truth_faults()[0]


def test_masks_of_mevis_are_read_again_in_another_process(tmp_path: Path) -> None:
    source = opened(tmp_path, "mevis")
    assert isinstance(source, MevisSource) and source.masks
    again = pickle.loads(pickle.dumps(source))
    assert "masks" not in again.__dict__ and again.masks == source.masks

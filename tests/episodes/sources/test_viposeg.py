"""VIPOSeg on disk: given masks, repeats, classes and their groups, and what is missing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from benchmarks.masks.png import LabelFiles
from benchmarks.metrics.pvos import PvosGroups
from benchmarks.protocols.tasks import PVOS_PROTOCOLS
from episodes.sources.tasks import open_task_source
from episodes.sources.viposeg import VIPOSegSource
from episodes.task_items import VOSItem
from tests.episodes.videos import FRAMES, LATE, write_videos

GROUPS: dict[str, Any] = {"thing_seen": [4], "thing_unseen": [99], "stuff_seen": [28], "stuff_unseen": [9]}


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A video whose masks are given in the first frame and again, with a second object, in the third one."""
    write_videos(tmp_path / "valid", {"v": LATE})
    masks = tmp_path / "valid/Annotations/v"
    (tmp_path / "valid/Annotations_gt").mkdir()
    (tmp_path / "valid/Annotations_gt/v").mkdir()
    for path in sorted(masks.iterdir()):
        Image.open(path).save(tmp_path / "valid/Annotations_gt/v" / path.name)
        if path.stem not in ("00000", "00010"):
            path.unlink()
    (tmp_path / "obj_class.json").write_text(json.dumps({"v": {"1": 4, "2": 28}}))
    (tmp_path / "class_groups.json").write_text(json.dumps({**GROUPS, "exceptions": {"v": {"28": "stuff_unseen"}}}))
    return tmp_path


def opened(root: Path) -> VIPOSegSource:
    source = open_task_source("viposeg", root)
    assert isinstance(source, VIPOSegSource)
    return source


def test_an_object_is_given_once_and_repeats_are_known(root: Path) -> None:
    source = opened(root)
    assert list(source.items()) == [VOSItem("v", tuple(FRAMES), {"00000": (1,), "00010": (2,)})]
    assert source.all_given("v") == {"00000": (1,), "00010": (1, 2)} and source.classes_of("v") == {1: 4, 2: 28}
    assert source.groups["stuff_seen"] == {28} and source.exceptions == {"v": {28: "stuff_unseen"}}
    assert source.problems() == []


@pytest.mark.parametrize(("protocol", "pairs"), [("viposeg", 4), ("viposeg_corrected", 3)])
def test_the_truth_scores_one(root: Path, protocol: str, pairs: int) -> None:
    source = opened(root)
    accumulator = PVOS_PROTOCOLS[protocol].accumulator(PvosGroups(source.groups, source.exceptions))
    truth = LabelFiles(source.truth_folder("v") / "v", FRAMES)
    given = {FRAMES.index(frame): ids for frame, ids in source.all_given("v").items()}
    accumulator.update("v", truth, truth, given, source.classes_of("v"))
    groups = accumulator.compute().groups
    assert (groups["thing_seen"].pairs, groups["thing_seen"].iou) == (pairs, 1)
    assert (groups["stuff_unseen"].pairs, groups["stuff_seen"].pairs) == (1, 0)


def test_what_is_missing_or_broken_is_named(root: Path) -> None:
    (root / "obj_class.json").write_text(json.dumps({"v": {"1": 4}}))
    with pytest.raises(ValueError, match="obj_class.json has no class for object 2 of video 'v': add it"):
        opened(root).classes_of("v")
    for content, message in (({"v": {"1": 4.5}}, "4.5 is no whole number"), ([1], "is no table of videos and objects")):
        (root / "obj_class.json").write_text(json.dumps(content))
        with pytest.raises(ValueError, match=f"obj_class.json.*{message}"):
            opened(root)
    (root / "obj_class.json").unlink()
    with pytest.raises(FileNotFoundError, match="obj_class.json is missing: it must hold the class of every object"):
        opened(root)


@pytest.mark.parametrize("content", [[], {"thing_seen": [1]}, {**GROUPS, "exceptions": {"v": {"28": "sky"}}}])
def test_broken_groups_are_refused(root: Path, content: object) -> None:
    (root / "class_groups.json").write_text(json.dumps(content))
    with pytest.raises(
        ValueError, match="class_groups.json must be a table of the classes of thing_seen, thing_unseen"
    ):
        _ = opened(root).groups
    (root / "class_groups.json").unlink()
    with pytest.raises(FileNotFoundError, match="class_groups.json is missing"):
        _ = opened(root).groups


def test_a_first_frame_without_any_mask(root: Path) -> None:
    for path in (root / "valid/Annotations/v").iterdir():
        Image.fromarray(np.zeros(LATE.size, np.uint8)).save(path)
    with pytest.raises(ValueError, match="no mask in .*Annotations/v shows an object: a video needs one to start from"):
        list(opened(root).items())
    for path in (root / "valid/Annotations_gt/v").iterdir():
        path.unlink()
    (root / "valid/Annotations_gt/v").rmdir()
    with pytest.raises(FileNotFoundError, match="Annotations_gt/v is missing: it must hold the masks of all frames"):
        opened(root).truth_folder("v")

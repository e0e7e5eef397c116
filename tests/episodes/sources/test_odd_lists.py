"""Oddities of lists and folders that could be read in two ways: each is named, none is decided in silence."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from episodes.catalogue import folds_of
from episodes.episode import ClipSpec
from episodes.sources import MiniRefSource, open_source
from episodes.sources.instances import InstanceSource
from episodes.sources.refcoco_index import read_json_list
from episodes.sources.tasks import open_task_source
from tests.episodes.image_tree import blocks, square, write_coco, write_folder
from tests.episodes.tree import INNER, TinyVideo, write_tree

YTVOS = folds_of("mini_ref_ytvos")
SAID = INNER / "meta_expressions" / "train" / "meta_expressions.json"
META = INNER / "train" / "meta.json"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    video = TinyVideo({1: "plant"}, [("it", 1)], frames=3)
    return write_tree(tmp_path / "set", {f"plant{n}": video for n in range(3)})


def edited(root: Path, path: Path, change: Callable[[dict[str, Any]], Any]) -> MiniRefSource:
    content = json.loads((root / path).read_text())
    change(content["videos"])
    (root / path).write_text(json.dumps(content))
    return MiniRefSource(root, YTVOS)


ODD = [
    (SAID, lambda v: v["plant1"].update(frames=["00000", "00005", "00000"]), "lists frame '00000' twice: list each"),
    (SAID, lambda v: v["plant1"].update(frames=["00005", "00000", "00010"]), "'00005' where '00000' is due: list its"),
    (SAID, lambda v: v["plant1"]["expressions"]["0"].update(obj_id=1.7), "malformed .*1.7 is no whole number"),
    (SAID, lambda v: v["plant1"]["expressions"]["0"].update(obj_id=True), "malformed .*True is no whole number"),
    (SAID, lambda v: v["plant1"]["expressions"]["0"].update(exp=None), "malformed .*expression None is no text"),
    (META, lambda v: v["plant1"]["objects"].update({"01": {"category": "plant"}}), "object 1 stands twice"),
]


@pytest.mark.parametrize(("path", "change", "message"), ODD)
def test_an_odd_entry_of_a_video_is_a_problem_and_is_refused(root, path, change, message) -> None:
    source = edited(root, path, change)
    assert re.search(f"'plant1'.*{message}", source.problems()[0]), source.problems()[0]
    with pytest.raises(ValueError, match=message):
        source.expressions("plant1")


def test_frames_without_leading_zeros_are_in_time_order(root) -> None:
    for folder in ("JPEGImages", "Annotations"):
        for path in sorted((root / INNER / "train" / folder / "plant1").iterdir()):
            path.rename(path.with_name(f"{int(path.stem)}{path.suffix}"))
    source = edited(root, SAID, lambda v: v["plant1"].update(frames=["0", "5", "10"]))
    assert not [p for p in source.problems() if "plant1" in p]


@pytest.mark.parametrize("path", [SAID, META])
def test_a_video_twice_in_a_list_is_refused(root, path) -> None:
    content = json.loads((root / path).read_text())["videos"]
    rows = ", ".join(f"{json.dumps(name)}: {json.dumps(video)}" for name, video in content.items())
    first = f'"plant1": {json.dumps(content["plant1"])}'
    (root / path).write_text(f'{{"videos": {{{first}, {rows}}}}}')
    with pytest.raises(ValueError, match=f"{path.name} has the key 'plant1' twice in one table: remove one of them$"):
        MiniRefSource(root, YTVOS)


def test_what_is_broken_comes_before_classes_that_are_too_small(root) -> None:
    (root / INNER / "train" / "JPEGImages" / "plant0" / "00005.jpg").unlink()
    source = edited(root, SAID, lambda v: (v["plant1"].update(frames=[]), v["plant2"].update(expressions={})))
    kinds = ("lists no frames", "frame 00005.jpg missing", "'plant2' has no expression", "class 'hat' has no video")
    problems = source.problems()
    at = [next(k for k, problem in enumerate(problems) if kind in problem) for kind in kinds]
    assert at[:3] == [0, 1, 2] and at[3] >= 3, problems


def test_two_files_of_one_frame_are_refused(tmp_path) -> None:
    for folder in ("JPEGImages", "Annotations"):
        (tmp_path / folder / "a").mkdir(parents=True)
    Image.fromarray(blocks([1])).save(tmp_path / "Annotations" / "a" / "0.png")
    for suffix in ("jpg", "jpeg"):
        Image.new("RGB", (16, 12)).save(tmp_path / "JPEGImages" / "a" / f"0.{suffix}")
    source = open_task_source("vos_folder", tmp_path)
    with pytest.raises(ValueError, match=r"JPEGImages/a holds 0.jpeg and 0.jpg: which of them is the frame\? Keep one"):
        source.item("a")


def test_two_images_of_one_mask_are_refused(tmp_path) -> None:
    write_folder(tmp_path, {"cat": 2})
    Image.new("RGB", (16, 12)).save(tmp_path / "cat" / "0.jpeg")
    with pytest.raises(ValueError, match=r"cat holds 0.jpeg and 0.jpg: which of them is the image\? Keep one"):
        open_source("folder", tmp_path)


def write_palette(path: Path, labels: np.ndarray) -> None:
    picture = Image.fromarray(labels.astype(np.uint8))
    picture.putpalette([0, 0, 0] + [90] * 762 + [224, 224, 192])
    assert picture.mode == "P"
    picture.save(path)


def test_number_255_of_a_palette_is_void_beside_an_object(tmp_path) -> None:
    write_folder(tmp_path, {"cat": 2, "dog": 2})
    labels = blocks([2], ignore=True)
    write_palette(tmp_path / "cat" / "0.png", labels)
    write_palette(tmp_path / "cat" / "1.png", 255 * (labels == 2))
    source = open_source("folder", tmp_path)
    assert source.problems() == []
    assert source.area("cat/0", 1) == 12 and source.area("cat/1", 1) == 12
    clip = source.read(ClipSpec("cat/0", 1, ("0",)))
    assert np.array_equal(clip.masks[0], labels == 2) and np.array_equal(clip.ignore[0], labels == 255)
    alone = source.read(ClipSpec("cat/1", 1, ("0",)))
    assert np.array_equal(alone.masks[0], labels == 2) and alone.ignore is None, "the only number is the object"


def doubled(path: Path, table: str, **changes: Any) -> None:
    content = json.loads(path.read_text())
    content[table].append({**content[table][0], **changes})
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("table", "changes", "message"),
    [
        ("images", {}, "images of the id 1 twice"),
        ("images", {"id": 9}, "images of the name a twice"),
        ("annotations", {}, "annotations of the id 1 twice"),
        ("categories", {}, "categories of the id 1 twice"),
    ],
)
def test_an_id_twice_in_coco_is_refused(tmp_path, table, changes, message) -> None:
    doubled(write_coco(tmp_path, "val2014", {"a": [(1, square(1, 1, 4), 0)]}), table, **changes)
    with pytest.raises(ValueError, match=f"instances_val2014.json lists {message}: remove one of the entries"):
        open_source("coco20i", tmp_path, tmp_path / "cache").problems()


@pytest.mark.parametrize("table", ["images", "annotations"])
def test_an_id_twice_in_a_file_of_instances_is_refused(tmp_path, table) -> None:
    path = write_coco(tmp_path, "mine", {"a": [(1, square(1, 1, 4), 0)]})
    doubled(path, table)
    with pytest.raises(ValueError, match=f"lists {table} of the id 1 twice"):
        InstanceSource("mine", path, tmp_path / "mine")


def test_an_entry_twice_in_a_list_of_expressions_is_refused(tmp_path) -> None:
    image = {"id": 4, "file_name": "a.jpg", "height": 12, "width": 16, "expressions": ["it"]}
    annotation = {"id": 1, "image_id": 4, "segmentation": square(1, 1, 4)}
    path = tmp_path / "refcoco_val.json"
    path.write_text(json.dumps({"images": [image, image], "annotations": [annotation]}))
    with pytest.raises(ValueError, match="lists images of the id 4 twice"):
        read_json_list(path)
    path.write_text(json.dumps({"images": [{**image, "height": 12.5}], "annotations": [annotation]}))
    assert "no usable file_name, height and width" in read_json_list(path)["4"].errors[0]

"""VSPW on disk: labels, classes as objects, and what is broken."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmarks.protocols.tasks import VSS_PROTOCOLS
from episodes.sources.tasks import open_task_source
from episodes.sources.vocabulary import Category
from episodes.sources.vspw import CLASS_FILE, VSPWSource
from episodes.task_items import VocabularyItem

NAMES = {"others": 0, "wall": 1, "sky": "3", "person": 2}
FRAMES = ("00000051", "00000066", "00000081")


def labels(number: int) -> np.ndarray:
    """Others, unknown pixels, a wall, and sky from the second frame on."""
    found = np.ones((4, 6), np.uint8)
    found[0, :2], found[0, 2] = 255, 0
    if number:
        found[3] = 3
    return found


def write_vspw(root: Path) -> Path:
    for video, length in (("7_b", 3), ("12_a", 2)):
        for number, frame in enumerate(FRAMES[:length]):
            picture = np.full((4, 6, 3), 40 * number, np.uint8)
            for folder, suffix, pixels in (("origin", "jpg", picture), ("mask", "png", labels(number))):
                path = root / "data" / video / folder / f"{frame}.{suffix}"
                path.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(pixels).save(path)
    (root / "val.txt").write_text("7_b\n12_a\n")
    (root / CLASS_FILE).write_text(json.dumps(NAMES))
    return root


def open_vspw(root: Path) -> VSPWSource:
    source = open_task_source("vspw", root)
    assert isinstance(source, VSPWSource)
    return source


@pytest.mark.parametrize("inner", ["", "VSPW_480p"])
def test_labels_and_classes(tmp_path: Path, inner: str) -> None:
    write_vspw(tmp_path / inner)
    source = open_vspw(tmp_path)
    assert source.categories == (Category(0, "wall"), Category(1, "person"), Category(2, "sky"))
    assert list(source.items()) == [VocabularyItem("12_a", FRAMES[:2]), VocabularyItem("7_b", FRAMES)]
    assert (source.read_semantic("7_b") == np.stack([labels(t) for t in range(3)])).all()
    assert source.problems() == [] and source.object_ids("7_b") == (1, 3)
    objects = source.read(source.clip_spec("7_b", 0, 2)).objects
    assert objects.ids.tolist() == [1, 3] and objects.labels.tolist() == [0, 2]
    assert objects.masks.flatten(2).sum(2).tolist() == [[21, 15], [0, 6]]
    assert objects.valid.tolist() == [[True, True], [False, True]]
    with pytest.raises(ValueError, match="video '12_a' of vspw has 2 frames, too few for a clip of 5"):
        source.clip_spec("12_a", 0, 5)


def test_the_truth_scores_one(tmp_path: Path) -> None:
    source = open_vspw(write_vspw(tmp_path))
    accumulator = VSS_PROTOCOLS["vspw"].accumulator(len(source.categories))
    for video in source.names():
        truth = source.read_semantic(video)
        accumulator.update(video, truth, truth - 1)
    assert accumulator.compute().ious == {0: 1, 2: 1}


def test_what_is_broken_is_named(tmp_path: Path) -> None:
    source = open_vspw(write_vspw(tmp_path))
    path = tmp_path / "data/7_b/mask/00000066.png"
    Image.fromarray(labels(1) + np.uint8(6)).save(path)
    with pytest.raises(ValueError, match=f"{path} has label 5, which .*{CLASS_FILE} does not name"):
        source.read_semantic("7_b")
    path.unlink()
    assert source.problems() == [
        f"map {path.name} missing in {path.parent}: restore the file, or remove it from the lists"
    ]
    (tmp_path / "val.txt").write_text("7_b\n12_a\ngone\n")
    assert any("gone" in line for line in open_vspw(tmp_path).problems())
    (tmp_path / "val.txt").write_text("7_b\n7_b\n")
    with pytest.raises(ValueError, match="val.txt lists videos 7_b twice"):
        open_vspw(tmp_path)
    with pytest.raises(FileNotFoundError, match="train.txt is missing: it lists the videos of split 'train'"):
        open_task_source("vspw", tmp_path, "train")


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ({"wall": 1, "sky": 1}, "lists labels 1 twice"),
        ({"wall": 300}, "class 'wall' has label 300; labels are 1 to 254"),
        ({"wall": "one"}, "is no table of names and labels"),
        (["wall"], "is no table of names and labels"),
    ],
)
def test_broken_names_are_refused(tmp_path: Path, names: object, message: str) -> None:
    (write_vspw(tmp_path) / CLASS_FILE).write_text(json.dumps(names))
    with pytest.raises(ValueError, match=f"{CLASS_FILE}.*{message}"):
        open_vspw(tmp_path)


def test_missing_folders(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="data is missing: data.root must be the folder that holds VSPW"):
        open_task_source("vspw", tmp_path)
    (write_vspw(tmp_path) / CLASS_FILE).unlink()
    with pytest.raises(FileNotFoundError, match=f"{CLASS_FILE} is missing: it names the classes"):
        open_vspw(tmp_path)

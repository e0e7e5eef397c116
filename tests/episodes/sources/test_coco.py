from __future__ import annotations

import json
import os

import numpy as np
import pytest
from PIL import Image

from episodes.catalogue import folds_of
from episodes.episode import ClipSpec
from episodes.sampling.images import image_test_episodes
from episodes.sources import open_source
from tests.episodes.image_tree import square, write_coco
from tests.shared import require_shared

# pycocotools and numpy 2 disagree about an argument of `__array__`
pytestmark = pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")

PERSON, CAR, TOOTHBRUSH = 1, 3, 80  # the place of the category 90 in the order of ids is 80


@pytest.fixture
def coco(tmp_path):
    small, large, crowd = square(4, 4, 2), square(2, 2, 8), square(0, 0, 12)
    write_coco(
        tmp_path,
        "train2014",
        {
            "COCO_train2014_000000000001": [(1, large, 0), (3, small, 0)],
            "COCO_train2014_000000000002": [(3, large, 0), (1, crowd, 1)],
            "COCO_train2014_000000000003": [],
            "COCO_train2014_000000000004": [(90, small, 0)],
        },
    )
    write_coco(tmp_path, "val2014", {"COCO_val2014_000000000005": [(90, small, 0)]})
    return tmp_path


def test_masks_are_made_of_the_instances(coco, tmp_path) -> None:
    source = open_source("coco20i", coco, tmp_path / "cache")
    first = source.labels("COCO_train2014_000000000001")
    assert first.shape == (12, 16) and first[5, 5] == CAR, "the smaller instance is on top"
    assert source.area("COCO_train2014_000000000001", CAR) == 4
    assert source.area("COCO_train2014_000000000001", PERSON) == 64 - 4
    second = source.labels("COCO_train2014_000000000002")
    assert second[5, 5] == CAR and second[0, 0] == PERSON, "a crowd is of its class, and below all"
    assert set(np.unique(second)) == {0, PERSON, CAR}
    assert source.videos(TOOTHBRUSH) == ("COCO_train2014_000000000004", "COCO_val2014_000000000005")
    assert "COCO_train2014_000000000003" not in source.files, "an image without instances stands for no class"
    clip = source.read(ClipSpec("COCO_train2014_000000000001", CAR, ("0",)))
    assert clip.ignore is None and int(clip.masks.sum()) == 4


def test_parts_are_the_splits(coco, tmp_path) -> None:
    source = open_source("coco20i", coco, tmp_path / "cache")
    assert source.images_of(TOOTHBRUSH, "train") == ("COCO_train2014_000000000004",)
    assert source.images_of(TOOTHBRUSH, "test") == ("COCO_val2014_000000000005",)


def test_masks_are_made_once_and_again_when_the_annotations_change(coco, tmp_path, monkeypatch) -> None:
    cache = tmp_path / "cache"
    first = open_source("coco20i", coco, cache)
    expected = first.counts
    assert len(list(cache.glob("coco-train2014-*/*.png"))) == 3
    with monkeypatch.context() as patch:
        patch.setattr(type(first), "_draw", lambda *_: pytest.fail("the mask is there"))
        assert open_source("coco20i", coco, cache).counts == expected

    file = coco / "annotations" / "instances_train2014.json"
    data = json.loads(file.read_text())
    data["annotations"][0]["category_id"] = 90
    file.write_text(json.dumps(data))
    os.utime(file, ns=(0, file.stat().st_mtime_ns + 10**9))
    changed = open_source("coco20i", coco, cache)
    assert changed.area("COCO_train2014_000000000001", TOOTHBRUSH) == 60


def test_a_listed_image_that_is_missing(tmp_path) -> None:
    names = [f"{k:012d}" for k in range(1, 5)]
    write_coco(tmp_path, "val2017", {name: [(1, square(2, 2, 4), 0)] for name in names}, absent=names[1])
    source = open_source("coco20i", tmp_path, tmp_path / "cache")
    problems = source.problems()
    assert any(f"lists 1 images that are not in {tmp_path / 'val2017'} ({names[1]}.jpg)" in p for p in problems)
    with pytest.raises(ValueError, match=f"image .*{names[1]}.jpg is missing: restore it"):
        image_test_episodes(source, source.folds, 0, shots=1, seed=0, count=None, queries="list")


def test_without_images_the_layout_is_told(tmp_path) -> None:
    with pytest.raises(FileNotFoundError, match="no COCO under data.root=.*annotations/instances_val2014.json"):
        open_source("coco20i", tmp_path)


def test_a_part_without_images_and_another_year_are_left_out_and_named(coco, tmp_path) -> None:
    write_coco(coco, "val2017", {"000000000005": [(90, square(4, 4, 2), 0)]})
    (coco / "annotations" / "instances_minival2014.json").write_text("{}")
    source = open_source("coco20i", coco, tmp_path / "cache")
    assert len(source.files) == 4
    problems = source.problems()
    assert any("instances_val2017.json is not used: 2014 is there too" in p for p in problems)
    assert any("instances_minival2014.json is not used: its images were expected in" in p for p in problems)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda data: data.pop("categories"), "is not a COCO instances file"),
        (lambda data: data["categories"][0].update(name="wug"), "has categories that COCO does not have: wug"),
        (lambda data: data["annotations"][0].pop("area"), "is not a COCO instances file .KeyError"),
    ],
)
def test_broken_annotation_files(coco, tmp_path, change, message) -> None:
    file = coco / "annotations" / "instances_train2014.json"
    data = json.loads(file.read_text())
    change(data)
    file.write_text(json.dumps(data))
    with pytest.raises(ValueError, match=message):
        open_source("coco20i", coco, tmp_path / "cache").videos(1)


@pytest.mark.parametrize(
    "change",
    [
        lambda instance: instance.update(category_id=4),
        lambda instance: instance.update(segmentation=[[1, 2]]),
        lambda instance: instance.update(segmentation="x"),
    ],
    ids=["category", "short polygon", "no polygon"],
)
def test_a_broken_instance_is_named(coco, tmp_path, change) -> None:
    file = coco / "annotations" / "instances_train2014.json"
    data = json.loads(file.read_text())
    change(data["annotations"][0])
    file.write_text(json.dumps(data))
    source = open_source("coco20i", coco, tmp_path / "cache")
    assert any("instance 1 of" in p and "is broken" in p for p in source.problems())


@pytest.fixture(scope="module")
def real(tmp_path_factory):
    root = require_shared("data", "coco128-instances")
    return open_source("coco20i", root, tmp_path_factory.mktemp("coco"))


def test_the_real_images_have_the_reference_masks(real) -> None:
    """The reference masks fill their polygons with another rule, which moves outlines by a pixel: 0.35 % of all."""
    different = total = 0
    for image in real.files:
        path = require_shared("data", "coco128-instances", "semantic", "train2017", f"{image}.png")
        reference = np.asarray(Image.open(path))
        known = reference != 255  # crowds, which are unknown there and of their class here
        different += int((reference != real.labels(image))[known].sum())
        total += int(known.sum())
    assert len(real.files) == 128
    assert different / total < 0.005


def test_crowds_of_the_real_images_count_as_their_class(real) -> None:
    coco = next(iter(real.annotations.values()))
    crowds = [a for a in coco.anns.values() if a["iscrowd"]]
    assert len(crowds) == 13
    for crowd in crowds:
        image = f"{crowd['image_id']:012d}"
        class_id = real.folds.class_id(coco.cats[crowd["category_id"]]["name"])
        assert (real.labels(image)[coco.annToMask(crowd) > 0] == class_id).any()


@pytest.mark.parametrize("benchmark", ["coco20i", "coco20i_contiguous"])
def test_both_kinds_of_folds_draw_from_the_real_images(real, benchmark) -> None:
    folds = folds_of(benchmark)
    for group in folds.groups:
        specs = image_test_episodes(real, folds, group, shots=1, seed=0, count=20, queries="uniform")
        assert {s.class_id for s in specs} <= set(folds.test_classes(group))
        assert real.read(specs[0].queries[0]).masks.any()


def test_images_are_found_by_their_number(real) -> None:
    assert real.find("COCO_train2014_000000052016") == "000000052016"
    assert real.find("000000052016") == "000000052016"
    assert real.find("COCO_val2014_000000000042") is None
    assert real.find("cat") is None

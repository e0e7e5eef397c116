from __future__ import annotations

import json

import pytest

from episodes.catalogue import folds_of, rows
from episodes.class_names import COCO_NAME_OF_VOC
from episodes.folds import folder_folds, fss_folds
from tests.shared import require_shared

ALL = [
    pytest.param(f, g, id=f"{f.name}-{g}")
    for row in rows("videos", "images")
    if (f := row.folds) and f.classes
    for g in f.groups
]


@pytest.mark.parametrize(("folds", "group"), ALL)
def test_training_and_test_classes_never_meet(folds, group) -> None:
    train, test = folds.train_classes(group), folds.test_classes(group)
    assert not set(train) & set(test)
    every = range(1, len(folds.classes) + 1)
    assert set(train + test) <= set(every)
    assert folds.test_only or sorted(train + test) == list(every)
    names = {folds.class_name(c) for c in train} & {folds.class_name(c) for c in test}
    assert not names, "two ids share a name"


@pytest.mark.parametrize("name", ["synthetic", "mini_ref_ytvos"])
def test_every_class_is_held_out_in_one_group(name) -> None:
    folds = folds_of(name)
    held = [c for g in folds.groups for c in folds.test_classes(g)]
    assert len(folds.classes) == 48
    assert folds.groups == (1, 2, 3, 4)
    assert sorted(held) == list(range(1, 49))


@pytest.mark.parametrize("name", ["pascal5i", "coco20i", "coco20i_contiguous", "coco2pascal", "synthetic_images"])
def test_every_class_of_an_image_benchmark_is_held_out_in_one_group(name) -> None:
    folds = folds_of(name)
    held = [c for g in folds.groups for c in folds.test_classes(g)]
    assert folds.groups == (0, 1, 2, 3)
    assert sorted(held) == list(range(1, len(folds.classes) + 1))


def test_groups_of_the_image_benchmarks() -> None:
    def names(benchmark: str, group: int) -> list[str]:
        return [folds_of(benchmark).class_name(c) for c in folds_of(benchmark).test_classes(group)]

    assert names("pascal5i", 2) == ["diningtable", "dog", "horse", "motorbike", "person"]
    assert folds_of("coco20i").test_classes(1) == tuple(range(2, 81, 4))
    assert folds_of("coco20i_contiguous").test_classes(1) == tuple(range(21, 41))
    assert names("coco20i", 0)[:3] == ["person", "airplane", "boat"]
    assert names("coco2pascal", 1) == ["bicycle", "bus", "horse", "sofa"]


@pytest.mark.parametrize("group", [0, 1, 2, 3])
def test_the_domain_shift_tests_what_coco_holds_out(group) -> None:
    shift, coco = folds_of("coco2pascal"), folds_of("coco20i")
    tested = [shift.class_name(c) for c in shift.test_classes(group)]
    counterparts = {coco.class_id(COCO_NAME_OF_VOC.get(name, name)) for name in shift.classes}
    assert {coco.class_id(COCO_NAME_OF_VOC.get(n, n)) for n in tested} == counterparts & set(coco.test_classes(group))
    assert shift.train_classes(group) == ()


def test_coco_classes_are_in_the_order_of_their_ids() -> None:
    path = require_shared("data", "coco128-instances", "annotations", "instances_train2017.json")
    categories = sorted(json.loads(path.read_text())["categories"], key=lambda c: c["id"])
    assert tuple(c["name"] for c in categories) == folds_of("coco20i").classes


def test_folds_of_fss1000_and_of_a_folder() -> None:
    train, val, test = ["a", "b", "c"], ["d"], ["e", "f"]
    official, variant = (fss_folds(name, train, val, test) for name in ("fss1000", "fss1000_val"))
    assert official.classes == variant.classes == ("a", "b", "c", "d", "e", "f")
    assert official.test_classes(0) == (5, 6)
    assert variant.test_classes(0) == (4,)
    assert official.train_classes(0) == variant.train_classes(0) == (1, 2, 3)
    assert folder_folds(["x", "y", "z"]).groups == (0, 1, 2)
    assert folder_folds(["x", "y", "z"]).test_classes(1) == (2,)
    assert folder_folds([f"c{k}" for k in range(8)]).test_classes(1) == (2, 6)


@pytest.mark.parametrize("name", ["fss1000", "folder"])
def test_classes_that_only_the_data_know(name) -> None:
    with pytest.raises(ValueError, match="known when it is opened: use the folds of the source"):
        folds_of(name).test_classes(0)


def test_sailvos_is_only_tested_on() -> None:
    folds = folds_of("mini_ref_sailvos")
    for group in (1, 2, 3, 4):
        assert [folds.class_name(c) for c in folds.test_classes(group)] == ["dog", "car", "person"]
        assert folds.train_classes(group) == ()


def test_groups_are_those_of_the_field() -> None:
    reference = json.loads(require_shared("data", "text", "mini-ref-youtube-vos", "groups.json").read_text())
    folds = folds_of("mini_ref_ytvos")
    assert {n: folds.class_id(n) for n in folds.classes} == reference["mini_ytvos_category_dict"]
    for group, classes in reference["groups"].items():
        assert list(folds.test_classes(int(group))) == classes["test"]
        assert list(folds.train_classes(int(group))) == classes["train"]


@pytest.mark.parametrize("group", [0, 5, -1, "1", True, 1.5])
def test_unknown_group_lists_the_valid_ones(group) -> None:
    with pytest.raises(ValueError, match=r"no group .*valid groups: 1, 2, 3, 4"):
        folds_of("synthetic").test_classes(group)


def test_unknown_class() -> None:
    assert folds_of("mini_ref_ytvos").class_id("goat") is None
    with pytest.raises(ValueError, match="classes 1 to 48, not 49"):
        folds_of("mini_ref_ytvos").class_name(49)

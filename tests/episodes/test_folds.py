from __future__ import annotations

import json

import pytest

from episodes.folds import FOLDS
from tests.shared import require_shared

ALL = [pytest.param(f, g, id=f"{f.name}-{g}") for f in FOLDS.values() for g in f.groups]


@pytest.mark.parametrize(("folds", "group"), ALL)
def test_training_and_test_classes_never_meet(folds, group) -> None:
    train, test = folds.train_classes(group), folds.test_classes(group)
    assert not set(train) & set(test)
    assert sorted(train + test) == list(range(1, len(folds.classes) + 1))
    names = {folds.class_name(c) for c in train} & {folds.class_name(c) for c in test}
    assert not names, "two ids share a name"


@pytest.mark.parametrize("name", ["invented", "mini_ref_ytvos"])
def test_every_class_is_held_out_in_one_group(name) -> None:
    folds = FOLDS[name]
    held = [c for g in folds.groups for c in folds.test_classes(g)]
    assert len(folds.classes) == 48
    assert folds.groups == (1, 2, 3, 4)
    assert sorted(held) == list(range(1, 49))


def test_sailvos_is_only_tested_on() -> None:
    folds = FOLDS["mini_ref_sailvos"]
    for group in (1, 2, 3, 4):
        assert [folds.class_name(c) for c in folds.test_classes(group)] == ["dog", "car", "person"]
        assert folds.train_classes(group) == ()


def test_groups_are_those_of_the_field() -> None:
    reference = json.loads(require_shared("data", "text", "mini-ref-youtube-vos", "groups.json").read_text())
    folds = FOLDS["mini_ref_ytvos"]
    assert {n: folds.class_id(n) for n in folds.classes} == reference["mini_ytvos_category_dict"]
    for group, classes in reference["groups"].items():
        assert list(folds.test_classes(int(group))) == classes["test"]
        assert list(folds.train_classes(int(group))) == classes["train"]


@pytest.mark.parametrize("group", [0, 5, -1, "1", True, 1.5])
def test_unknown_group_lists_the_valid_ones(group) -> None:
    with pytest.raises(ValueError, match=r"no group .*valid groups: 1, 2, 3, 4"):
        FOLDS["invented"].test_classes(group)


def test_unknown_class() -> None:
    assert FOLDS["mini_ref_ytvos"].class_id("goat") is None
    with pytest.raises(ValueError, match="classes 1 to 48, not 49"):
        FOLDS["mini_ref_ytvos"].class_name(49)

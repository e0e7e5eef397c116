"""Folds of a benchmark as data: the classes that train and those that are held out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

LAYOUTS = ("interleaved", "contiguous")


@dataclass(frozen=True)
class Folds:
    """The classes of a benchmark and its folds.

    Attributes:
        name: the benchmark.
        classes: class names; the id of a class is its position + 1. Empty where only the data set knows them (FSS-1000,
            a folder of one's own): the folds of an opened source are then its attribute `folds`.
        groups: the valid values of `group` (1-based, as the field counts for the Mini-Ref benchmarks; 0-based for the
            image benchmarks).
        test_only: the held-out classes are tested and none trains: the models of the groups of another benchmark are
            tested on it. Without `held_out` every class is a test class in every group.
        layout: how the classes are dealt to the groups: `interleaved` (class index modulo the number of groups: CMA,
            section 4.1; COCO-20i) or `contiguous` (equal blocks in class order: PASCAL-5i).
        held_out: the test classes of each group where no such rule gives them.
        training: the training classes of every group where they are not all others (FSS-1000).
    """

    name: str
    classes: tuple[str, ...]
    groups: tuple[int, ...] = (1, 2, 3, 4)
    test_only: bool = False
    layout: str = "interleaved"
    held_out: tuple[tuple[int, ...], ...] = ()
    training: tuple[int, ...] | None = None

    def __post_init__(self) -> None:
        if self.layout not in LAYOUTS:
            raise ValueError(f"folds {self.name}: layout must be one of {', '.join(LAYOUTS)}, got {self.layout!r}")
        if self.held_out and len(self.held_out) != len(self.groups):
            raise ValueError(f"folds {self.name}: held_out names {len(self.held_out)} of {len(self.groups)} groups")

    def test_classes(self, group: int) -> tuple[int, ...]:
        """Ids of the held-out classes of `group`. Raises ValueError for an unknown group."""
        self._check(group)
        if self.held_out:
            return self.held_out[self.groups.index(group)]
        ids = range(1, len(self.classes) + 1)
        return tuple(c for c in ids if self.test_only or self._group_of(c) == group)

    def train_classes(self, group: int) -> tuple[int, ...]:
        """Ids of the classes that train: all others, unless `training` names them. ValueError for an unknown group."""
        held_out = set(self.test_classes(group))
        if self.test_only:
            return ()
        ids = range(1, len(self.classes) + 1) if self.training is None else self.training
        return tuple(c for c in ids if c not in held_out)

    def _group_of(self, class_id: int) -> int:
        n = len(self.groups)
        place = (class_id - 1) * n // len(self.classes) if self.layout == "contiguous" else (class_id - 1) % n
        return self.groups[place]

    def class_name(self, class_id: int) -> str:
        """Name of class `class_id` (1-based)."""
        if not 1 <= class_id <= len(self.classes):
            raise ValueError(f"{self.name} has classes 1 to {len(self.classes)}, not {class_id}")
        return self.classes[class_id - 1]

    def class_id(self, name: str) -> int | None:
        """Id of the class called `name`, or None."""
        return self.classes.index(name) + 1 if name in self.classes else None

    def _check(self, group: int) -> None:
        if not self.classes:
            raise ValueError(f"the classes of {self.name} are known when it is opened: use the folds of the source")
        if isinstance(group, bool) or group not in self.groups:
            valid = ", ".join(map(str, self.groups))
            raise ValueError(f"benchmark {self.name} has no group {group!r}; valid groups: {valid}")


IMAGE_GROUPS = (0, 1, 2, 3)
FEW_CLASSES = 8  # a folder with fewer classes has one group for each of them


def fss_folds(name: str, train: Sequence[str], val: Sequence[str], test: Sequence[str]) -> Folds:
    """FSS-1000 (Li et al., CVPR 2020) with the classes of its lists in this order; ids 761..1000 are the test split.

    `fss1000` holds the test split out, `fss1000_val` the validation split (UniRef++'s data); the training split trains.
    """
    held_out = range(len(train), len(train) + len(val))
    if name == "fss1000":
        held_out = range(len(train) + len(val), len(train) + len(val) + len(test))
    ids = tuple(range(1, len(train) + 1))
    return Folds(name, (*train, *val, *test), (0,), held_out=(tuple(k + 1 for k in held_out),), training=ids)


def folder_folds(classes: Sequence[str]) -> Folds:
    """Four interleaved groups 0..3 of the classes of a folder; with fewer than 8 classes each is a group of its own."""
    groups = IMAGE_GROUPS if len(classes) >= FEW_CLASSES else tuple(range(len(classes)))
    return Folds("folder", tuple(classes), groups)

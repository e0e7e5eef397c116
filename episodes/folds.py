"""Which classes of a benchmark train and which are held out, as data."""

from __future__ import annotations

from dataclasses import dataclass

from episodes.sources.invented import CLASS_NAMES

MINI_REF_YTVOS = tuple(
    """hat plant hand horse raccoon squirrel bus boat crocodile penguin motorbike truck hedgehog lion earless_seal
    whale elephant mouse snail camel shark giraffe tiger frog cat dolphin cow dog bear zebra airplane leopard fox
    turtle deer train sedan sheep fish bird rabbit duck snake monkey parrot lizard giant_panda person""".split()
)


@dataclass(frozen=True)
class Folds:
    """The classes of a benchmark and its folds.

    Attributes:
        name: the benchmark.
        classes: class names; the id of a class is its position + 1.
        groups: the valid values of `group` (1-based, as the field counts for the Mini-Ref benchmarks).
        test_only: every class is a test class in every group and none trains: the models of the groups of another
            benchmark are tested on it.
    """

    name: str
    classes: tuple[str, ...]
    groups: tuple[int, ...] = (1, 2, 3, 4)
    test_only: bool = False

    def test_classes(self, group: int) -> tuple[int, ...]:
        """Ids of the held-out classes: those with `(id - 1) mod groups = group - 1` (CMA, section 4.1).

        Raises ValueError for an unknown group.
        """
        self._check(group)
        ids = range(1, len(self.classes) + 1)
        return tuple(c for c in ids if self.test_only or (c - 1) % len(self.groups) == group - 1)

    def train_classes(self, group: int) -> tuple[int, ...]:
        """Ids of all other classes. Raises ValueError for an unknown group."""
        held_out = set(self.test_classes(group))
        return tuple(c for c in range(1, len(self.classes) + 1) if c not in held_out)

    def class_name(self, class_id: int) -> str:
        """Name of class `class_id` (1-based)."""
        if not 1 <= class_id <= len(self.classes):
            raise ValueError(f"{self.name} has classes 1 to {len(self.classes)}, not {class_id}")
        return self.classes[class_id - 1]

    def class_id(self, name: str) -> int | None:
        """Id of the class called `name`, or None."""
        return self.classes.index(name) + 1 if name in self.classes else None

    def _check(self, group: int) -> None:
        if isinstance(group, bool) or group not in self.groups:
            valid = ", ".join(map(str, self.groups))
            raise ValueError(f"benchmark {self.name} has no group {group!r}; valid groups: {valid}")


FOLDS: dict[str, Folds] = {
    folds.name: folds
    for folds in (
        Folds("invented", CLASS_NAMES),
        Folds("mini_ref_ytvos", MINI_REF_YTVOS),
        Folds("mini_ref_sailvos", ("dog", "car", "person"), test_only=True),
    )
}

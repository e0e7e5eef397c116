"""The two protocols of the DAVIS evaluation: semi-supervised (ids matched by number) and unsupervised (Hungarian).

A third reading, for expressions, keeps the ids in the unsupervised protocol: see `score_identity`.

Perazzi et al., CVPR 2016 (J, F, recall, decay); Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object
Segmentation", 2017 (several objects); Caelles et al., "The 2019 DAVIS Challenge", 2019 (unsupervised).
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from benchmarks.metrics.jf import DAVIS_TOLERANCE, j_and_f
from benchmarks.metrics.statistics import Statistics, sequence_statistics

VOID = 255
MAX_PROPOSALS = 20
Labels = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class ObjectScore:
    """J and F of one object in each scored frame, `(n,)` each, in 0..1."""

    j: NDArray[np.float64]
    f: NDArray[np.float64]

    def same(self, other: ObjectScore) -> bool:
        """Equal in every frame."""
        return np.array_equal(self.j, other.j, equal_nan=True) and np.array_equal(self.f, other.f, equal_nan=True)


@dataclass(frozen=True)
class SequenceScore:
    """The objects of one sequence, by number from 1 on (unsupervised: in the order of the assignment)."""

    name: str
    objects: dict[int, ObjectScore]


def score_semi_supervised(name: str, truth: Labels, result: Labels, bound_th: float = DAVIS_TOLERANCE) -> SequenceScore:
    """Score label maps `(T, H, W)` of all annotated frames; the first and the last are left out.

    Objects are 1..n with n the highest id of the first true frame. Void (255) in the truth counts as background.
    Objects missing in the result are scored as empty masks.

    Raises:
        ValueError: shapes differ, fewer than three frames, no object in the first frame, or ids above n in the result.
    """
    truth, result = _checked(name, truth, result)
    if len(truth) < 3:
        raise ValueError(
            f"sequence {name!r}: {len(truth)} frames; without the first and the last none is left to score"
        )
    count = _number_of_objects(name, truth)
    truth, result = np.where(truth == VOID, 0, truth)[1:-1], result[1:-1]
    if (highest := int(result.max())) > count:
        raise ValueError(
            f"sequence {name!r}: the result has id {highest} but the first true frame only has ids up to {count}; "
            "map binary masks of 0 and 255 to 0 and 1, and drop ids that are no object of the truth"
        )
    pairs = (
        (k, [j_and_f(p == k, t == k, bound_th=bound_th) for p, t in zip(result, truth, strict=True)])
        for k in range(1, count + 1)
    )
    return SequenceScore(name, {k: _object_score(np.array(scores)) for k, scores in pairs})


def score_unsupervised(name: str, truth: Labels, result: Labels, bound_th: float = DAVIS_TOLERANCE) -> SequenceScore:
    """Score at most 20 proposals `(T, H, W)` in all frames against the best-matching objects, void pixels ignored.

    Proposals are assigned to objects so that the sum of the mean (J + F) / 2 is highest. Proposals left over cost
    nothing. Objects are numbered in the order of their proposals, as in the official tables.

    Raises:
        ValueError: shapes differ, no object in the first true frame, or more than 20 proposals.
    """
    truth, result = _checked(name, truth, result)
    objects, proposals = _number_of_objects(name, truth), int(result.max())
    if proposals > MAX_PROPOSALS:
        raise ValueError(
            f"sequence {name!r}: the result has id {proposals}, at most {MAX_PROPOSALS} proposals are allowed"
        )
    scores = np.empty((max(proposals, objects), objects, len(truth), 2))
    for frame, (t, r) in enumerate(zip(truth, result, strict=True)):
        void = t == VOID
        void = void if void.any() else None
        for proposal, target in np.ndindex(scores.shape[:2]):
            scores[proposal, target, frame] = j_and_f(r == proposal + 1, t == target + 1, void, bound_th)
    rows, columns = linear_sum_assignment(scores.mean((2, 3)), maximize=True)
    pairs = enumerate(zip(rows, columns, strict=True), start=1)
    return SequenceScore(name, {k: _object_score(scores[row, column]) for k, (row, column) in pairs})


def score_identity(name: str, truth: Labels, result: Labels, bound_th: float = DAVIS_TOLERANCE) -> SequenceScore:
    """Score label maps `(T, H, W)` in all frames, each object against its own number, void pixels ignored.

    It differs from `score_unsupervised` in the assignment alone: that of Ref-DAVIS17 in papers does not punish a result
    that finds two objects and exchanges them. Numbers of the result that are no object cost nothing.

    Raises:
        ValueError: shapes differ, or no object in the first true frame.
    """
    truth, result = _checked(name, truth, result)
    count = _number_of_objects(name, truth)
    scores = np.empty((count, len(truth), 2))
    for frame, (t, r) in enumerate(zip(truth, result, strict=True)):
        void = t == VOID
        void = void if void.any() else None
        for k in range(count):
            scores[k, frame] = j_and_f(r == k + 1, t == k + 1, void, bound_th)
    return SequenceScore(name, {k: _object_score(own) for k, own in enumerate(scores, start=1)})


class DavisAccumulator:
    """Collects sequences (in any order, from any process) and computes the official table."""

    def __init__(self, sequences: Iterable[SequenceScore] = ()) -> None:
        self._sequences: dict[str, SequenceScore] = {}
        for sequence in sequences:
            self.update(sequence)

    def update(self, sequence: SequenceScore) -> None:
        """Add a sequence. The same sequence with the same scores may come twice; with other scores it is an error."""
        known = self._sequences.setdefault(sequence.name, sequence)
        same = known.objects.keys() == sequence.objects.keys()
        if not same or not all(known.objects[k].same(score) for k, score in sequence.objects.items()):
            raise ValueError(f"sequence {sequence.name!r} was already added with other scores")

    def merge(self, other: DavisAccumulator) -> None:
        """Add everything that `other` holds."""
        for sequence in other._sequences.values():
            self.update(sequence)

    def compute(self, wrapped_ids: bool = False) -> dict[str, float]:
        """The seven columns of the official table in 0..1: plain means over all objects of all sequences.

        `wrapped_ids` is for comparison with the official program, see `sequence_statistics`.
        """
        if not self._sequences:
            raise ValueError("no sequence was added: there is nothing to average")
        scores = [score for _, score in self._objects()]
        j = _mean_statistics([sequence_statistics(score.j, wrapped_ids) for score in scores])
        f = _mean_statistics([sequence_statistics(score.f, wrapped_ids) for score in scores])
        return {
            "J&F-Mean": (j.mean + f.mean) / 2,
            **{"J-Mean": j.mean, "J-Recall": j.recall, "J-Decay": j.decay},
            **{"F-Mean": f.mean, "F-Recall": f.recall, "F-Decay": f.decay},
        }

    def rows(self) -> dict[str, tuple[float, float]]:
        """(J mean, F mean) of each object, named `<sequence>_<number>`, sequences sorted by name."""
        return {name: (float(np.mean(score.j)), float(np.mean(score.f))) for name, score in self._objects()}

    def _objects(self) -> list[tuple[str, ObjectScore]]:
        """All objects in one fixed order, so that the sums do not depend on who scored what."""
        ordered = sorted(self._sequences.items())
        return [(f"{name}_{k}", score) for name, sequence in ordered for k, score in sorted(sequence.objects.items())]


def _checked(name: str, truth: Labels, result: Labels) -> tuple[Labels, Labels]:
    truth, result = np.asarray(truth), np.asarray(result)
    if truth.ndim != 3 or truth.shape != result.shape or truth.shape[0] == 0:
        raise ValueError(
            f"sequence {name!r}: truth and result must be label maps (T, H, W) of one shape, got {truth.shape} and "
            f"{result.shape}: every annotated frame needs a result of its size"
        )
    return truth, result


def _number_of_objects(name: str, truth: Labels) -> int:
    first = truth[0]
    count = int(np.where(first == VOID, 0, first).max())
    if count == 0:
        raise ValueError(
            f"sequence {name!r}: no object in the first true frame; annotations with foreground 255 (DAVIS 2016) must "
            "be mapped to 1 first"
        )
    return count


def _object_score(scores: NDArray[np.float64]) -> ObjectScore:
    return ObjectScore(scores[:, 0].copy(), scores[:, 1].copy())


def _mean_statistics(rows: list[Statistics]) -> Statistics:
    mean, recall, decay = (float(np.mean([getattr(row, key) for row in rows])) for key in ("mean", "recall", "decay"))
    return Statistics(mean, recall, decay)

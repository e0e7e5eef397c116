"""The two protocols of the DAVIS evaluation: semi-supervised (ids matched by number) and unsupervised (Hungarian).

A third reading, for expressions, keeps the ids in the unsupervised protocol: see `score_identity`.

Perazzi et al., CVPR 2016 (J, F, recall, decay); Pont-Tuset et al., "The 2017 DAVIS Challenge on Video Object
Segmentation", 2017 (several objects); Caelles et al., "The 2019 DAVIS Challenge", 2019 (unsupervised).
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
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


def score_semi_supervised(
    name: str, truth: Sequence[Labels], result: Sequence[Labels], bound_th: float = DAVIS_TOLERANCE
) -> SequenceScore:
    """Score label maps `(H, W)` of all annotated frames; the first and the last are left out.

    Objects are 1..n with n the highest id of the first true frame. Void (255) in the truth counts as background.
    Objects missing in the result are scored as empty masks. Frames may be read as they are asked for: each is looked at
    alone, and results that are not scored are not asked for.

    Raises:
        ValueError: shapes differ, fewer than three frames, no object in the first frame, or ids above n in the result.
    """
    _check_lengths(name, truth, result)
    if len(truth) < 3:
        raise ValueError(
            f"sequence {name!r}: {len(truth)} frames; without the first and the last none is left to score"
        )
    count = _number_of_objects(name, truth[0])
    scores = np.empty((count, len(truth) - 2, 2))
    for frame, (t, r) in enumerate(_pairs(name, truth, result, range(1, len(truth) - 1))):
        if (highest := int(r.max())) > count:
            raise ValueError(
                f"sequence {name!r}: the result has id {highest} but the first true frame only has ids up to {count}; "
                "map binary masks of 0 and 255 to 0 and 1, and drop ids that are no object of the truth"
            )
        t = np.where(t == VOID, 0, t)
        for k in range(count):
            scores[k, frame] = j_and_f(r == k + 1, t == k + 1, bound_th=bound_th)
    return _sequence_score(name, scores)


def score_unsupervised(
    name: str, truth: Sequence[Labels], result: Sequence[Labels], bound_th: float = DAVIS_TOLERANCE
) -> SequenceScore:
    """Score at most 20 proposals, ids in label maps `(H, W)`, in all frames against the best-matching objects.

    Proposals are assigned to objects so that the sum of the mean (J + F) / 2 is highest. Proposals left over cost
    nothing, void pixels are ignored. Objects are numbered in the order of their proposals, as in the official tables.

    Raises:
        ValueError: shapes differ, no object in the first true frame, or more than 20 proposals.
    """
    _check_lengths(name, truth, result)
    objects = _number_of_objects(name, truth[0])
    frames = [
        _proposal_scores(name, t, r, objects, bound_th) for t, r in _pairs(name, truth, result, range(len(truth)))
    ]
    proposals = max(objects, *(len(scores) - 1 for scores in frames))
    # a proposal that a frame does not show has there the scores of an empty mask, which stand first
    shown = [[k + 1 if k + 1 < len(own) else 0 for k in range(proposals)] for own in frames]
    scores = np.stack([own[rows] for own, rows in zip(frames, shown, strict=True)], 2)
    rows, columns = linear_sum_assignment(scores.mean((2, 3)), maximize=True)
    return _sequence_score(name, scores[rows, columns])


def _proposal_scores(name: str, truth: Labels, result: Labels, objects: int, bound_th: float) -> NDArray[np.float64]:
    """J and F in a frame of an empty mask and of proposals 1 to the highest that it shows: `(1 + P, objects, 2)`."""
    highest = int(result.max())
    if highest > MAX_PROPOSALS:
        raise ValueError(
            f"sequence {name!r}: the result has id {highest}, at most {MAX_PROPOSALS} proposals are allowed"
        )
    void = _void(truth)
    scores = np.empty((1 + highest, objects, 2))
    for proposal, target in np.ndindex(scores.shape[:2]):
        mask = result == proposal if proposal else np.zeros(result.shape, bool)
        scores[proposal, target] = j_and_f(mask, truth == target + 1, void, bound_th)
    return scores


def score_identity(
    name: str, truth: Sequence[Labels], result: Sequence[Labels], bound_th: float = DAVIS_TOLERANCE
) -> SequenceScore:
    """Score label maps `(H, W)` in all frames, each object against its own number, void pixels ignored.

    It differs from `score_unsupervised` in the assignment alone: that of Ref-DAVIS17 in papers does not punish a result
    that finds two objects and exchanges them. Numbers of the result that are no object cost nothing.

    Raises:
        ValueError: shapes differ, or no object in the first true frame.
    """
    _check_lengths(name, truth, result)
    scores = np.empty((_number_of_objects(name, truth[0]), len(truth), 2))
    for frame, (t, r) in enumerate(_pairs(name, truth, result, range(len(truth)))):
        void = _void(t)
        for k in range(len(scores)):
            scores[k, frame] = j_and_f(r == k + 1, t == k + 1, void, bound_th)
    return _sequence_score(name, scores)


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


def _check_lengths(name: str, truth: Sequence[Labels], result: Sequence[Labels]) -> None:
    if len(truth) != len(result) or len(truth) == 0:
        raise ValueError(
            f"sequence {name!r}: {len(truth)} true frames and {len(result)} of the result: every annotated frame needs "
            "a result"
        )


def _pairs(
    name: str, truth: Sequence[Labels], result: Sequence[Labels], frames: Iterable[int]
) -> Iterator[tuple[Labels, Labels]]:
    """Truth and result of some frames. Raises ValueError where they are no maps of one size."""
    for frame in frames:
        t, r = np.asarray(truth[frame]), np.asarray(result[frame])
        if t.ndim != 2 or t.shape != r.shape:
            raise ValueError(
                f"sequence {name!r}: truth and result must be label maps (H, W) of one size, got {t.shape} and "
                f"{r.shape} in frame {frame}"
            )
        yield t, r


def _void(truth: Labels) -> NDArray[np.bool_] | None:
    """Pixels that do not count; None where there are none."""
    void = truth == VOID
    return void if void.any() else None


def _number_of_objects(name: str, first: Labels) -> int:
    """Highest id of the first true frame."""
    count = int(np.where(first == VOID, 0, first).max())
    if count == 0:
        raise ValueError(
            f"sequence {name!r}: no object in the first true frame; annotations with foreground 255 (DAVIS 2016) must "
            "be mapped to 1 first"
        )
    return count


def _sequence_score(name: str, scores: NDArray[np.float64]) -> SequenceScore:
    """Of J and F of each object in each frame, `(objects, T, 2)`."""
    return SequenceScore(name, {k: _object_score(own) for k, own in enumerate(scores, start=1)})


def _object_score(scores: NDArray[np.float64]) -> ObjectScore:
    return ObjectScore(scores[:, 0].copy(), scores[:, 1].copy())


def _mean_statistics(rows: list[Statistics]) -> Statistics:
    mean, recall, decay = (float(np.mean([getattr(row, key) for row in rows])) for key in ("mean", "recall", "decay"))
    return Statistics(mean, recall, decay)

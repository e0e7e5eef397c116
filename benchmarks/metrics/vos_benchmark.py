"""J and F as the `vos-benchmark` evaluator averages them: other objects and frames than DAVIS, the same definitions.

It differs from DAVIS where an object is not in the first scored frame or ids have gaps; void is not known. No report of
this package uses it: it is for comparing masks of your own with numbers that others computed with that evaluator.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from benchmarks.metrics.davis import Labels
from benchmarks.metrics.jf import DAVIS_TOLERANCE, j_and_f

Objects = dict[int, tuple[float, float]]


@dataclass(frozen=True)
class VosBenchmarkScore:
    """Means over all objects of all sequences, and `objects[sequence][id] = (J, F)`; all in 0..1."""

    j: float
    f: float
    objects: dict[str, Objects]


def score_objects(truth: Labels, result: Labels, bound_th: float = DAVIS_TOLERANCE) -> Objects:
    """Mean J and F of every id in label maps `(T, H, W)`, from the frame on where it is first seen in either."""
    if truth.shape != result.shape or truth.ndim != 3:
        raise ValueError(f"truth and result must be label maps (T, H, W), got {truth.shape} and {result.shape}")
    scores: dict[int, list[tuple[float, float]]] = {}
    for t, r in zip(truth, result, strict=True):
        for k in sorted(_ids(t) | _ids(r)):
            scores.setdefault(k, [])
        for k, values in scores.items():
            values.append(j_and_f(r == k, t == k, bound_th=bound_th))
    return {k: (float(np.mean(values, axis=0)[0]), float(np.mean(values, axis=0)[1])) for k, values in scores.items()}


class VosBenchmarkAccumulator:
    """Collects sequences (in any order, from any process); the means are over all their objects.

    Args:
        skip_first_last: leave the first and the last frame of a sequence out.
        bound_th: boundary tolerance, as in `boundary_f`.
    """

    def __init__(self, skip_first_last: bool = True, bound_th: float = DAVIS_TOLERANCE) -> None:
        self.skip_first_last, self.bound_th = skip_first_last, bound_th
        self._objects: dict[str, Objects] = {}

    def update(self, name: str, truth: Labels, result: Labels) -> None:
        """Add a sequence of label maps `(T, H, W)`; ids that are only in the result are left out.

        Raises:
            ValueError: shapes differ, or the sequence is there already.
        """
        if self.skip_first_last:
            truth, result = truth[1:-1], result[1:-1]
        known = _ids(truth)
        scores = score_objects(truth, result, self.bound_th)
        self._add(name, {k: pair for k, pair in scores.items() if k in known})

    def merge(self, other: VosBenchmarkAccumulator) -> None:
        """Add everything that `other` holds; it must skip the same frames and have the same tolerance."""
        if (self.skip_first_last, self.bound_th) != (other.skip_first_last, other.bound_th):
            raise ValueError("accumulators of other frames or another boundary tolerance cannot be merged")
        for name, objects in other._objects.items():
            self._add(name, objects)

    def compute(self) -> VosBenchmarkScore:
        """The means so far, sequences sorted by name. Raises ValueError if no object is in any true frame."""
        objects = dict(sorted(self._objects.items()))
        pairs = [pair for of_sequence in objects.values() for pair in of_sequence.values()]
        if not pairs:
            raise ValueError("no object in any true frame: there is nothing to average")
        j, f = np.mean(pairs, axis=0)
        return VosBenchmarkScore(float(j), float(f), objects)

    def _add(self, name: str, objects: Objects) -> None:
        if name in self._objects:
            raise ValueError(f"sequence {name!r} was already added")
        self._objects[name] = objects


def score_vos_benchmark(
    sequences: Mapping[str, tuple[Labels, Labels]], skip_first_last: bool = True, bound_th: float = DAVIS_TOLERANCE
) -> VosBenchmarkScore:
    """Score of `{name: (truth, result)}`; arguments and errors as in `VosBenchmarkAccumulator`."""
    accumulator = VosBenchmarkAccumulator(skip_first_last, bound_th)
    for name, pair in sequences.items():
        accumulator.update(name, *pair)
    return accumulator.compute()


def _ids(labels: Labels) -> set[int]:
    """The ids other than 0 in a label map (counting is faster than sorting)."""
    return set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) - {0}

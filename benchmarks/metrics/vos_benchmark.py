"""J and F as the `vos-benchmark` evaluator averages them: other objects and frames than DAVIS, the same definitions.

It differs from DAVIS where an object is not in the first scored frame or ids have gaps; void is not known.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from benchmarks.metrics.davis import Labels
from benchmarks.metrics.jf import DAVIS_TOLERANCE, j_and_f


@dataclass(frozen=True)
class VosBenchmarkScore:
    """Means over all objects of all sequences, and `objects[sequence][id] = (J, F)`; all in 0..1."""

    j: float
    f: float
    objects: dict[str, dict[int, tuple[float, float]]]


def score_objects(truth: Labels, result: Labels, bound_th: float = DAVIS_TOLERANCE) -> dict[int, tuple[float, float]]:
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


def score_vos_benchmark(
    sequences: dict[str, tuple[Labels, Labels]], skip_first_last: bool = True, bound_th: float = DAVIS_TOLERANCE
) -> VosBenchmarkScore:
    """Score `{name: (truth, result)}`, label maps `(T, H, W)`; ids that are only in the result are left out.

    Raises:
        ValueError: shapes differ, or no object is in any true frame.
    """
    objects = {}
    for name, (truth, result) in sequences.items():
        if skip_first_last:
            truth, result = truth[1:-1], result[1:-1]
        known = _ids(truth)
        objects[name] = {k: pair for k, pair in score_objects(truth, result, bound_th).items() if k in known}
    pairs = [pair for of_sequence in objects.values() for pair in of_sequence.values()]
    if not pairs:
        raise ValueError("no object in any true frame: there is nothing to average")
    j, f = np.mean(pairs, axis=0)
    return VosBenchmarkScore(float(j), float(f), objects)


def _ids(labels: Labels) -> set[int]:
    """The ids other than 0 in a label map (counting is faster than sorting)."""
    return set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) - {0}

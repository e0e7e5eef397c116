"""Referring image segmentation: overall IoU, mean IoU and P@K under the three definitions of the field.

They differ only on empty masks and at exact thresholds. `lavt`: Yang et al., "LAVT: Language-Aware Vision Transformer
for Referring Image Segmentation", CVPR 2022. `referformer`: Wu et al., "Language as Queries for Referring Video Object
Segmentation", CVPR 2022, after Botach et al., "End-to-End Referring Video Object Segmentation with Multimodal
Transformers" (MTTR), CVPR 2022. `uniref`: Wu et al., "UniRef++", 2023. Every sample is one expression of one image.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike

from benchmarks.metrics.ratios import Floats, ratio

Variant = Literal["lavt", "referformer", "uniref"]
THRESHOLDS = (0.5, 0.6, 0.7, 0.8, 0.9)
EPSILON = np.float32(1e-6)


@dataclass(frozen=True)
class RisScore:
    """Numbers in 0..1: sum of intersections over sum of unions, mean of the IoUs, and P@K by threshold."""

    overall_iou: float
    mean_iou: float
    precision: dict[float, float]
    samples: int


def sample_ious(inter: ArrayLike, union: ArrayLike, variant: Variant) -> Floats:
    """IoU of each sample from its areas `(N,)`: `(N,)` float64.

    `lavt` and `uniref`: 0 if both masks are empty. `referformer`: (I + 1e-6) / (U + 1e-6) in 32-bit floats, hence 1 if
    both are empty; the rounding decides which exact ratios pass a threshold, so it is kept.
    """
    _check(variant)
    if variant == "referformer":
        inter, union = (np.asarray(area, np.float32) for area in (inter, union))
        return ((inter + EPSILON) / (union + EPSILON)).astype(np.float64)
    return ratio(inter, union)


def precision_at(ious: ArrayLike, variant: Variant, thresholds: Sequence[float] = THRESHOLDS) -> dict[float, float]:
    """Share of the samples `(N,)` whose IoU is above each threshold (`lavt`: at or above)."""
    _check(variant)
    ious = np.asarray(ious, np.float64)
    passed = np.greater_equal if variant == "lavt" else np.greater
    return {threshold: float(np.mean(passed(ious, threshold))) for threshold in thresholds}


def best_candidate(scores: Sequence[float]) -> int:
    """Index of the candidate that answers for a sample: the one with the highest score, the last of equals."""
    values = np.asarray(scores)
    if values.ndim != 1 or values.size == 0:
        raise ValueError(f"scores must be (candidates,) with at least one, got shape {values.shape}")
    return int(values.size - 1 - np.argmax(values[::-1]))


class RisAccumulator:
    """Collects areas of intersection and union, one pair per sample; the result does not depend on their order.

    A sample without a prediction is added as `update(0, <true area>)`.

    Args:
        variant: which definition of the IoU of a sample and of P@K.
    """

    def __init__(self, variant: Variant = "lavt", areas: Iterable[tuple[float, float]] = ()) -> None:
        _check(variant)
        self.variant: Variant = variant
        self._areas: list[tuple[float, float]] = []
        for inter, union in areas:
            self.update(inter, union)

    def update(self, inter: float, union: float) -> None:
        """Add a sample: pixels in both masks and in either (at the original size of the image)."""
        if not 0 <= inter <= union:
            raise ValueError(f"areas must satisfy 0 <= intersection <= union, got {inter} and {union}")
        self._areas.append((inter, union))

    def merge(self, other: RisAccumulator) -> None:
        """Add everything that `other` holds; it must be of the same variant."""
        if self.variant != other.variant:
            raise ValueError(f"accumulators of {self.variant!r} and {other.variant!r} cannot be merged")
        self._areas += other._areas

    def compute(self, thresholds: Sequence[float] = THRESHOLDS) -> RisScore:
        """The numbers so far. Sums are exact (integers, or fsum)."""
        if not self._areas:
            raise ValueError("no sample was added: there is nothing to average")
        inter, union = zip(*self._areas, strict=True)
        ious = sample_ious(inter, union, self.variant)
        whole = math.fsum(union)
        return RisScore(
            overall_iou=math.fsum(inter) / whole if whole else 0.0,
            mean_iou=math.fsum(ious) / len(ious),
            precision=precision_at(ious, self.variant, thresholds),
            samples=len(ious),
        )


def _check(variant: str) -> None:
    if variant not in get_args(Variant):
        raise ValueError(f"unknown variant {variant!r}: valid are {', '.join(get_args(Variant))}")

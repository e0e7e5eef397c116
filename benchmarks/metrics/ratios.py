"""Ratios of sums, and their mean over classes: the form that mIoU, FB-IoU and the pooled J and F have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]


class Totals(NamedTuple):
    """Sums over the scores of one class, or of several pooled. Leading axes are free (bootstrap samples, seeds).

    Attributes:
        part, whole: numerators and denominators `(..., columns)`; one denominator may serve all columns.
        scores: how many scores are in the sums, `(..., 1)` or one number for all.
    """

    part: NDArray[Any]
    whole: NDArray[Any]
    scores: ArrayLike


def ratio(part: ArrayLike, whole: ArrayLike, epsilon: float = 0.0) -> Floats:
    """`part / whole` element by element; 0 where `whole` is 0 (empty in prediction and truth).

    Args:
        epsilon: added to `whole` where it is not 0.
    """
    part, whole = np.asarray(part), np.asarray(whole)
    if epsilon:
        return np.asarray(part / (whole + epsilon), np.float64)
    kind = np.result_type(part, whole)
    out = np.zeros(np.broadcast_shapes(part.shape, whole.shape), kind if kind.kind == "f" else np.float64)
    return np.asarray(np.divide(part, whole, out=out, where=whole > 0), np.float64)


def mean_ratio(classes: Iterable[Totals], epsilon: float = 0.0) -> Floats:
    """Mean over `classes` (at least one) of the ratio of sums of each, `(..., columns)`.

    A class without a score is left out; where no class has one, the mean is NaN.
    """
    total, present = np.zeros(()), np.zeros(())
    for part, whole, scores in classes:
        total = total + ratio(part, whole, epsilon)
        present = present + (np.asarray(scores) > 0)
    return np.divide(total, present, out=np.full(total.shape, np.nan), where=present > 0)


def pooled(classes: Iterable[Totals]) -> Totals:
    """All classes in one: the sums of `classes` (at least one) added up."""
    parts, wholes, scores = zip(*classes, strict=True)
    return Totals(sum(parts[1:], parts[0]), sum(wholes[1:], wholes[0]), sum(scores[1:], scores[0]))

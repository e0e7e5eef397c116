"""Pixel counts of a pair of binary masks, and the areas of pairs of boxes.

All counts are exact integers. Pixels to ignore are left out of prediction and truth alike, which is what the official
evaluators do when they give such pixels a value of their own in both (Min et al., "Hypercorrelation Squeeze for
Few-Shot Segmentation", ICCV 2021; Tian et al., "Prior Guided Feature Enrichment Network", TPAMI 2020).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class PairCounts(NamedTuple):
    """Pixels of background and foreground: in both masks, in either mask, and in the truth."""

    inter_bg: int
    inter_fg: int
    union_bg: int
    union_fg: int
    truth_bg: int
    truth_fg: int


def pair_counts(pred: NDArray, truth: NDArray, ignore: NDArray | None = None) -> PairCounts:
    """Count the pixels of two masks of one shape, outside `ignore`.

    Args:
        pred, truth: bool (or 0 and 1), any shape, `(H, W)` for one image.
        ignore: bool of the same shape, True where the truth is not known.

    Raises:
        ValueError: the shapes differ.
    """
    pred, truth = np.asarray(pred), np.asarray(truth)
    if pred.shape != truth.shape or (ignore is not None and np.shape(ignore) != truth.shape):
        shapes = f"prediction {pred.shape}, truth {truth.shape}"
        shapes += "" if ignore is None else f", ignore {np.shape(ignore)}"
        raise ValueError(f"masks must be of one shape, got {shapes}: resize the prediction first")
    pred, truth, total = pred.astype(bool, copy=False), truth.astype(bool, copy=False), truth.size
    if ignore is not None:
        known = ~np.asarray(ignore).astype(bool, copy=False)
        pred, truth, total = pred & known, truth & known, int(np.count_nonzero(known))
    common, of_pred, of_truth = (int(np.count_nonzero(mask)) for mask in (pred & truth, pred, truth))
    return _from_foreground(common, of_pred, of_truth, total)


def _from_foreground(common: int, pred: int, truth: int, total: int) -> PairCounts:
    """Background counts follow from those of the foreground: what is not in the union is background in both."""
    union = pred + truth - common
    return PairCounts(total - union, common, total - common, union, total - truth, truth)


def box_iou(a: NDArray, b: NDArray) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Intersection and union areas of boxes `(N, 4)` with corners `x1, y1, x2, y2`, pair by pair: two `(N,)`."""
    a, b = np.asarray(a, np.float64).reshape(-1, 4), np.asarray(b, np.float64).reshape(-1, 4)
    sides = np.minimum(a[:, 2:], b[:, 2:]) - np.maximum(a[:, :2], b[:, :2])
    inter = np.clip(sides, 0, None).prod(1)
    areas = [(box[:, 2:] - box[:, :2]).prod(1) for box in (a, b)]
    return inter, areas[0] + areas[1] - inter

"""J and F as the evaluation of CMA averages them: frames pooled within a class, then the mean over a class list.

Li et al., "Learning Cross-Modal Affinity for Referring Video Object Segmentation Targeting Limited Samples", ICCV
2023. Its test registers one class for everything, so all frames of a fold are pooled: `CmaAccumulator([1])`. Its
training-time evaluation (and DANet, CVPR 2021, from which it descends) uses the real class list. The accumulator is for
an evaluation loop of your own; the reports (protocols `cma` and `cma_per_class`) average with the same `mean_ratio`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.jf import CMA_TOLERANCE, j_and_f
from benchmarks.metrics.ratios import Totals, mean_ratio, ratio

MASK_THRESHOLD = 0.5


@dataclass(frozen=True)
class CmaScore:
    """Means over the class list, in 0..1, and per class `(J, F, voxel IoU, number of frames)`.

    A class without frames counts as 0, as in the official code.
    """

    j: float
    f: float
    voxel_iou: float
    classes: dict[int, tuple[float, float, float, int]]


def frame_scores(
    pred: NDArray, truth: NDArray, bound_th: float = CMA_TOLERANCE
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """J and F of each frame of `(T, H, W)` masks (bool, or probabilities that are cut at > 0.5): two `(T,)` arrays."""
    pairs = zip(_binary(pred), _binary(truth), strict=True)
    scores = np.array([j_and_f(p, t, bound_th=bound_th) for p, t in pairs]).reshape(-1, 2)
    return scores[:, 0], scores[:, 1]


class CmaAccumulator:
    """Collects clips by class. The result does not depend on the order, nor on which process scored which clip."""

    def __init__(self, class_ids: Iterable[int] = (1,), bound_th: float = CMA_TOLERANCE) -> None:
        self.bound_th = bound_th
        self._frames: dict[int, list[tuple[float, float]]] = {class_id: [] for class_id in class_ids}
        self._voxels: dict[int, tuple[int, int]] = {class_id: (0, 0) for class_id in self._frames}
        if not self._frames:
            raise ValueError("the class list is empty: there is nothing to average over")

    def update(self, pred: NDArray, truth: NDArray, class_id: int = 1) -> None:
        """Add a clip of masks `(T, H, W)`; bool, or probabilities that are cut at > 0.5."""
        if class_id not in self._frames:
            raise ValueError(f"class {class_id} is not in the class list {sorted(self._frames)}")
        pred, truth = _binary(pred), _binary(truth)
        j, f = frame_scores(pred, truth, self.bound_th)
        self._frames[class_id] += zip(j.tolist(), f.tolist(), strict=True)
        common, union = self._voxels[class_id]
        self._voxels[class_id] = (common + int((pred & truth).sum()), union + int((pred | truth).sum()))

    def merge(self, other: CmaAccumulator) -> None:
        """Add everything that `other` holds; it must have the same class list and tolerance."""
        if self._frames.keys() != other._frames.keys() or self.bound_th != other.bound_th:
            raise ValueError("accumulators of other classes or another boundary tolerance cannot be merged")
        for class_id, frames in other._frames.items():
            self._frames[class_id] += frames
            common, union = self._voxels[class_id]
            self._voxels[class_id] = (common + other._voxels[class_id][0], union + other._voxels[class_id][1])

    def compute(self) -> CmaScore:
        """Averages so far. Sums of frames are exact (fsum): any split over processes gives the same bits."""
        totals = {class_id: self._totals(class_id) for class_id in sorted(self._frames)}
        j, f, voxel_iou = mean_ratio(totals.values()).tolist()
        classes = {
            class_id: (*ratio(of_class.part, of_class.whole).tolist(), len(self._frames[class_id]))
            for class_id, of_class in totals.items()
        }
        return CmaScore(j, f, voxel_iou, classes)

    def _totals(self, class_id: int) -> Totals:
        """Sums of J, F and common voxels over frames, frames and voxels of the union."""
        frames, (common, union) = self._frames[class_id], self._voxels[class_id]
        j, f = (math.fsum(pair[k] for pair in frames) for k in range(2))
        # 1: a class without frames counts, as 0
        return Totals(np.array([j, f, common]), np.array([len(frames), len(frames), union]), 1)


def _binary(masks: NDArray) -> NDArray[np.bool_]:
    """Bool masks from probabilities in 0..1 (or 0 and 1)."""
    masks = np.asarray(masks)
    if masks.ndim != 3:
        raise ValueError(f"masks must be (T, H, W), got {masks.shape}")
    return masks if masks.dtype == bool else masks > MASK_THRESHOLD

"""mIoU and FB-IoU of few-shot image segmentation, as HSNet and PFENet count them.

Min et al., "Hypercorrelation Squeeze for Few-Shot Segmentation", ICCV 2021; Tian et al., "Prior Guided Feature
Enrichment Network for Few-Shot Segmentation", TPAMI 2020. Both add the pixel counts of all episodes of a class and
take ONE ratio per class (not a mean over episodes). With exact counters the two agree; what their programs do
otherwise is kept as a named option.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.iou import PairCounts, ratio

Official = Literal["", "hsnet", "pfenet"]
PFENET_EPSILON = 1e-10
Pair = tuple[float, float]


@dataclass(frozen=True)
class FssScore:
    """Numbers of one fold, in 0..1.

    Attributes:
        miou: mean over the class list of the foreground IoU; a class that was never drawn counts as 0.
        fb_iou: mean of background and foreground IoU, counts of all episodes pooled (not averaged over classes).
        mean_accuracy: mean of the shares of true background and true foreground that were found.
        accuracy: share of all pixels that are right.
        pooled: background and foreground IoU of all episodes pooled.
        recall: shares of true background and true foreground that were found.
        classes: background and foreground IoU of each class.
    """

    miou: float
    fb_iou: float
    mean_accuracy: float
    accuracy: float
    pooled: Pair
    recall: Pair
    classes: dict[int, Pair]


class FssAccumulator:
    """Adds the pixel counts of episodes per class. Exact: no order, split or merge changes a bit.

    Args:
        class_ids: all classes of the fold, at least one.
        official: '' for exact numbers. 'hsnet': counters in 32-bit floats, which round above 2^24 pixels and depend
            on the order. 'pfenet': the first episode is counted a second time (its loop runs over one episode more
            than asked for, which with a list of fixed length is the first again), and 1e-10 is added to each union.
    """

    def __init__(self, class_ids: Iterable[int], official: Official = "") -> None:
        self.class_ids, self.official = tuple(class_ids), official
        self._row = {class_id: row for row, class_id in enumerate(self.class_ids)}
        if not self._row:
            raise ValueError("the class list is empty: there is nothing to average over")
        if len(self._row) < len(self.class_ids):
            raise ValueError(f"a class is listed twice: {self.class_ids}")
        if official not in get_args(Official):
            raise ValueError(f"unknown official counters {official!r}: valid are {get_args(Official)}")
        self._sums = np.zeros(
            (len(self._row), len(PairCounts._fields)), np.float32 if official == "hsnet" else np.int64
        )
        self._first: tuple[int, PairCounts] | None = None

    def update(self, counts: PairCounts, class_id: int) -> None:
        """Add one episode (`pair_counts` of its query) of a class of the list."""
        if class_id not in self._row:
            raise ValueError(f"class {class_id} is not in the class list {sorted(self._row)}")
        self._first = self._first or (class_id, counts)
        self._sums[self._row[class_id]] += np.array(counts, self._sums.dtype)

    def merge(self, other: FssAccumulator) -> None:
        """Add everything that `other` holds; it must have the same class list and the same `official`."""
        if self.class_ids != other.class_ids or self.official != other.official:
            raise ValueError("accumulators of other classes or with other counters cannot be merged")
        self._first = self._first or other._first
        self._sums += other._sums

    @property
    def sums(self) -> NDArray:
        """Sums per class in the order of `class_ids`, columns as in `PairCounts`: `(classes, 6)`."""
        sums = self._sums.copy()
        if self.official == "pfenet" and self._first is not None:
            sums[self._row[self._first[0]]] += np.array(self._first[1])
        return sums

    def compute(self) -> FssScore:
        """The numbers so far."""
        sums = self.sums
        pooled = sums.sum(0)
        classes = {
            class_id: (self._ratio(*s[[0, 2]]), self._ratio(*s[[1, 3]]))
            for class_id, s in zip(self.class_ids, sums, strict=True)
        }
        iou = self._ratio(pooled[0], pooled[2]), self._ratio(pooled[1], pooled[3])
        recall = self._ratio(pooled[0], pooled[4]), self._ratio(pooled[1], pooled[5])
        return FssScore(
            miou=sum(fg for _, fg in classes.values()) / len(classes),
            fb_iou=sum(iou) / 2,
            mean_accuracy=sum(recall) / 2,
            accuracy=self._ratio(pooled[0] + pooled[1], pooled[4] + pooled[5]),
            pooled=iou,
            recall=recall,
            classes=classes,
        )

    def _ratio(self, part: float, whole: float) -> float:
        if self.official == "pfenet":
            return float(part / (whole + PFENET_EPSILON))
        return float(ratio(part, whole))


def mean_image_iou(counts: Iterable[PairCounts]) -> float:
    """Mean over query images of the foreground IoU (0 where both masks are empty), as UniRef++ reports FSS-1000.

    Wu et al., "UniRef++: Segment Every Reference Object in Spatial and Temporal Spaces", 2023. This is not the mIoU
    of the field, which is a ratio of sums per class.
    """
    values = [ratio(c.inter_fg, c.union_fg) for c in counts]
    if not values:
        raise ValueError("no image was counted: there is nothing to average")
    return float(np.mean(values))

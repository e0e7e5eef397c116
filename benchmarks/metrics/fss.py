"""mIoU and FB-IoU of few-shot image segmentation, as HSNet and PFENet count them.

Min et al., "Hypercorrelation Squeeze for Few-Shot Segmentation", ICCV 2021; Tian et al., "Prior Guided Feature
Enrichment Network for Few-Shot Segmentation", TPAMI 2020. Both add the pixel counts of all episodes of a class and
take ONE ratio per class (not a mean over episodes). `miou` and `fb_iou` are used by the reports, which resample the
sums of each class, and by `FssAccumulator`, which is for an evaluation loop of your own. With exact counters the two
programs agree; what they do otherwise is kept as a named option.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import ArrayLike, NDArray

from benchmarks.metrics.iou import PairCounts
from benchmarks.metrics.ratios import Floats, Totals, mean_ratio, pooled, ratio

Counters = Literal["exact", "float32_hsnet", "first_twice_pfenet"]
PFENET_EPSILON = 1e-10
Pair = tuple[float, float]


def miou(classes: Iterable[Totals], epsilon: float = 0.0) -> Floats:
    """Mean over the classes of the foreground ratio of sums, in 0..1; classes without an episode are left out.

    Args:
        classes: of each class the intersections and unions of background and foreground `(..., 2)`.
        epsilon: added to each union.

    Returns:
        `(...)`, the leading axes of the sums.
    """
    return mean_ratio(classes, epsilon)[..., 1]


def fb_iou(classes: Iterable[Totals], epsilon: float = 0.0) -> Floats:
    """Mean of the background and foreground ratios of all classes pooled, in 0..1: `(...)`. Arguments as in `miou`."""
    return mean_ratio([pooled(classes)], epsilon).mean(-1)


def image_ious(inter: ArrayLike, union: ArrayLike, empty: float = 0.0) -> Floats:
    """Foreground IoU of each image from its pixel counts `(N,)`: `(N,)`; `empty` where both masks are empty.

    Their plain mean is what UniRef++ reports for FSS-1000 (Wu et al., "UniRef++: Segment Every Reference Object in
    Spatial and Temporal Spaces", 2023). That is not the mIoU of the field, which is a ratio of sums per class.
    """
    return np.where(np.asarray(union) > 0, ratio(inter, union), empty)


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
        counters: `exact`. `float32_hsnet`: counters in 32-bit floats, which round above 2^24 pixels and depend on the
            order. `first_twice_pfenet`: the first episode is counted a second time (PFENet's loop runs over one
            episode more than asked for, which with a list of fixed length is the first again), and 1e-10 is added to
            each union.
    """

    def __init__(self, class_ids: Iterable[int], counters: Counters = "exact") -> None:
        self.class_ids, self.counters = tuple(class_ids), counters
        self._row = {class_id: row for row, class_id in enumerate(self.class_ids)}
        if not self._row:
            raise ValueError("the class list is empty: there is nothing to average over")
        if len(self._row) < len(self.class_ids):
            raise ValueError(f"a class is listed twice: {self.class_ids}")
        if counters not in get_args(Counters):
            raise ValueError(f"unknown counters {counters!r}: valid are {', '.join(get_args(Counters))}")
        self._epsilon = PFENET_EPSILON if counters == "first_twice_pfenet" else 0.0
        kind = np.float32 if counters == "float32_hsnet" else np.int64
        self._sums: NDArray = np.zeros((len(self._row), len(PairCounts._fields)), kind)
        self._first: tuple[int, PairCounts] | None = None

    def update(self, counts: PairCounts, class_id: int) -> None:
        """Add one episode (`pair_counts` of its query) of a class of the list."""
        if class_id not in self._row:
            raise ValueError(f"class {class_id} is not in the class list {sorted(self._row)}")
        self._first = self._first or (class_id, counts)
        self._sums[self._row[class_id]] += np.array(counts, self._sums.dtype)

    def merge(self, other: FssAccumulator) -> None:
        """Add everything that `other` holds; it must have the same class list and the same counters."""
        if self.class_ids != other.class_ids or self.counters != other.counters:
            raise ValueError("accumulators of other classes or with other counters cannot be merged")
        self._first = self._first or other._first
        self._sums += other._sums

    @property
    def sums(self) -> NDArray:
        """Sums per class in the order of `class_ids`, columns as in `PairCounts`: `(classes, 6)`."""
        sums = self._sums.copy()
        if self.counters == "first_twice_pfenet" and self._first is not None:
            sums[self._row[self._first[0]]] += np.array(self._first[1])
        return sums

    def compute(self) -> FssScore:
        """The numbers so far."""
        sums, epsilon = self.sums, self._epsilon
        classes = [Totals(row[:2], row[2:4], 1) for row in sums]  # 1: a class that was never drawn counts, as 0
        everything = sums.sum(0)
        right, truth = everything[:2], everything[4:]
        recall = ratio(right, truth, epsilon)
        return FssScore(
            miou=float(miou(classes, epsilon)),
            fb_iou=float(fb_iou(classes, epsilon)),
            mean_accuracy=float(recall.mean()),
            accuracy=float(ratio(right[0] + right[1], truth[0] + truth[1], epsilon)),
            pooled=_pair(ratio(right, everything[2:4], epsilon)),
            recall=_pair(recall),
            classes={
                class_id: _pair(ratio(of_class.part, of_class.whole, epsilon))
                for class_id, of_class in zip(self.class_ids, classes, strict=True)
            },
        )


def _pair(values: Floats) -> Pair:
    """Background and foreground."""
    return float(values[0]), float(values[1])

"""N-way IoU as PANet counts it: several runs, mean and population standard deviation over them.

Wang et al., "PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment", ICCV 2019. An episode has N ways;
its maps hold 0 for background and 1..N for the ways. A way adds to its class only if it is in the truth of the
episode: where it is not, its false positives are not counted either. The protocols of this package have one way, and
their reports do not use it: it is for N-way episodes of your own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

VOID = 255
RUNS = 5
Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PanetScore:
    """IoU in 0..1 of each run; NaN for a class that no episode of a run shows.

    Attributes:
        labels: the classes, in the order of the columns.
        class_iou: `(runs, classes)`.
        binary_iou: `(runs, 2)` background, and all foreground classes pooled.
    """

    labels: tuple[int, ...]
    class_iou: Floats
    binary_iou: Floats

    @property
    def mean_iou(self) -> Floats:
        """Mean over the classes: `(runs,)`."""
        return self.class_iou.mean(1)

    @property
    def fb_iou(self) -> Floats:
        """Mean of background and foreground: `(runs,)`."""
        return self.binary_iou.mean(1)


def over_runs(values: Floats) -> tuple[Floats, Floats]:
    """Mean and population standard deviation (not that of a sample) over the first axis, as the paper reports."""
    return values.mean(0), values.std(0)


class PanetAccumulator:
    """Adds true positives, false positives and false negatives per run and class; exact integers.

    Args:
        labels: the classes of the fold (not the background), at least one.
    """

    def __init__(self, labels: Iterable[int]) -> None:
        self.labels = tuple(labels)
        self._column = {label: column for column, label in enumerate((0, *self.labels))}
        if not self.labels or len(self._column) <= len(self.labels):
            raise ValueError(f"labels must be different classes other than 0 (background), got {self.labels}")
        self._runs: dict[int, NDArray[np.int64]] = {}

    def update(self, pred: NDArray, truth: NDArray, labels: Sequence[int], run: int) -> None:
        """Add an episode.

        Args:
            pred: `(H, W)` or more images `(Q, H, W)` of the episode, values 0..N.
            truth: the same shape; 255 is void, which is never a false positive.
            labels: the class of way 1..N.
            run: number of the run.
        """
        pred, truth = np.asarray(pred), np.asarray(truth)
        if pred.shape != truth.shape:
            raise ValueError(f"prediction {pred.shape} and truth {truth.shape} must be of one shape")
        if unknown := [label for label in labels if label not in self._column or label == 0]:
            raise ValueError(f"classes {unknown} are not in the class list {self.labels}")
        ways = len(labels) + 1
        table = _confusion(pred, truth, ways)
        sums = self._runs.setdefault(run, np.zeros((3, len(self._column)), np.int64))
        for way, label in enumerate((0, *labels)):
            if table[way].any():
                hit = table[way, way]
                known = table[:ways, way].sum()  # without void
                sums[:, self._column[label]] += hit, known - hit, table[way].sum() - hit

    def merge(self, other: PanetAccumulator) -> None:
        """Add everything that `other` holds; it must have the same labels."""
        if self.labels != other.labels:
            raise ValueError("accumulators of other classes cannot be merged")
        for run, sums in other._runs.items():
            self._runs[run] = self._runs.get(run, np.zeros_like(sums)) + sums

    def compute(self) -> PanetScore:
        """IoU of each run, in the order of the run numbers."""
        if not self._runs:
            raise ValueError("no episode was added: there is nothing to average")
        sums = np.stack([self._runs[run] for run in sorted(self._runs)])  # (runs, 3, 1 + classes)
        binary = np.stack([sums[..., 0], sums[..., 1:].sum(-1)], axis=-1)
        return PanetScore(self.labels, _iou(sums[..., 1:]), _iou(binary))


def _confusion(pred: NDArray, truth: NDArray, ways: int) -> NDArray[np.int64]:
    """Pixels by truth (rows 0..N, then void) and prediction (columns 0..N, then anything else)."""
    if (unexpected := np.unique(truth[(truth >= ways) & (truth != VOID)])).size:
        raise ValueError(f"the truth holds {unexpected.tolist()}, expected 0..{ways - 1} and {VOID} (void)")
    side = ways + 1
    cells = np.minimum(truth, ways).astype(np.int64) * side + np.minimum(pred, ways)
    return np.bincount(cells.ravel(), minlength=side * side).reshape(side, side)


def _iou(sums: NDArray[np.int64]) -> Floats:
    """`(runs, 3, classes)` -> `(runs, classes)`, NaN for 0 / 0."""
    whole = sums.sum(1)
    return np.divide(sums[:, 0], whole, out=np.full(whole.shape, np.nan), where=whole > 0)

"""Mean, recall and decay of one object's per-frame scores, as the DAVIS evaluation reports them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

BINS = 4
RECALL_THRESHOLD = 0.5


@dataclass(frozen=True)
class Statistics:
    """Statistics of one object: `mean` and `recall` in 0..1, `decay` in -1..1; NaN where no frame was scored."""

    mean: float
    recall: float
    decay: float


def sequence_statistics(values: ArrayLike, wrapped_ids: bool = False) -> Statistics:
    """Statistics of `(n,)` per-frame values, n >= 1; NaN values are frames without a score.

    Mean leaves NaN out; recall is the share of ALL frames above 0.5 (a NaN frame fails); decay is the mean of the
    first quarter minus the mean of the last quarter. Neighbouring quarters share one frame.

    Args:
        wrapped_ids: take the frame numbers modulo 256, as the official program does, which holds them in 8 bits: from
            256 frames on its decay is NaN or of other frames than meant. For comparison with its output only.

    Raises:
        ValueError: `values` is empty or not one-dimensional.
    """
    scores = np.asarray(values, dtype=np.float64)
    if scores.ndim != 1 or scores.size == 0:
        raise ValueError(f"values must be (n,) with n >= 1, got shape {scores.shape}")
    return Statistics(
        mean=_nan_mean(scores),
        recall=float(np.mean(scores > RECALL_THRESHOLD)),
        decay=_decay(scores, _bin_limits(scores.size), wrapped_ids),
    )


def _bin_limits(frames: int) -> list[int]:
    """The five frame numbers 0..n-1 that limit the four quarters: round(linspace(1, n, 5)) - 1, halves to even.

    The official epsilon of 1e-10 before rounding makes exact halves round up.
    """
    return [round(float(x) + 1e-10) - 1 for x in np.linspace(1, frames, BINS + 1)]


def _decay(scores: NDArray[np.float64], limits: Sequence[int], wrapped_ids: bool) -> float:
    """Mean of the first bin minus mean of the last; both ends of a bin are inside it."""

    def bin_mean(first: int, last: int) -> float:
        stop = last + 1
        if wrapped_ids:  # 255 + 1 is 0 in 8 bits as well
            first, stop = first % 256, (last % 256 + 1) % 256
        return _nan_mean(scores[first:stop])

    return bin_mean(limits[0], limits[1]) - bin_mean(limits[-2], limits[-1])


def _nan_mean(values: NDArray[np.float64]) -> float:
    """Mean without NaN; NaN if nothing is left."""
    present = values[~np.isnan(values)]
    return float(np.mean(present)) if present.size else math.nan

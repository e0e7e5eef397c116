"""Values per seed, their bootstrap over query videos or images, and the interval over seeds.

The bootstrap resamples query VIDEOS (or IMAGES), each with all its scores: those of its expressions, of the classes
that it shows, of the support draws, and of the folds that ask about it. These scores are not independent, and an
interval that resampled them one by one would be too narrow.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.scores.sums import Sums
from episodes.seeding import rng

CONFIDENCE = 0.95
NAMES_KEPT = 16384  # counts in memory; the protocols and probes of a report ask for the same ones


def per_seed(sums: Sums) -> NDArray[np.float64]:
    """The measures of each seed: `(seeds, measures)`."""
    return sums.averages(np.ones((1, sums.units)))[0]


def replicates(sums: Sums, number: int, random_seed: int) -> NDArray[np.float64]:
    """Bootstrap values, mean over seeds: `(number, measures)`."""
    return mean_present(sums.averages(resampled(sums, number, random_seed)), axis=1)


def resampled(sums: Sums, number: int, random_seed: int) -> NDArray[np.float64]:
    """How often each bootstrap sample holds each unit: `(number, units)`, alike for all units of a video or image.

    A class of which a sample holds nothing keeps its own value there: it has all its units once.
    """
    counts = np.stack([_counts(name, number, random_seed) for name in sums.names], axis=1).astype(np.float64)
    for units in sums.parts[0].strata:
        counts[~counts[:, units].any(1), units] = 1.0
    return counts


@lru_cache(maxsize=NAMES_KEPT)
def _counts(name: str, number: int, random_seed: int) -> NDArray[np.uint8]:
    """How often each of `number` bootstrap samples holds a video or image: `(number,)`.

    Poisson counts of mean 1 (Hanley and MacGibbon, 2006) do not depend on what else is resampled: a video is drawn
    alike in every class, fold, probe and run, so that what these have in common counts in their means and differences.
    """
    return rng("bootstrap", random_seed, name).poisson(1.0, number).astype(np.uint8)


def mean_present(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean over the entries that are not NaN; NaN where there is none."""
    present = ~np.isnan(values)
    count = present.sum(axis)
    return np.where(present, values, 0.0).sum(axis) / np.where(count > 0, count, np.nan)


def percentile_interval(values: NDArray[np.float64]) -> tuple[float, float]:
    """The middle 95 % of bootstrap values `(number,)`."""
    tail = 50 * (1 - CONFIDENCE)
    low, high = np.nanpercentile(values, [tail, 100 - tail])
    return float(low), float(high)


def t_interval(values: Sequence[float]) -> tuple[float, float] | None:
    """95 % interval of the mean of per-seed values (Student's t); None for fewer than two seeds."""
    if len(values) < 2:
        return None
    mean, error = float(np.mean(values)), float(stats.sem(values))
    half = float(stats.t.ppf((1 + CONFIDENCE) / 2, len(values) - 1)) * error
    return mean - half, mean + half

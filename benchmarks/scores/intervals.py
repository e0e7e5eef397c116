"""Values per seed, their bootstrap over query videos or images, and the interval over seeds.

The bootstrap resamples query VIDEOS (or IMAGES): with one support draw an episode is one query video with its
expressions; with several draws the scores of one video are not independent, so the video stays the unit and every
draw of it moves along.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.scores.sums import Sums

CONFIDENCE = 0.95


def per_seed(sums: Sums) -> NDArray[np.float64]:
    """The measures of each seed: `(seeds, measures)`."""
    return sums.averages(np.ones((1, sums.units)))[0]


def replicates(sums: Sums, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bootstrap values, mean over seeds: `(number, measures)`. Units are resampled within their stratum."""
    counts = np.zeros((number, sums.units))
    for units in sums.strata:
        members = units.stop - units.start
        counts[:, units] = rng.multinomial(members, np.full(members, 1 / members), size=number)
    return mean_present(sums.averages(counts), axis=1)


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

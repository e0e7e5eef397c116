"""Reducers of query scores to J and F of a fold, their bootstrap over query videos, and the interval over seeds.

The bootstrap resamples query VIDEOS: with one support draw an episode is one query video with its expressions; with
several draws the scores of one video are not independent, so the video stays the unit and every draw of it moves
along.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from benchmarks.protocols import Protocol
from benchmarks.scores import QueryScore

CONFIDENCE = 0.95


@dataclass(frozen=True)
class Sums:
    """Weighted sums of a fold's scores, from which every average follows. A unit is a query video of a class.

    Attributes:
        total: `(seeds, units, 2)` sums of weight * (J, F).
        weight: `(seeds, units)` sums of weights.
        strata: `(strata, units)` membership, 0 or 1: ratios are taken within a stratum, then averaged. One stratum
            of all units pools them; one per class averages over classes.
    """

    total: NDArray[np.float64]
    weight: NDArray[np.float64]
    strata: NDArray[np.float64]

    @property
    def units(self) -> int:
        """Number of query videos."""
        return self.strata.shape[1]

    def averages(self, counts: NDArray[np.float64]) -> NDArray[np.float64]:
        """J and F per seed when unit u is counted `counts[n, u]` times: `(n, units)` -> `(n, seeds, 2)`.

        Strata, and seeds, that no counted unit belongs to are left out (NaN for a seed without any).
        """
        total = np.tensordot(counts, self.strata[:, None, :, None] * self.total, axes=(1, 2))  # (n, strata, seeds, 2)
        weight = np.tensordot(counts, self.strata[:, None] * self.weight, axes=(1, 2))[..., None]
        return _mean_present(total / np.where(weight > 0, weight, np.nan), axis=1)


def _mean_present(values: NDArray[np.float64], axis: int) -> NDArray[np.float64]:
    """Mean over the entries that are not NaN; NaN where there is none."""
    present = ~np.isnan(values)
    count = present.sum(axis)
    return np.where(present, values, 0.0).sum(axis) / np.where(count > 0, count, np.nan)


def collect(scores: Sequence[QueryScore], protocol: Protocol) -> Sums:
    """Sums of the scores of one fold and probe (at least one score) under `protocol`."""
    seeds = sorted({score.seed for score in scores})
    units = sorted({(score.class_id, score.video) for score in scores})
    seed_at, unit_at = ({key: i for i, key in enumerate(keys)} for keys in (seeds, units))
    total, weight = np.zeros((len(seeds), len(units), 2)), np.zeros((len(seeds), len(units)))
    j_name, f_name = protocol.scores
    for score in scores:
        at = seed_at[score.seed], unit_at[score.class_id, score.video]
        share = 1.0 if protocol.reducer == "queries" else float(score.frames)
        total[at] += share * np.array([getattr(score, j_name), getattr(score, f_name)])
        weight[at] += share
    unit_class = np.array([class_id for class_id, _ in units])
    strata = unit_class == np.unique(unit_class)[:, None] if protocol.reducer == "classes" else np.ones((1, len(units)))
    return Sums(total, weight, strata.astype(np.float64))


def per_seed(sums: Sums) -> NDArray[np.float64]:
    """J and F of each seed: `(seeds, 2)`."""
    return sums.averages(np.ones((1, sums.units)))[0]


def replicates(sums: Sums, number: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bootstrap values of (J, F), mean over seeds: `(number, 2)`. Units are resampled within their stratum."""
    counts = np.zeros((number, sums.units))
    for stratum in sums.strata:
        members = np.flatnonzero(stratum)
        counts[:, members] = rng.multinomial(len(members), np.full(len(members), 1 / len(members)), size=number)
    return _mean_present(sums.averages(counts), axis=1)


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

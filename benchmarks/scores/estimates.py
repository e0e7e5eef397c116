"""From scores to the numbers of each fold and of their mean, with intervals, under every protocol they serve."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocols import BaseProtocol, protocols_served
from benchmarks.scores.intervals import per_seed, percentile_interval, replicates, t_interval
from benchmarks.scores.scores import Score


@dataclass(frozen=True)
class Estimate:
    """A number (mean over seeds, in 0..1) with its 95 % intervals; an interval is None where it has no meaning."""

    value: float
    bootstrap: tuple[float, float] | None
    over_seeds: tuple[float, float] | None
    per_seed: tuple[float, ...]


@dataclass(frozen=True)
class FoldReport:
    """One fold (or, with group None, the mean over folds) of one probe.

    `estimates[protocol][measure]` for every protocol that the scores serve and every measure of it. For the mean over
    folds the counts are sums. `units` is the number of query videos (or images) of a class, `frames` that of scored
    frames (an image is one).
    """

    group: int | None
    probe: str
    seeds: tuple[int, ...]
    classes: int
    units: int
    queries: int
    frames: int
    estimates: dict[str, dict[str, Estimate]]


@dataclass(frozen=True)
class Numbers:
    """All measures of a fold.

    Attributes:
        measures: their names.
        values: `(seeds, measures)`.
        draws: of the bootstrap, `(bootstrap, measures)`, None where there are none.
    """

    measures: tuple[str, ...]
    values: NDArray[np.float64]
    draws: NDArray[np.float64] | None

    def estimates(self) -> dict[str, Estimate]:
        """One `Estimate` per measure."""
        result = {}
        for k, measure in enumerate(self.measures):
            values = tuple(float(v) for v in self.values[:, k])
            interval = None if self.draws is None else percentile_interval(self.draws[:, k])
            result[measure] = Estimate(float(np.mean(values)), interval, t_interval(values), values)
        return result


def fold_numbers(scores: Sequence[Score], protocol: BaseProtocol, bootstrap: int, random_seed: int) -> Numbers:
    """The numbers of one fold and probe. The bootstrap draws depend on the names of its videos or images alone."""
    sums = protocol.sums(scores)
    values = per_seed(sums)
    draws = replicates(sums, bootstrap, random_seed) if bootstrap and sums.can_be_resampled else None
    return Numbers(protocol.columns, values, draws)


def mean_numbers(folds: Sequence[Numbers], same_seeds: bool) -> Numbers:
    """Mean over folds, seed by seed (of the seed means if the folds do not have the same seeds)."""
    values = [fold.values if same_seeds else fold.values.mean(0, keepdims=True) for fold in folds]
    draws = [fold.draws for fold in folds if fold.draws is not None]
    mean_draws = np.mean(draws, axis=0) if len(draws) == len(folds) else None
    return Numbers(folds[0].measures, np.mean(values, axis=0), mean_draws)


def build_folds(
    scores: Sequence[Score], protocol: BaseProtocol, probe: str, bootstrap: int, random_seed: int
) -> list[FoldReport]:
    """One report per group that `probe` was scored on, then the mean over these groups (group None).

    `protocol` is the one that the scores were made for; they are also averaged by the others that they serve.
    """
    cells: dict[int, list[Score]] = {}
    for score in scores:
        if score.probe == probe:
            cells.setdefault(score.group, []).append(score)
    numbers = {
        p.name: {group: fold_numbers(cells[group], p, bootstrap, random_seed) for group in sorted(cells)}
        for p in protocols_served(protocol)
    }
    folds = [
        _fold_report(cells[group], group, {name: of_group[group] for name, of_group in numbers.items()})
        for group in sorted(cells)
    ]
    same_seeds = len({fold.seeds for fold in folds}) == 1
    means = {name: mean_numbers(list(of_group.values()), same_seeds) for name, of_group in numbers.items()}
    everything = [score for group in sorted(cells) for score in cells[group]]
    return [*folds, _fold_report(everything, None, means)]


def _fold_report(scores: Sequence[Score], group: int | None, numbers: dict[str, Numbers]) -> FoldReport:
    return FoldReport(
        group=group,
        probe=scores[0].probe,
        seeds=tuple(sorted({score.seed for score in scores})),
        classes=len({(score.group, score.class_id) for score in scores}),
        units=len({(score.group, score.class_id, score.unit) for score in scores}),
        queries=len(scores),
        frames=sum(score.frames for score in scores),
        estimates={name: value.estimates() for name, value in numbers.items()},
    )

"""Paired comparison of two runs on the same episodes.

Both runs are resampled together (the same query videos, or images, in each bootstrap sample), so that what makes one
hard for both cancels, and the interval is about the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocols import BaseProtocol, default_protocol, get_protocol
from benchmarks.scores.estimates import fold_numbers, mean_numbers
from benchmarks.scores.intervals import percentile_interval
from benchmarks.scores.scores import Score, read_protocol, read_scores
from benchmarks.tables import group_name, percent, text_table


@dataclass(frozen=True)
class Difference:
    """B minus A of one measure of one group (None: mean over groups), in -1..1, with its 95 % interval.

    `p` is the two-sided bootstrap p-value of 'no difference' (twice the smaller share of samples on one side of 0).
    Interval and p are None with a single query video or image.
    """

    group: int | None
    measure: str
    a: float
    b: float
    interval: tuple[float, float] | None
    p: float | None

    @property
    def value(self) -> float:
        """The difference B - A."""
        return self.b - self.a


@dataclass(frozen=True)
class Comparison:
    """Differences per group and over all, the number of queries that both runs have, and of those left out."""

    differences: tuple[Difference, ...]
    shared: int
    only_a: int
    only_b: int

    def table(self) -> str:
        """Plain text: values of both runs and the difference, in percent."""
        header = ["group", "measure", "A", "B", "B - A", "95 %", "p"]
        rows = []
        for d in self.differences:
            values = [percent(d.a), percent(d.b), f"{100 * d.value:+.1f}", percent(d.interval)]
            rows.append([group_name(d.group), d.measure, *values, "-" if d.p is None else f"{d.p:.3f}"])
        left_out = f"; left out: {self.only_a} only in A, {self.only_b} only in B" if self.only_a or self.only_b else ""
        return f"{self.shared} queries in both runs{left_out}\n" + text_table(header, rows)


def compare(
    a: Sequence[Score],
    b: Sequence[Score],
    protocol: str = "",
    probe: str = "",
    bootstrap: int = 2000,
    random_seed: int = 0,
) -> Comparison:
    """Compare two runs query by query, on the queries (same seed, group, episode, class, ...) of both.

    Args:
        protocol: of both runs; '' is `cma` or `hsnet`, by the kind of the scores.

    Raises:
        ValueError: unknown protocol, one of another kind of scores, or the runs have no query in common.
    """
    of_a, of_b = ({score.key: score for score in scores if score.probe == probe} for scores in (a, b))
    keys = sorted(of_a.keys() & of_b.keys())
    if not keys:
        raise ValueError(
            f"the two runs share no query with probe {probe!r} ({len(of_a)} and {len(of_b)} queries): test both with "
            "the same manifest, or the same benchmark, groups, shots and seeds"
        )
    pairs = [(of_a[key], of_b[key]) for key in keys]
    definition = get_protocol(protocol or default_protocol(a))
    definition.check([*a, *b])
    differences = _differences(pairs, definition, bootstrap, random_seed)
    return Comparison(tuple(differences), len(keys), len(of_a) - len(keys), len(of_b) - len(keys))


def compare_reports(
    a: Path | str, b: Path | str, protocol: str = "", probe: str = "", bootstrap: int = 2000, random_seed: int = 0
) -> Comparison:
    """Compare the runs of two files: JSON reports, or CSV files of scores.

    Args:
        protocol: of both runs; '' is the one that the reports name, else that of `compare`.

    Raises:
        ValueError: a file is missing or no report, the reports name two protocols, a run that was counted by another
            protocol, and what `compare` raises.
    """
    of_a, of_b = read_scores(a), read_scores(b)
    protocol = protocol or _common_protocol((a, b))
    if protocol:
        _refuse_other((a, b), protocol)
    return compare(of_a, of_b, protocol, probe, bootstrap, random_seed)


def _differences(
    pairs: Sequence[tuple[Score, Score]], protocol: BaseProtocol, bootstrap: int, random_seed: int
) -> list[Difference]:
    """Each group, then the mean. Both runs get the same bootstrap samples: they depend on the videos alone."""
    groups = sorted({score.group for score, _ in pairs})
    sides = []
    for side in (0, 1):
        of_group = [[pair[side] for pair in pairs if pair[side].group == group] for group in groups]
        folds = [fold_numbers(scores, protocol, bootstrap, random_seed) for scores in of_group]
        same_seeds = len({frozenset(score.seed for score in scores) for scores in of_group}) == 1
        sides.append([*folds, mean_numbers(folds, same_seeds)])
    result = []
    for group, a, b in zip([*groups, None], *sides, strict=True):
        draws = None if a.draws is None or b.draws is None else b.draws - a.draws
        for k, measure in enumerate(protocol.measures):
            interval = None if draws is None else percentile_interval(draws[:, k])
            p = None if draws is None else _p_value(draws[:, k])
            result.append(Difference(group, measure, a.values[:, k].mean(), b.values[:, k].mean(), interval, p))
    return result


def _p_value(draws: NDArray[np.float64]) -> float:
    """Two-sided; the observed sample counts as one more draw, so that it is never 0. NaN: a sample without a score."""
    smaller = min(np.count_nonzero(draws <= 0), np.count_nonzero(draws >= 0))
    return min(1.0, 2 * (smaller + 1) / (np.count_nonzero(~np.isnan(draws)) + 1))


def _common_protocol(files: Sequence[Path | str]) -> str:
    """The protocol that the reports name, '' if none does."""
    named = {name for name in map(known_protocol, files) if name}
    if len(named) > 1:
        raise ValueError(f"the reports are of the protocols {' and '.join(sorted(named))}: say which with protocol=...")
    return named.pop() if named else ""


def known_protocol(file: Path | str) -> str | None:
    """The protocol that a report names, if any.

    Raises ValueError, naming the file, for one that is not known here, or whose rules were others then.
    """
    named, digest = read_protocol(file)
    if not named:
        return named
    try:
        protocol = get_protocol(named)
    except ValueError as error:
        raise ValueError(f"{file} is of an {error}") from error
    if digest not in (None, protocol.digest):
        raise ValueError(
            f"{file} was counted by other rules of protocol {named} (digest {digest}, here {protocol.digest} for "
            f"{protocol.versioned}): test that run again"
        )
    return named


def _refuse_other(files: Sequence[Path | str], protocol: str) -> None:
    """Raises ValueError for a report whose scores were not made for `protocol` (pixels of images are counted once)."""
    for file in files:
        named = known_protocol(file)
        if named and not get_protocol(named).serves(get_protocol(protocol)):
            raise ValueError(
                f"the scores of {file} were counted by protocol {named} and cannot give the numbers of {protocol}: "
                f"test that run again with protocol={protocol}"
            )

"""Paired comparison of runs on the same episodes.

Both runs are resampled together (the same query videos, or images, in each bootstrap sample), so that what makes one
hard for both cancels, and the interval is about the difference.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from string import ascii_uppercase
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.protocols import BaseProtocol, default_protocol, get_protocol
from benchmarks.scores.estimates import fold_numbers, mean_numbers
from benchmarks.scores.intervals import percentile_interval
from benchmarks.scores.scores import Score, read_protocol, read_record, read_scores
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

    @property
    def sign(self) -> int | None:
        """1: B is better, -1: A is, 0: no difference is seen; None without an interval."""
        if self.interval is None:
            return None
        return int(self.interval[0] > 0) - int(self.interval[1] < 0)

    def verdict(self, names: tuple[str, str] = ("A", "B")) -> str:
        """Which of the two is better, in words: where the interval does not hold 0."""
        if self.interval is None:
            return "no verdict (one query alone does not say what is chance)"
        low, high = (100 * end for end in self.interval)
        if self.sign == 1:
            return f"{names[1]} better by {100 * self.value:.1f} (95 % {low:.1f} to {high:.1f})"
        if self.sign == -1:
            return f"{names[0]} better by {-100 * self.value:.1f} (95 % {-high:.1f} to {-low:.1f})"
        return f"no difference seen ({names[1]} - {names[0]}: {100 * self.value:+.1f}, 95 % {low:.1f} to {high:.1f})"


@dataclass(frozen=True)
class Comparison:
    """Differences per group and over all, the number of queries that both runs have, and of those left out.

    `names` are those of the two runs in tables and verdicts.
    """

    differences: tuple[Difference, ...]
    shared: int
    only_a: int
    only_b: int
    names: tuple[str, str] = ("A", "B")

    def table(self) -> str:
        """Plain text: values of both runs and the difference, in percent, and verdicts on the mean over groups."""
        a, b = self.names
        header = ["group", "measure", a, b, f"{b} - {a}", "95 %", "p"]
        rows = []
        for d in self.differences:
            values = [percent(d.a), percent(d.b), f"{100 * d.value:+.1f}", percent(d.interval)]
            rows.append([group_name(d.group), d.measure, *values, "-" if d.p is None else f"{d.p:.3f}"])
        left_out = f"; left out: {self.only_a} only in {a}, {self.only_b} only in {b}"
        title = f"{self.shared} queries in both runs{left_out if self.only_a or self.only_b else ''}"
        return "\n".join([title, text_table(header, rows), *self.verdicts()])

    def verdicts(self) -> list[str]:
        """One line for each measure of the mean over groups, and for each group whose own verdict is another one."""
        lines = []
        for mean in (d for d in self.differences if d.group is None):
            lines.append(f"{mean.measure}: {mean.verdict(self.names)}")
            own = [d for d in self.differences if d.group is not None and d.measure == mean.measure]
            lines += [f"  group {d.group}: {d.verdict(self.names)}" for d in own if d.sign != mean.sign]
        return lines


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
    a: Path | str,
    b: Path | str,
    protocol: str = "",
    probe: str = "",
    bootstrap: int = 2000,
    random_seed: int = 0,
    same_episodes: bool = True,
) -> Comparison:
    """Compare the runs of two files: JSON reports, or CSV files of scores.

    Args:
        protocol: of both runs; '' is the one that the reports name, else that of `compare`.
        same_episodes: refuse runs of other episodes; else the queries that both have are compared, whatever their
            supports.

    Raises:
        ValueError: a file is missing or no report, the reports name two protocols, a run that was counted by another
            protocol, other episodes, and what `compare` raises.
    """
    of_a, of_b = read_scores(a), read_scores(b)
    protocol = protocol or _common_protocol((a, b))
    if protocol:
        _refuse_other((a, b), protocol)
    found = compare(of_a, of_b, protocol, probe, bootstrap, random_seed)
    if same_episodes:
        _refuse_other_episodes(a, b, found)
    return found


def compare_with_first(files: Sequence[Path | str], **options: Any) -> list[Comparison]:
    """Each of the other runs with the first one, which is A; options as of `compare_reports`.

    Raises:
        ValueError: fewer than two files, more than letters, and what `compare_reports` raises.
    """
    if not 2 <= len(files) <= len(ascii_uppercase):
        raise ValueError(
            f"2 to {len(ascii_uppercase)} reports are compared, got {len(files)}: python -m fewshot.compare A B"
        )
    first, *others = files
    return [
        replace(compare_reports(first, other, **options), names=("A", letter))
        for letter, other in zip(ascii_uppercase[1:], others, strict=False)
    ]


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


def _refuse_other_episodes(a: Path | str, b: Path | str, found: Comparison) -> None:
    """Raise ValueError unless both asked the same queries, with the same supports where the reports record them."""
    advice = "test both with the same manifest, or give episodes=shared to compare the queries that both have"
    if found.only_a or found.only_b:
        counts = f"{found.only_a} queries are in {a} alone, {found.only_b} in {b} alone"
        raise ValueError(f"the runs are of other episodes: {counts}; {advice}")
    of_a, of_b = read_record(a), read_record(b)
    if of_a.get("data", "") != of_b.get("data", "") and of_a and of_b:
        raise ValueError(f"{a} and {b} were tested on other versions of the data; {advice}")
    groups = of_a.get("groups", {}), of_b.get("groups", {})
    for group in sorted(groups[0].keys() & groups[1].keys()):
        if groups[0][group].get("episodes") != groups[1][group].get("episodes"):
            raise ValueError(
                f"{a} and {b} are of other episodes in group {group}: the same queries with other supports, words or "
                f"frames; {advice}"
            )


def _refuse_other(files: Sequence[Path | str], protocol: str) -> None:
    """Raises ValueError for a report whose scores were not made for `protocol` (pixels of images are counted once)."""
    for file in files:
        named = known_protocol(file)
        if named and not get_protocol(named).serves(get_protocol(protocol)):
            raise ValueError(
                f"the scores of {file} were counted by protocol {named} and cannot give the numbers of {protocol}: "
                f"test that run again with protocol={protocol}"
            )

"""J and F of the queries that have a twin, beside those of the others.

Supports show a class; where a video holds two objects of it, only the words tell which of them is meant.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from benchmarks.protocols import BaseProtocol
from benchmarks.scores.estimates import fold_numbers, mean_numbers
from benchmarks.scores.scores import Score
from benchmarks.tables import group_name, percent, text_table

A_TWIN = "a twin: another object of the same class in the video, by its annotations"


@dataclass(frozen=True)
class TwinPart:
    """The queries of a fold and probe that have a twin, or (`twin` False) that have none.

    `group` None is the mean over the folds that have such queries; `queries` is then their sum. `values` are the
    measures under the headline protocol, in 0..1, mean over seeds.
    """

    group: int | None
    probe: str
    twin: bool
    queries: int
    values: dict[str, float]


def twin_parts(scores: Sequence[Score], protocol: BaseProtocol, probe: str) -> list[TwinPart]:
    """Both parts of each fold that `probe` was scored on, then of their mean; of no query in a part, nothing."""
    parts = []
    for twin in (True, False):
        chosen = [s for s in scores if s.probe == probe and getattr(s, "twin", False) == twin]
        folds = {g: [s for s in chosen if s.group == g] for g in sorted({s.group for s in chosen})}
        numbers = {group: fold_numbers(of_group, protocol, 0, 0) for group, of_group in folds.items()}
        means = {group: n.values.mean(0) for group, n in numbers.items()}
        parts += [_part(group, probe, twin, len(folds[group]), protocol, mean) for group, mean in means.items()]
        if folds:
            same_seeds = len({frozenset(s.seed for s in of_group) for of_group in folds.values()}) == 1
            mean = mean_numbers(list(numbers.values()), same_seeds).values.mean(0)
            parts.append(_part(None, probe, twin, len(chosen), protocol, mean))
    return parts


def _part(
    group: int | None, probe: str, twin: bool, queries: int, protocol: BaseProtocol, values: Sequence[float]
) -> TwinPart:
    return TwinPart(group, probe, twin, queries, dict(zip(protocol.columns, map(float, values), strict=True)))


def twin_line(parts: Sequence[TwinPart], queries: int, measures: Sequence[str]) -> str:
    """The line of a card: how many of the queries have a twin, and the numbers with and without."""
    main = {part.twin: part for part in parts if (part.group, part.probe) == (None, "")}
    told = [
        f"{kind} {', '.join(f'{measure} {percent(main[twin].values[measure])}' for measure in measures)}"
        for twin, kind in ((True, "with"), (False, "without"))
        if twin in main
    ]
    number = main[True].queries if True in main else 0
    return f"{number} of {queries} queries have {A_TWIN}; {'; '.join(told)}"


def twin_table(parts: Sequence[TwinPart], measures: Sequence[str]) -> str:
    """The folds and their mean, then the mean of each probe: queries with a twin beside those without."""
    found = {(part.group, part.probe, part.twin): part for part in parts}
    header = ["group", *(cell for kind in ("with", "without") for cell in (f"{kind} twin", *measures))]
    folds = [(group, "") for group in sorted({part.group for part in parts if part.group is not None})]
    rows = []
    for group, probe in (*folds, *((None, probe) for probe in dict.fromkeys(part.probe for part in parts))):
        cells = [group_name(group) + f" {probe}".rstrip()]
        for twin in (True, False):
            part = found.get((group, probe, twin))
            values = [] if part is None else [str(part.queries), *(percent(part.values[m]) for m in measures)]
            cells += values or ["-"] * (1 + len(measures))
        rows.append(cells)
    return f"queries with and without {A_TWIN}, in percent\n{text_table(header, rows)}"

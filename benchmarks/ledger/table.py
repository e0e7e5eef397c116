"""`paper says` and `measured here` side by side, over folds, seeds and shots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any, TypeVar

from benchmarks.ledger.rows import NOT_KNOWN, QUESTIONS, Claimed, Measured, Row
from benchmarks.overview import FORMS, as_set, cell, labels
from benchmarks.protocols import get_protocol
from benchmarks.tables import percent
from episodes.catalogue import folds_of

COLUMNS = (
    *("benchmark", "shots", "measure", "system"),
    *("paper says", "its folds", "measured here", "folds here", "seeds", "protocol"),
    *("name given", "classes seen", "queries seen", "source"),
)
ASKED = dict(zip(("name given", "classes seen", "queries seen"), QUESTIONS, strict=True))
OWN = "its own"  # protocol of a paper
Kind = TypeVar("Kind", Claimed, Measured)
Cells = dict[str, str]


def ledger_table(rows: Sequence[Row], form: str = "text", benchmarks: Collection[str] = (), measure: str = "") -> str:
    """The table, numbers in percent.

    Args:
        rows: of the ledger.
        form: `text`, `markdown`, `latex` or `csv`.
        benchmarks: those that are shown; none: all.
        measure: that is shown; '': the first of each protocol, and whatever papers say.

    Raises:
        ValueError: there is no such row.
    """
    shown = [row for row in rows if not benchmarks or row.benchmark in benchmarks]
    claimed = [row for row in shown if isinstance(row, Claimed) and (not measure or row.measure == measure)]
    measured = [row for row in shown if isinstance(row, Measured) and (not measure or measure in row.measures)]
    if not claimed and not measured:
        raise ValueError("the ledger has no such row: give another benchmark=, or measure=")
    says = _grouped(claimed, lambda row: (row.benchmark, row.shots, row.measure, row.system, row.variant))
    here = _grouped(
        measured, lambda row: (row.benchmark, row.shots, measure or _headline(row), row.system, row.alike[:-1])
    )
    lines = sorted([*_joined(says, here), *_alone(says, here)], key=_order)
    return FORMS[form](COLUMNS, [[cells.get(name, "-") for name in COLUMNS] for cells in lines])


def _order(cells: Cells) -> tuple[str, int, str, str]:
    return cells["benchmark"], int(cells["shots"]), cells["measure"], cells["system"].lower()


def _joined(says: Mapping[Any, list[Claimed]], here: Mapping[Any, list[Measured]]) -> Iterable[Cells]:
    """A line for each set-up that was measured, with what a paper says of that system without a variant, if any."""
    names = labels({key: (key[3], _settings(rows[0], here)) for key, rows in here.items()})
    for key, rows in here.items():
        benchmark, shots, measure, system = key[:4]
        paper = says.get((benchmark, shots, measure, system, ""), [])
        bare = ", untrained" if rows[0].training == "none" and "training=" not in names[key] else ""
        place = {"benchmark": benchmark, "shots": str(shots), "measure": measure, "system": names[key] + bare}
        says_it = _of_paper(paper[0]) if paper else {}
        cells = place | says_it | _of_measured(rows, measure)
        if paper and says_it["protocol"] != cells["protocol"]:
            cells["protocol"] += f" (paper: {says_it['protocol']})"
        yield cells


def _alone(says: Mapping[Any, list[Claimed]], here: Iterable[Any]) -> Iterable[Cells]:
    """A line for each number of a paper that nobody measured here."""
    taken = {key[:4] for key in here}
    for key, rows in says.items():
        benchmark, shots, measure, system, variant = key
        if not variant and key[:4] in taken:
            continue
        name = f"{system} ({variant})" if variant else system
        for row in rows:
            place = {"benchmark": benchmark, "shots": str(shots), "measure": measure, "system": name}
            known = {name: row.leak.get(question, NOT_KNOWN) for name, question in ASKED.items()}
            yield place | _of_paper(row) | known


def _of_paper(row: Claimed) -> Cells:
    folds = ", ".join(f"{fold}: {percent(value)}" for fold, value in sorted(row.folds.items()))
    value, source = percent(row.value), f"{row.source} ({row.seen})"
    return {"paper says": value, "its folds": folds or "-", "protocol": row.protocol or OWN, "source": source}


def _of_measured(rows: Sequence[Measured], measure: str) -> Cells:
    """Mean and deviation over the seeds of each fold, and of their mean where all folds have the same seeds."""
    folds: dict[int, dict[int, float]] = {}
    for row in sorted(rows, key=lambda row: row.date):
        folds.setdefault(row.group, {})[row.seed] = row.measures[measure]["value"]
    told = ", ".join(f"{group}: {cell(list(found.values()))}" for group, found in sorted(folds.items()))
    seeds = {tuple(sorted(found)) for found in folds.values()}
    overall = "-"
    if len(seeds) == 1 and len(folds) == len(folds_of(rows[0].benchmark).groups or folds):
        overall = cell([mean(found[seed] for found in folds.values()) for seed in min(seeds)])
    count = sorted({len(each) for each in seeds})
    answers = {name: _answers(rows, question) for name, question in ASKED.items()}
    return {
        "measured here": overall,
        "folds here": told,
        "seeds": str(count[0]) if len(count) == 1 else f"{count[0]} to {count[-1]}",
        "protocol": rows[0].protocol,
        **answers,
    }


def _answers(rows: Iterable[Measured], question: str) -> str:
    """The answer of all rows to a question of the leak line, or both where they differ."""
    return " / ".join(dict.fromkeys(row.leak.get(question, {}).get("answer", NOT_KNOWN) for row in rows))


def _headline(row: Measured) -> str:
    """The first measure of the row's protocol."""
    return get_protocol(row.protocol.partition("@")[0]).measures[0]


def _settings(row: Measured, here: Mapping[Any, list[Measured]]) -> dict[str, Any]:
    """What tells the rows of a system apart: draws, episodes, the data where there are several, and settings."""
    of_benchmark = {other.data for rows in here.values() for other in rows if other.benchmark == row.benchmark}
    data = {"data": row.data[:8]} if len(of_benchmark) > 1 else {}
    settings = as_set({"adaptation": row.adaptation, "settings": row.settings})
    return {"training": row.training, "draws": row.draws, "episodes": row.manifest, **data, **settings}


def _grouped(rows: Iterable[Kind], key: Callable[[Kind], Hashable]) -> dict[Any, list[Kind]]:
    found: dict[Any, list[Kind]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found

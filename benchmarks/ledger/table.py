"""`paper says` and `measured here` side by side, over folds, seeds and shots."""

from __future__ import annotations

from collections.abc import Callable, Collection, Hashable, Iterable, Mapping, Sequence
from statistics import mean
from typing import Any, TypeVar

from benchmarks.ledger.rows import NOT_KNOWN, NOT_TOLD, QUESTIONS, AnyMeasured, Claimed, Measured, Result, Row
from benchmarks.overview import FORMS, Told, as_set, cell, labels
from benchmarks.protocols import get_protocol
from benchmarks.tables import percent
from episodes.catalogue import folds_of

COLUMNS = (
    *("benchmark", "shots", "measure", "system"),
    *("paper says", "its folds", "measured here", "folds here", "seeds", "protocol"),
    *("trained", "name given", "classes seen", "queries seen", "source"),
)
ASKED = dict(zip(("name given", "classes seen", "queries seen"), QUESTIONS, strict=True))
OWN = "its own"  # protocol of a paper
NO_SHOTS = "-"  # of a task without supports
Kind = TypeVar("Kind", Claimed, AnyMeasured)
Cells = dict[str, str]


def ledger_table(rows: Sequence[Row], form: str = "text", benchmarks: Collection[str] = (), measure: str = "") -> str:
    """The table, numbers in percent.

    Args:
        rows: of the ledger.
        form: `text`, `markdown`, `latex` or `csv`.
        benchmarks: those that are shown, of a task also `<benchmark>-<split>`; none: all.
        measure: that is shown; '': the first of each protocol, and whatever papers say.

    Raises:
        ValueError: there is no such row.
    """
    shown = [row for row in rows if not benchmarks or {row.benchmark, _asked(row)[0]} & set(benchmarks)]
    claimed = [row for row in shown if isinstance(row, Claimed) and (not measure or row.measure == measure)]
    measured: list[AnyMeasured] = [
        row for row in shown if isinstance(row, Result) and (not measure or measure in row.measures)
    ]
    if not claimed and not measured:
        raise ValueError("the ledger has no such row: give another benchmark=, or measure=")
    says = _grouped(claimed, lambda row: (row.benchmark, row.shots, row.measure, row.system, row.variant))
    here = _apart(
        _grouped(measured, lambda row: (*_asked(row), measure or _headline(row), row.system, row.of_one_line))
    )
    lines = sorted([*_joined(says, here), *_alone(says, here)], key=_order)
    return FORMS[form](COLUMNS, [[cells.get(name, "-") for name in COLUMNS] for cells in lines])


def _apart(here: Mapping[Any, list[AnyMeasured]]) -> dict[Any, list[AnyMeasured]]:
    """The lines, those in which two rows have the same fold and seeds cut by hashes of their weights and episodes."""
    found: dict[Any, list[AnyMeasured]] = {}
    for key, rows in here.items():
        folds = [row for row in rows if isinstance(row, Measured)]
        if len({(row.group, row.repetition) for row in folds}) == len(folds):
            found[key] = rows
            continue
        for row in folds:
            found.setdefault((*key, row.weights[:8], row.episodes[:8]), []).append(row)
    return found


def _order(cells: Cells) -> tuple[str, int, str, str]:
    shots = cells["shots"]
    return cells["benchmark"], 0 if shots == NO_SHOTS else int(shots), cells["measure"], cells["system"].lower()


def _asked(row: Row) -> tuple[str, int]:
    """Benchmark and shots; of a task its data set with the split, and 0 shots."""
    return (row.benchmark, row.shots) if isinstance(row, Measured | Claimed) else (row.tested, 0)


def _place(benchmark: str, shots: int, measure: str, system: str) -> Cells:
    """The first cells of a line."""
    return {"benchmark": benchmark, "shots": str(shots or NO_SHOTS), "measure": measure, "system": system}


def _joined(says: Mapping[Any, list[Claimed]], here: Mapping[Any, list[AnyMeasured]]) -> Iterable[Cells]:
    """A line for each set-up that was measured, with what a paper says of that system without a variant, if any."""
    names = labels({key: _told(key, rows[0], here) for key, rows in here.items()})
    for key, rows in here.items():
        benchmark, shots, measure, system = key[:4]
        paper = says.get((benchmark, shots, measure, system, ""), [])
        bare = ", untrained" if rows[0].training == "none" and "training=" not in names[key] else ""
        place = _place(benchmark, shots, measure, names[key] + bare)
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
            place = _place(benchmark, shots, measure, name)
            known = {name: row.leak.get(question, NOT_KNOWN) for name, question in ASKED.items()}
            yield place | _of_paper(row) | known


def _of_paper(row: Claimed) -> Cells:
    folds = ", ".join(f"{fold}: {percent(value)}" for fold, value in sorted(row.folds.items()))
    value, source = percent(row.value), f"{row.source} ({row.seen})"
    return {"paper says": value, "its folds": folds or "-", "protocol": row.protocol or OWN, "source": source}


def _of_measured(rows: Sequence[AnyMeasured], measure: str) -> Cells:
    """What was measured, what it was trained with, and what it may have known."""
    numbers = _of_folds([row for row in rows if isinstance(row, Measured)], measure)
    return {
        **(numbers or _of_task(rows, measure)),
        "protocol": rows[0].protocol,
        "trained": " / ".join(dict.fromkeys(map(_trained, rows))),
        **{name: _answers(rows, question) for name, question in ASKED.items()},
    }


def _of_task(rows: Sequence[AnyMeasured], measure: str) -> Cells:
    """Mean and deviation over weights."""
    return {"measured here": cell([row.measures[measure]["value"] for row in rows]), "seeds": str(len(rows))}


def _of_folds(rows: Sequence[Measured], measure: str) -> Cells:
    """Mean and deviation over the seeds of each fold, and of their mean where all folds have the same seeds."""
    if not rows:
        return {}
    folds: dict[int, dict[tuple[Any, ...], float]] = {}
    for row in sorted(rows, key=lambda row: (str(row.repetition), row.date)):
        folds.setdefault(row.group, {})[row.repetition] = row.measures[measure]["value"]
    told = ", ".join(f"{group}: {cell(list(found.values()))}" for group, found in sorted(folds.items()))
    seeds = {tuple(found) for found in folds.values()}
    overall = "-"
    if len(seeds) == 1 and len(folds) == len(folds_of(rows[0].benchmark).groups or folds):
        overall = cell([mean(found[seed] for found in folds.values()) for seed in min(seeds)])
    count = sorted({len(each) for each in seeds})
    return {
        "measured here": overall,
        "folds here": told,
        "seeds": str(count[0]) if len(count) == 1 else f"{count[0]} to {count[-1]}",
    }


def _trained(row: AnyMeasured) -> str:
    """Data of the training and, as far as they are known, its length, rate and recipe."""
    how = row.training_run or {}
    parts = {"steps": "{} steps", "episodes_per_step": "of {}", "lr": "rate {:g}", "schedule": "{}", "recipe": "{}"}
    if NOT_TOLD in how:
        return f"{row.training}; {how[NOT_TOLD]}"
    told = [text.format(how[name]) for name, text in parts.items() if how.get(name) is not None]
    return f"{row.training}; {' '.join(told)}" if told else row.training


def _answers(rows: Iterable[AnyMeasured], question: str) -> str:
    """The answer of all rows to a question of the leak line, or both where they differ."""
    return " / ".join(dict.fromkeys(row.leak.get(question, {}).get("answer", NOT_KNOWN) for row in rows))


def _headline(row: AnyMeasured) -> str:
    """The first measure of the row's protocol."""
    if not isinstance(row, Measured):
        return next(iter(row.measures))
    return get_protocol(row.protocol.partition("@")[0]).measures[0]


def _told(key: Any, row: AnyMeasured, here: Mapping[Any, list[AnyMeasured]]) -> Told:
    """What tells the rows of a system apart: training, draws, episodes, the data where there are several, settings."""
    of_benchmark = {other.data for rows in here.values() for other in rows if other.benchmark == row.benchmark}
    data = {"data": row.data[:8]} if len(of_benchmark) > 1 else {}
    if isinstance(row, Measured):
        settings = as_set({"adaptation": row.adaptation, "settings": row.settings})
        asked = {"draws": row.draws, "episodes": row.manifest}
    else:
        settings, asked = dict(row.settings), dict(row.test)
    own = {
        "training": row.training,
        **row.trained_like,
        **asked,
        **data,
        **dict(zip(("weights", "list"), key[5:], strict=False)),
    }
    return Told(row.system, key[:3], own, settings)


def _grouped(rows: Iterable[Kind], key: Callable[[Kind], Hashable]) -> dict[Any, list[Kind]]:
    found: dict[Any, list[Kind]] = {}
    for row in rows:
        found.setdefault(key(row), []).append(row)
    return found

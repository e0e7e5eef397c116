"""Checks of a ledger: hashes, places, duplicates, removed rows, unknown protocols, and jumps that look suspicious."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.ledger.rows import (
    AnyMeasured,
    Claimed,
    Measured,
    Result,
    Row,
    digest_of,
    files_of,
    read_index,
    read_ledger,
    read_rows,
)
from benchmarks.protocols import get_protocol
from benchmarks.protocols.protocol import NamedRules
from benchmarks.protocols.scored import task_rules
from benchmarks.tables import percent

JUMP = 0.10  # of the headline measure, from its like, beyond which a reason is wanted
DECAY = "decay"  # a measure with this in its name is a slope, which has another range
# what is taken away in a probe -> what is given in its place
TAKEN_AWAY = {"wrong_support": "supports of a wrong class", "shuffled_text": "expressions of other objects"}


def check_ledger(folder: Path, results: Sequence[Path] = (), against: Path | None = None) -> list[str]:
    """Everything that is wrong, one line each.

    Args:
        folder: of the ledger.
        results: `results.json` files that must be those of rows.
        against: another copy, all of whose rows must be here.

    Raises:
        ValueError: there is no ledger, or its index is damaged.
    """
    found: list[str] = []
    rows: list[Row] = []
    for path in files_of(folder):
        try:
            stored = read_rows(path)
        except ValueError as error:
            found.append(str(error))
            continue
        place = path.relative_to(folder).as_posix()
        found += [line for row, digest in stored for line in _in_file(row, digest, place)]
        rows += [row for row, _ in stored]
    measured = [row for row in rows if isinstance(row, Result)]
    found += [*_index(folder, rows), *duplicates(rows)]
    found += [line for row in rows for line in (of_measured(row) if isinstance(row, Result) else of_claimed(row))]
    found += [f"{row}: {line}; say why with note=" for row in measured for line in suspicions(row, rows)]
    if against is not None:
        here = {digest_of(row) for row in rows}
        gone = (row for row in read_ledger(against) if digest_of(row) not in here)
        found += [f"{row}: was removed or changed since {against}" for row in gone]
    return found + _files(results, measured)


def refuse(new: Sequence[AnyMeasured], there: Sequence[Row]) -> None:
    """Raise ValueError for new rows that are there already, are wrong, or look suspicious without a note."""
    rows = [*there, *new]
    known = {row.key for row in there}
    lines = [f"{row} is there already" for row in new if row.key in known]
    lines = lines or duplicates(new)
    lines += [line for row in new for line in of_measured(row)]
    lines += [f"{row}: {line}; say why with note=<words>" for row in new for line in suspicions(row, rows)]
    if lines:
        raise ValueError("; ".join(lines))


def duplicates(rows: Iterable[Row]) -> list[str]:
    """Rows of which there are two."""
    seen = set()
    lines = []
    for row in rows:
        if row.key in seen:
            lines.append(f"{row}: is there twice")
        seen.add(row.key)
    return lines


def of_measured(row: AnyMeasured) -> Iterator[str]:
    """What is wrong with a measured row by itself."""
    name, _, version = row.protocol.partition("@")
    try:
        protocol: NamedRules = get_protocol(name) if isinstance(row, Measured) else task_rules(name)
    except ValueError as error:
        yield f"{row}: {error}"
        return
    if not version.isdigit() or int(version) > protocol.version:
        yield f"{row}: its protocol is not known, the latest version of {name} is {protocol.versioned}"
    elif int(version) == protocol.version and row.rules != protocol.digest:
        yield f"{row}: its rules are {row.rules}, those of {protocol.versioned} are {protocol.digest}"
    columns = get_protocol(name).columns if isinstance(row, Measured) else ()
    if missing := [measure for measure in columns if measure not in row.measures]:
        yield f"{row}: it has no {', '.join(missing)}"
    if not row.measures:
        yield f"{row}: it has no number"
    values = {measure: [found["value"]] for measure, found in row.measures.items()}
    for part in (row.probes if isinstance(row, Measured) else row.beside).values():
        for measure, value in part.items():
            values.setdefault(measure, []).append(value)
    ranged = [value for measure, found in values.items() if DECAY not in measure.lower() for value in found]
    if not all(0 <= value <= 1 for value in ranged):
        yield f"{row}: a number is not in 0..1"
    if isinstance(row, Measured) and not row.seeds:
        yield f"{row}: it has no seed"


def of_claimed(row: Claimed) -> Iterator[str]:
    """What is wrong with a row of a paper by itself."""
    if not 0 <= row.value <= 1 or not all(0 <= value <= 1 for value in row.folds.values()):
        yield f"{row}: a number is not in 0..1"
    if row.folds and abs(mean(row.folds.values()) - row.value) > 0.001:
        yield f"{row}: the mean of its folds is {percent(mean(row.folds.values()))}, not {percent(row.value)}"
    if not row.source or not row.seen:
        yield f"{row}: its source is not said"


def suspicions(row: AnyMeasured, rows: Iterable[Row]) -> Iterator[str]:
    """What looks wrong and may be right; nothing where the row has a note."""
    if row.note or not row.measures:
        return
    headline = next(iter(row.measures))
    value = row.measures[headline]["value"]
    others = [other for other in rows if other is not row]
    alike = [o.measures[headline]["value"] for o in others if isinstance(o, Result) and o.alike == row.alike]
    if alike and abs(value - mean(alike)) > JUMP:
        yield f"{headline} {percent(value)} is far from the {percent(mean(alike))} of other seeds and weights"
    fold, asked = (str(row.group), (row.benchmark, row.shots)) if isinstance(row, Measured) else ("", (row.tested, 0))
    for paper in (other for other in others if isinstance(other, Claimed) and not other.variant):
        says = paper.folds.get(fold, paper.value)
        of_it = (paper.benchmark, paper.shots), paper.system, paper.measure
        if of_it == (asked, row.system, headline) and value - says > JUMP:
            yield f"{headline} {percent(value)} is far above the {percent(says)} of {paper.source}"
    yield from _not_worse(row, headline, value)
    if isinstance(row, Measured) and row.manifest is not None:
        yield f"its episodes were frozen in {row.manifest}, not drawn by its protocol"
    if row.commit.endswith("-dirty"):
        yield "it was measured with source files that differ from its commit"


def _not_worse(row: AnyMeasured, headline: str, value: float) -> Iterator[str]:
    """Information that was taken away, and the number is no less. Few-shot systems need not read words."""
    if isinstance(row, Measured):
        name, parts = "wrong_support", row.probes
    else:
        name, parts = "shuffled_text", row.beside
    found = parts.get(name, {}).get(headline)
    if found is not None and found >= value:
        yield f"{headline} with {TAKEN_AWAY[name]} is {percent(found)}, no less than with the right ones"


def _in_file(row: Row, digest: str, place: str) -> Iterator[str]:
    if digest_of(row) != digest:
        yield f"{place}: a row does not match its hash, it was edited ({row})"
    if row.place != place:
        yield f"{place}: holds a row that belongs into {row.place}"


def _index(folder: Path, rows: Iterable[Row]) -> Iterator[str]:
    there, index = {digest_of(row): row for row in rows}, read_index(folder)
    for digest, place in index.items():
        if digest not in there:
            yield f"{place}: a row was removed or changed (hash {digest[:12]})"
    for digest, row in there.items():
        if digest not in index:
            yield f"{row}: is not in the index; rows are written by fewshot ledger add"


def _files(results: Iterable[Path], rows: Iterable[AnyMeasured]) -> list[str]:
    known = {row.file for row in rows}
    files = (path / "results.json" if path.is_dir() else path for path in results)
    return [
        f"{path} is not the file of any row" if path.is_file() else f"{path} is not a file"
        for path in files
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() not in known
    ]

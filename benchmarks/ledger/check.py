"""Checks of a ledger: hashes, places, duplicates, removed rows, unknown protocols, and jumps that look suspicious."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from statistics import mean

from benchmarks.ledger.rows import Claimed, Measured, Row, digest_of, files_of, read_index, read_ledger, read_rows
from benchmarks.protocols import get_protocol
from benchmarks.tables import percent

JUMP = 0.10  # of the headline measure, from its like, beyond which a reason is wanted


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
    measured = [row for row in rows if isinstance(row, Measured)]
    found += [*_index(folder, rows), *duplicates(rows)]
    found += [line for row in rows for line in (of_measured(row) if isinstance(row, Measured) else of_claimed(row))]
    found += [f"{row}: {line}; say why with note=" for row in measured for line in suspicions(row, rows)]
    if against is not None:
        here = {digest_of(row) for row in rows}
        gone = (row for row in read_ledger(against) if digest_of(row) not in here)
        found += [f"{row}: was removed or changed since {against}" for row in gone]
    return found + _files(results, measured)


def refuse(new: Sequence[Measured], there: Sequence[Row]) -> None:
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


def of_measured(row: Measured) -> Iterator[str]:
    """What is wrong with a measured row by itself."""
    name, _, version = row.protocol.partition("@")
    try:
        protocol = get_protocol(name)
    except ValueError as error:
        yield f"{row}: {error}"
        return
    if not version.isdigit() or int(version) > protocol.version:
        yield f"{row}: its protocol is not known, the latest version of {name} is {protocol.versioned}"
    elif int(version) == protocol.version and row.rules != protocol.digest:
        yield f"{row}: its rules are {row.rules}, those of {protocol.versioned} are {protocol.digest}"
    if missing := [measure for measure in protocol.columns if measure not in row.measures]:
        yield f"{row}: it has no {', '.join(missing)}"
    values = [
        *(found["value"] for found in row.measures.values()),
        *(v for p in row.probes.values() for v in p.values()),
    ]
    if not all(0 <= value <= 1 for value in values):
        yield f"{row}: a number is not in 0..1"
    if not row.seeds:
        yield f"{row}: it has no seed"


def of_claimed(row: Claimed) -> Iterator[str]:
    """What is wrong with a row of a paper by itself."""
    if not 0 <= row.value <= 1 or not all(0 <= value <= 1 for value in row.folds.values()):
        yield f"{row}: a number is not in 0..1"
    if row.folds and abs(mean(row.folds.values()) - row.value) > 0.001:
        yield f"{row}: the mean of its folds is {percent(mean(row.folds.values()))}, not {percent(row.value)}"
    if not row.source or not row.seen:
        yield f"{row}: its source is not said"


def suspicions(row: Measured, rows: Iterable[Row]) -> Iterator[str]:
    """What looks wrong and may be right; nothing where the row has a note."""
    if row.note or not row.measures:
        return
    headline = next(iter(row.measures))
    value = row.measures[headline]["value"]
    others = [other for other in rows if other is not row]
    if alike := [o.measures[headline]["value"] for o in others if isinstance(o, Measured) and o.alike == row.alike]:
        if abs(value - mean(alike)) > JUMP:
            yield f"{headline} {percent(value)} is far from the {percent(mean(alike))} of other seeds and weights"
    for paper in (other for other in others if isinstance(other, Claimed) and not other.variant):
        says = paper.folds.get(str(row.group), paper.value)
        of_it = (paper.benchmark, paper.system, paper.shots, paper.measure)
        if of_it == (row.benchmark, row.system, row.shots, headline) and value - says > JUMP:
            yield f"{headline} {percent(value)} is far above the {percent(says)} of {paper.source}"
    wrong = row.probes.get("wrong_support", {}).get(headline)
    if wrong is not None and wrong >= value:
        yield f"{headline} with supports of a wrong class is {percent(wrong)}, no less than with the right ones"
    if row.manifest is not None:
        yield f"its episodes were frozen in {row.manifest}, not drawn by its protocol"
    if row.commit.endswith("-dirty"):
        yield "it was measured with source files that differ from its commit"


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


def _files(results: Iterable[Path], rows: Iterable[Measured]) -> list[str]:
    known = {row.file for row in rows}
    files = (path / "results.json" if path.is_dir() else path for path in results)
    return [
        f"{path} is not the file of any row" if path.is_file() else f"{path} is not a file"
        for path in files
        if not path.is_file() or hashlib.sha256(path.read_bytes()).hexdigest() not in known
    ]

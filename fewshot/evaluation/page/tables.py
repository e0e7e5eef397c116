"""Tables of a page, of the numbers as `results.json` records them; nothing is computed again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from benchmarks.tables import group_name, percent, shown
from episodes.sampling.probes import PROBES
from fewshot.evaluation.page.content import Content

Row = tuple["Cell", ...]


@dataclass(frozen=True)
class Cell:
    """A cell: its text, smaller words below it, and the length of its bar in percent."""

    text: str
    small: str = ""
    bar: float | None = None


@dataclass(frozen=True)
class Table:
    """A table with its title, and what is said below it."""

    title: str
    header: tuple[str, ...]
    rows: tuple[Row, ...]
    note: str = ""


def tables_of(content: Content) -> list[Table]:
    """Every table that there are numbers for."""
    if content.of_episodes:
        found = [_folds(content), _probes(content), _twins(content), _classes(content), _protocols(content)]
    else:
        found = [_task(content), _objects(content)]
    return [table for table in found if table.rows]


def _folds(content: Content) -> Table:
    groups = sorted({fold["group"] for fold in content.results["folds"] if fold["group"] is not None})
    rows = [(Cell(group_name(group)), *_measured(content, group, "")) for group in (*groups, None)]
    unit = content.results["bootstrap"]["unit"]
    note = (
        f"In percent. Below a number: its 95 % interval, of a bootstrap over {unit}s and, with several seeds, of "
        "Student's t over seeds."
    )
    return Table("Folds", _header(content, "fold"), tuple(rows), note)


def _probes(content: Content) -> Table:
    probes = dict.fromkeys(fold["probe"] for fold in content.results["folds"])
    rows = [(Cell(_name(probe), PROBES.get(probe, "")), *_measured(content, None, probe)) for probe in probes]
    note = "The same test with one thing taken away: a model that loses nothing has not used it."
    return Table("Sanity probes", _header(content, "test"), tuple(rows) if len(rows) > 1 else (), note)


def _name(probe: str) -> str:
    return probe.replace("_", " ") or "as it is"


def _header(content: Content, first: str) -> tuple[str, ...]:
    return (first, "queries", *content.numbers())


def _measured(content: Content, group: int | None, probe: str) -> list[Cell]:
    """Number of queries and every measure of a fold; `-` where a probe has no such fold."""
    queries = Cell(f"{content.fold(group, probe)['queries']:,}")
    return [queries, *(_estimate(number) for number in content.numbers(group, probe).values())]


def _estimate(number: Mapping[str, Any]) -> Cell:
    """A value in percent, with its intervals."""
    intervals = [number.get("bootstrap"), number.get("over_seeds")]
    words = [" to ".join(percent(end) for end in interval) for interval in intervals if interval]
    return Cell(percent(number["value"]), "; seeds ".join(words))


def _twins(content: Content) -> Table:
    parts = [part for part in content.results.get("twins", ()) if part["group"] is None]
    rows = [
        (
            Cell("with a twin" if part["twin"] else "without a twin", _name(part["probe"]) if part["probe"] else ""),
            Cell(f"{part['queries']:,}"),
            *(Cell(percent(part["values"].get(measure))) for measure in content.numbers()),
        )
        for part in parts
    ]
    note = "A twin is another object of the same class in the video: the supports fit both, the words tell which."
    return Table("Queries with and without a twin", _header(content, "queries with"), tuple(rows), note)


def _classes(content: Content) -> Table:
    """The measure of each class, which is the first entry of its row, beside that under each probe."""
    found: Mapping[str, Mapping[str, Any]] = content.results.get("classes", {})
    main, probes = found.get("main", {}), [name for name in found if name != "main"]
    if not main:
        return Table("Classes", (), ())
    measure = next(iter(next(iter(main.values()))))
    rows = [
        (
            Cell(name),
            Cell(f"{row['queries']:,}"),
            Cell(percent(row[measure]), bar=100 * row[measure]),
            *(Cell(percent(found[probe].get(name, {}).get(measure))) for probe in probes),
        )
        for name, row in main.items()
    ]
    header = ("class", "queries", measure, *(f"{_name(probe)}, {measure}" for probe in probes))
    return Table("Classes", header, tuple(rows))


def _protocols(content: Content) -> Table:
    """The same predictions under every protocol that they serve."""
    estimates = content.fold()["estimates"]
    rows = [(Cell(name), *map(_estimate, numbers.values())) for name, numbers in estimates.items()]
    return Table("Under other averages", ("protocol", *content.numbers()), tuple(rows) if len(rows) > 1 else ())


def _task(content: Content) -> Table:
    """Numbers of a test without folds, those of its parts, and what stands beside them."""
    results = content.results
    named = {**results.get("parts", {}), "all": results.get("measures", {}), **results.get("beside", {})}
    rows = [(Cell(name), *(Cell(shown(*pair)) for pair in values.items())) for name, values in named.items() if values]
    return Table("Numbers, in percent", ("", *content.numbers()), tuple(rows))


def _objects(content: Content) -> Table:
    """J and F of the objects or expressions, the worst first."""
    objects = content.results.get("objects", {})
    ranked = sorted(objects.items(), key=lambda pair: sum(pair[1]))
    rows = [(Cell(name), Cell(percent(j), bar=100 * j), Cell(percent(f))) for name, (j, f) in ranked]
    return Table("Objects, the worst first", ("object", "J", "F"), tuple(rows))

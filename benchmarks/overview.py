"""One table of many runs: systems, benchmarks and shots down, folds across, mean and deviation over seeds in each cell.

Runs of one system (the same settings), training, benchmark, protocol and number of shots make one row, each with its
folds. Where two of them have the same fold and seed, each has a row of its own, with its name.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

from benchmarks.ledger.rows import SET_UP, trained_like
from benchmarks.protocols import get_protocol
from benchmarks.scores.scores import read_report
from benchmarks.tables import percent, text_table

Key = tuple[str, str, str, str, str, int]  # system, settings, benchmark, protocol with its rules, measure, shots
Row = TypeVar("Row")
Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
MOST_TOLD = 3  # settings in which rows of one system differ, of which each row tells this many, or what it takes
RESULTS = "results.json"
ADAPTATION, NO_ADAPTATION = "adaptation", "none"
ASKED = ("draws", "manifest", "limit", "data")  # of the episodes, in the record of a run
PIPE = "\\|"  # in a cell of Markdown
# signs with a meaning of their own, as LaTeX prints them
IN_LATEX = str.maketrans(
    {**{sign: f"\\{sign}" for sign in "&%#_{}$"}, "±": r"$\pm$", "\\": r"\textbackslash{}"}
    | {"~": r"\textasciitilde{}", "^": r"\textasciicircum{}"}
)
COLUMNS = ("system", "benchmark", "protocol", "measure", "shots")


@dataclass(frozen=True)
class Run:
    """The number of a run on one fold.

    Attributes:
        place: its file.
        key: what it has in common with the others of its row.
        own, settings: of its training and its episodes, and of the system.
        repetition: what tells it from others of its row and fold: the seed of the training and those of the episodes.
        fold, value: measure in 0..1.
    """

    place: Path
    key: Key
    own: Mapping[str, Any]
    settings: Mapping[str, Any]
    repetition: tuple[Any, ...]
    fold: int
    value: float


def overview(
    places: Iterable[Path | str], measure: str = "", probe: str = "", form: str = "text"
) -> tuple[str, list[str]]:
    """The table of the runs in percent, and what is to be said of it (one line each): why runs were left out of it.

    Args:
        places: run folders or their `results.json`; one that is named twice counts once.
        measure: '' for the first one of each protocol.
        probe: in place of the real numbers.
        form: `text`, `markdown`, `latex` or `csv`.

    Raises:
        ValueError: no run has such numbers.
    """
    rows: dict[Key, list[Run]] = {}
    left_out: list[str] = []
    for place in {path.resolve(): path for path in map(_file, places)}.values():
        try:
            for run in read_run(place, measure, probe):
                rows.setdefault(run.key, []).append(run)
        except ValueError as error:
            left_out.append(str(error))
    if not rows:
        raise ValueError("; ".join(left_out) or "no run was named: give run folders, such as runs/*")
    rows, clashes = apart(rows)
    remarks = [*(f"left out: {reason}" for reason in left_out), *clashes]
    folds = sorted({run.fold for runs in rows.values() for run in runs})
    names = labels({key: Told(key[0], key[2:], runs[0].own, runs[0].settings) for key, runs in rows.items()})
    header = [*COLUMNS, *(f"fold {fold}" for fold in folds), "mean", "seeds"]
    return FORMS[form](header, [_row(names[key], key, runs, folds) for key, runs in rows.items()]), remarks


def _file(place: Path | str) -> Path:
    path = Path(place)
    return path / RESULTS if path.is_dir() else path


def read_run(path: Path, measure: str = "", probe: str = "") -> list[Run]:
    """The numbers of a run, one for each of its folds.

    Raises ValueError, naming the file, where it is missing, does not say what was tested, or lacks such numbers.
    """
    content = read_report(path)
    record = content.get("run")
    if "task" in content:
        raise ValueError(f"{path} is of a task without folds: python -m fewshot.ledger puts such results into a table")
    if not isinstance(record, dict) or "protocol" not in content:
        raise ValueError(f"{path} does not say what was tested, as results of meta_train and meta_test do")
    try:
        protocol, digest = content["protocol"], content["protocol_digest"]
        named = measure or get_protocol(protocol).measures[0]
        known = f"{protocol}@{content['protocol_version']}"
        if get_protocol(protocol).digest != digest:
            known += f" (rules {digest})"
        found = [
            _run(path, record, (known, named), fold["group"], fold["estimates"][protocol][named]["value"])
            for fold in content["folds"]
            if fold["group"] is not None and fold["probe"] == probe
        ]
    except (KeyError, TypeError, AttributeError, IndexError) as error:
        raise ValueError(f"{path} has no {error}: give a measure of its protocol, or test that run again") from error
    if not found:
        raise ValueError(f"{path} has no numbers of probe {probe!r}: test that run again with test.probes=[{probe}]")
    return found


def _run(path: Path, record: Mapping[str, Any], counted: tuple[str, str], fold: int, value: float) -> Run:
    facts = record.get("groups", {}).get(str(fold), {})
    how = facts.get("training_run")
    own = {"training": facts.get("training"), **trained_like(how), **{name: record.get(name) for name in ASKED}}
    settings = as_set(record)
    seed = record["trained_with_seed"]
    repetition = (how or {}).get("seed") if seed is None else seed, tuple(record["seeds"])
    key = (
        record["system"],
        json.dumps([own, settings], sort_keys=True),
        record["benchmark"],
        *counted,
        record["shots"],
    )
    return Run(path, key, own, settings, repetition, fold, value)


def apart(rows: Mapping[Key, Sequence[Run]]) -> tuple[dict[Key, list[Run]], list[str]]:
    """The rows, those in which two runs have the same fold and seeds cut into one for each run; and which these are."""
    found: dict[Key, list[Run]] = {}
    clashes = []
    for key, runs in rows.items():
        first: dict[tuple[Any, ...], Run] = {}
        twice = [(first[at], run) for run in runs if first.setdefault(at := (run.fold, run.repetition), run) is not run]
        if not twice:
            found[key] = list(runs)
            continue
        names = _names({run.place for run in runs})
        for run in runs:
            named = replace(run, own={**run.own, "run": names[run.place]})
            found.setdefault((key[0], f"{key[1]} {run.place}", *key[2:]), []).append(named)
        one, other = (names[run.place] for run in twice[0])
        clashes.append(f"{one} and {other} are both of fold {twice[0][0].fold} and its seed: each run has its own row")
    return found, clashes


def _names(places: Iterable[Path]) -> dict[Path, str]:
    """The name of each run folder, or its whole path where two folders have the same name."""
    names = {place: place.parent.name if place.name == RESULTS else place.stem for place in places}
    count = Counter(names.values())
    return {place: name if count[name] == 1 and name else str(place) for place, name in names.items()}


def _row(label: str, key: Key, runs: Sequence[Run], folds: Sequence[int]) -> list[str]:
    """The cells of one row; its mean is that over the folds, and is left out where one is missing."""
    found: dict[int, dict[tuple[Any, ...], float]] = {}
    for run in sorted(runs, key=lambda run: str(run.repetition)):
        found.setdefault(run.fold, {})[run.repetition] = run.value
    cells = [cell(list(found.get(fold, {}).values())) for fold in folds]
    seeds = {tuple(found.get(fold, ())) for fold in folds}
    return [label, *key[2:5], str(key[5]), *cells, _mean(found, folds), _seeds(seeds)]


def _mean(found: Mapping[int, Mapping[tuple[Any, ...], float]], folds: Sequence[int]) -> str:
    """Mean over the folds, seed by seed where all folds have the same seeds."""
    if set(folds) - set(found):
        return "-"
    seeds = set(found[folds[0]])
    if all(set(found[fold]) == seeds for fold in folds):
        return cell([mean(found[fold][seed] for fold in folds) for seed in found[folds[0]]])
    return percent(mean(mean(found[fold].values()) for fold in folds))


def _seeds(seeds: set[tuple[Any, ...]]) -> str:
    """The number of seeds of each fold, as a range where folds have different numbers."""
    counts = sorted({len(each) for each in seeds if each})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def cell(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds in percent; a single value alone; `-` for none."""
    if not values:
        return "-"
    spread = f" ± {percent(stdev(values))}" if len(values) > 1 else ""
    return percent(mean(values)) + spread


@dataclass(frozen=True)
class Told:
    """What may tell a row from others.

    Attributes:
        name: of the system.
        place: what other columns say; rows of another place need not be told apart.
        own: of its training and its episodes.
        settings: of the system, which are told wherever one of the same name has others.
    """

    name: str
    place: Hashable
    own: Mapping[str, Any]
    settings: Mapping[str, Any]

    @property
    def all(self) -> dict[str, Any]:
        """Everything, its own first."""
        return {**self.own, **self.settings}


def labels(rows: Mapping[Row, Told]) -> dict[Row, str]:
    """Name of the system of each row, and what tells it from others of that name: a few words, or all that it takes."""
    found = {}
    for row, told in rows.items():
        alike = [other for other in rows.values() if other.name == told.name]
        near = [other.all for other in alike if other.place == told.place]
        differing = [name for name in told.own if name != SET_UP and _differ(name, near)]
        differing += [name for name in told.settings if _differ(name, [other.settings for other in alike])]
        adapts = told.settings.get(ADAPTATION, NO_ADAPTATION) != NO_ADAPTATION  # told even of the only row of its name
        chosen = list(dict.fromkeys([*([ADAPTATION] if adapts else []), *differing[:MOST_TOLD]]))
        while near := [other for other in near if _plain(other, chosen) == _plain(told.all, chosen)]:
            more = [name for name in told.all if name not in chosen and _differ(name, near)]
            if not more:
                break
            chosen.append(more[0])
        words = ", ".join(f"{name}={_short(name, told.all[name])}" for name in chosen)
        found[row] = f"{told.name} ({words})" if words else told.name
    return found


def _differ(setting: str, rows: Iterable[Mapping[str, Any]]) -> bool:
    return len({_plain(row, [setting]) for row in rows}) > 1


def _plain(settings: Mapping[str, Any], names: Iterable[str]) -> str:
    return json.dumps([settings.get(name) for name in names])


def _short(setting: str, value: Any) -> Any:
    return value[:8] if setting == "data" and isinstance(value, str) else value


def as_set(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of what was tested, those of its adaptation included."""
    adaptation = record.get("adaptation") or {}
    known = {f"{ADAPTATION}.{name}": value for name, value in adaptation.items() if name != "name"}
    return {ADAPTATION: adaptation.get("name", NO_ADAPTATION), **record["settings"], **known}


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(cell.replace('|', PIPE) for cell in line)} |" for line in lines)


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        return " & ".join(cell.translate(IN_LATEX) for cell in cells) + r" \\"

    body = [r"\toprule", line(header), r"\midrule", *map(line, rows), r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{llllr{'r' * (len(header) - 5)}}}", *body, r"\end{tabular}"])


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")


FORMS: dict[str, Table] = {"text": text_table, "markdown": _markdown, "latex": _latex, "csv": _csv}

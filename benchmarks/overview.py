"""One table of many runs: systems, benchmarks and shots down, folds across, mean and deviation over seeds in each cell.

Runs of one system (the same settings), benchmark, protocol and number of shots make one row, each with its folds.
"""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import mean, stdev
from typing import Any, TypeVar

from benchmarks.protocols import get_protocol
from benchmarks.scores.scores import read_report
from benchmarks.tables import percent, text_table

Key = tuple[str, str, str, str, str, int]  # system, its settings, benchmark, protocol with its rules, measure, shots
Row = TypeVar("Row")
Table = Callable[[Sequence[str], Sequence[Sequence[str]]], str]
MOST_TOLD = 3  # settings in which rows of one system differ, of which each row tells this many
RESULTS = "results.json"
COLUMNS = ("system", "benchmark", "protocol", "measure", "shots")


@dataclass(frozen=True)
class Run:
    """The numbers of a run.

    Attributes:
        place: its file.
        key: what it has in common with the other runs of its row.
        settings: of the system.
        seed: of weights and episodes.
        folds: measure in 0..1 of each fold.
    """

    place: Path
    key: Key
    settings: Mapping[str, Any]
    seed: int
    folds: Mapping[int, float]


def overview(
    places: Iterable[Path | str], measure: str = "", probe: str = "", form: str = "text"
) -> tuple[str, list[str]]:
    """The table of the runs in percent, and why runs were left out of it (one line each).

    Args:
        places: run folders or their `results.json`.
        measure: '' for the first one of each protocol.
        probe: in place of the real numbers.
        form: `text`, `markdown`, `latex` or `csv`.

    Raises:
        ValueError: no run has such numbers, or two have the same fold and seed of a row.
    """
    rows: dict[Key, list[Run]] = {}
    left_out: list[str] = []
    for place in places:
        try:
            run = read_run(Path(place), measure, probe)
        except ValueError as error:
            left_out.append(str(error))
        else:
            rows.setdefault(run.key, []).append(run)
    if not rows:
        raise ValueError("; ".join(left_out) or "no run was named: give run folders, such as runs/*")
    folds = sorted({fold for runs in rows.values() for run in runs for fold in run.folds})
    names = labels({key: (key[0], runs[0].settings) for key, runs in rows.items()})
    header = [*COLUMNS, *(f"fold {fold}" for fold in folds), "mean", "seeds"]
    return FORMS[form](header, [_row(names[key], key, runs, folds) for key, runs in rows.items()]), left_out


def read_run(place: Path, measure: str = "", probe: str = "") -> Run:
    """The numbers of a run folder or file.

    Raises ValueError, naming the file, where it is missing, does not say what was tested, or lacks such numbers.
    """
    path = place / RESULTS if place.is_dir() else place
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
        settings, seed = as_set(record), record["trained_with_seed"]
        own = json.dumps(settings, sort_keys=True)
        key = (record["system"], own, record["benchmark"], known, named, record["shots"])
        folds = {
            fold["group"]: fold["estimates"][protocol][named]["value"]
            for fold in content["folds"]
            if fold["group"] is not None and fold["probe"] == probe
        }
        seed = record["seeds"][0] if seed is None else seed
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"{path} has no {error}: give a measure of its protocol, or test that run again") from error
    if not folds:
        raise ValueError(f"{path} has no numbers of probe {probe!r}: test that run again with test.probes=[{probe}]")
    return Run(path, key, settings, seed, folds)


def _row(label: str, key: Key, runs: Sequence[Run], folds: Sequence[int]) -> list[str]:
    """The cells of one row; its mean is that over the folds, and is left out where one is missing."""
    found: dict[int, dict[int, Run]] = {}
    for run in runs:
        for fold in run.folds:
            before = found.setdefault(fold, {}).setdefault(run.seed, run)
            if before is not run:
                both = f"{before.place} and {run.place} are both of {label}, fold {fold}, seed {run.seed}"
                raise ValueError(f"{both}: name one of them")
    cells = [cell([run.folds[fold] for run in found.get(fold, {}).values()]) for fold in folds]
    seeds = {tuple(sorted(found.get(fold, ()))) for fold in folds}
    return [label, *key[2:5], str(key[5]), *cells, _mean(found, folds), _seeds(seeds)]


def _mean(found: Mapping[int, Mapping[int, Run]], folds: Sequence[int]) -> str:
    """Mean over the folds, seed by seed where all folds have the same seeds."""
    if set(folds) - set(found):
        return "-"
    seeds = set(found[folds[0]])
    if all(set(found[fold]) == seeds for fold in folds):
        return cell([mean(found[fold][seed].folds[fold] for fold in folds) for seed in sorted(seeds)])
    return percent(mean(mean(run.folds[fold] for run in found[fold].values()) for fold in folds))


def _seeds(seeds: set[tuple[int, ...]]) -> str:
    """The number of seeds of each fold, as a range where folds have different numbers."""
    counts = sorted({len(each) for each in seeds if each})
    return str(counts[0]) if len(counts) == 1 else f"{counts[0]} to {counts[-1]}"


def cell(values: Sequence[float]) -> str:
    """Mean and standard deviation over seeds in percent; a single value alone; `-` for none."""
    if not values:
        return "-"
    spread = f" ± {percent(stdev(values))}" if len(values) > 1 else ""
    return percent(mean(values)) + spread


def labels(named: Mapping[Row, tuple[str, Mapping[str, Any]]]) -> dict[Row, str]:
    """Name of the system of each row, with the settings in which rows of the same name differ."""
    told = {}
    for row, (name, own) in named.items():
        alike = [settings for other, settings in named.values() if other == name]
        differing = [k for k in own if len({json.dumps(other.get(k)) for other in alike}) > 1]
        words = ", ".join(f"{k}={own[k]}" for k in differing[:MOST_TOLD])
        told[row] = f"{name} ({words})" if words else name
    return told


def as_set(record: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of what was tested, those of its adaptation included."""
    adaptation = record.get("adaptation") or {}
    known = {f"adaptation.{name}": value for name, value in adaptation.items() if name != "name"}
    return {"adaptation": adaptation.get("name", "none"), **record["settings"], **known}


def _markdown(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [header, ["---"] * len(header), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _latex(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    def line(cells: Sequence[str]) -> str:
        escaped = (re.sub(r"([&%#_])", r"\\\1", cell).replace("±", r"$\pm$") for cell in cells)
        return " & ".join(escaped) + r" \\"

    body = [r"\toprule", line(header), r"\midrule", *map(line, rows), r"\bottomrule"]
    return "\n".join([rf"\begin{{tabular}}{{llllr{'r' * (len(header) - 5)}}}", *body, r"\end{tabular}"])


def _csv(header: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([header, *rows])
    return text.getvalue().rstrip("\n")


FORMS: dict[str, Table] = {"text": text_table, "markdown": _markdown, "latex": _latex, "csv": _csv}

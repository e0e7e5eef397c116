"""Rows of the ledger in the form of model pages: the `.eval_results/*.yaml` of the Hugging Face Hub."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import yaml

from benchmarks.ledger.check import DECAY
from benchmarks.ledger.rows import NOT_KNOWN, QUESTIONS, AnyMeasured, Measured
from benchmarks.protocols import get_protocol
from episodes.whole_files import replacing


def eval_results(rows: Sequence[AnyMeasured], dataset: str, source: str = "") -> str:
    """The YAML of rows, one entry for each headline measure of a row, in percent.

    Args:
        rows: at least one, all of one benchmark.
        dataset: of the benchmark on the Hub, `organisation/name`.
        source: address of the ledger, if it has one.

    Raises:
        ValueError: no row, or rows of several benchmarks.
    """
    # Imported here: only this export needs it.
    from huggingface_hub import EvalResultEntry, eval_result_entries_to_yaml

    if len({row.benchmark for row in rows}) != 1:
        names = ", ".join(sorted({row.benchmark for row in rows})) or "none"
        raise ValueError(f"the rows of one benchmark are exported at a time, these are of {names}: name files of one")
    entries = [
        EvalResultEntry(
            dataset_id=dataset,
            task_id=f"{row.protocol}_{_part(row)}_{measure}".replace("&", "and"),
            value=round(100 * row.measures[measure]["value"], 2),
            date=row.date,
            source_url=source or None,
            notes=notes(row),
        )
        for row in rows
        for measure in _headlines(row)
    ]
    return yaml.safe_dump(eval_result_entries_to_yaml(entries), sort_keys=False, allow_unicode=True)


def _part(row: AnyMeasured) -> str:
    return f"{row.shots}shot_group{row.group}" if isinstance(row, Measured) else row.split


def _headlines(row: AnyMeasured) -> Sequence[str]:
    """The measures of a protocol of episodes; of a task all but the slopes, which have another range."""
    if isinstance(row, Measured):
        return get_protocol(row.protocol.partition("@")[0]).measures
    return [measure for measure in row.measures if DECAY not in measure.lower()]


def notes(row: AnyMeasured) -> str:
    """What a reader must know to check a row, in a line."""
    leak = [f"{text}: {row.leak.get(question, {}).get('answer', NOT_KNOWN)}" for question, text in QUESTIONS.items()]
    seeds = ", ".join(map(str, row.seeds if isinstance(row, Measured) else (row.seed,)))
    counted = f"{row.queries} queries" if isinstance(row, Measured) else f"{row.samples} samples"
    told = [f"protocol {row.protocol}, rules {row.rules}", f"seeds {seeds}", counted, *leak]
    return "; ".join([*told, f"weights {row.weights[:8]}", f"results.json {row.file[:12]}"])


def write_eval_results(path: Path, text: str) -> None:
    """Write the file. Raises FileExistsError where there is one with another content."""
    if path.exists() and path.read_text(encoding="utf-8") != text:
        raise FileExistsError(f"{path} exists already with other results: give another out=<file>")
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(text, encoding="utf-8")

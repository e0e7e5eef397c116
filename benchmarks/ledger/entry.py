"""From the `results.json` of a test to rows of the ledger."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from benchmarks.compare import known_protocol
from benchmarks.ledger.rows import AnyMeasured, Measured, said_by
from benchmarks.ledger.task_entry import task_entry
from benchmarks.protocols import get_protocol
from benchmarks.report import Report
from benchmarks.scores.scores import read_report, read_scores

RESULTS = "results.json"
SAME = 1e-9  # difference of a number from the one that its queries give


def entries(place: Path, note: str = "") -> list[AnyMeasured]:
    """One row for each fold of a run, after its numbers have been computed again from its queries; one of a task.

    Args:
        place: a run folder or its `results.json`.
        note: why a result that looks suspicious is right all the same.

    Raises:
        ValueError: the file is missing or broken, does not say what was tested, is of fewer episodes than the protocol
            asks or of other rules, or holds other numbers than its queries give.
    """
    path = place / RESULTS if place.is_dir() else place
    content = read_report(path)
    file = hashlib.sha256(path.read_bytes()).hexdigest()
    if "task" in content:
        return [task_entry(path, content, file, note)]
    record, protocol = content.get("run"), known_protocol(path)
    if protocol is None or not isinstance(record, dict) or "limit" not in record:
        raise ValueError(f"{path} does not say what was tested, as results of meta_test do now: test that run again")
    if record["limit"] is not None:
        raise ValueError(
            f"{path} is of {record['limit']} episodes of each fold, fewer than its protocol asks: test it without "
            "benchmark.test_episodes"
        )
    try:
        check_numbers(path, content)
        return [_entry(content, record, protocol, int(group), file, note) for group in record["groups"]]
    except (KeyError, TypeError, StopIteration) as error:
        raise ValueError(f"{path} has no {error}: test that run again") from error


def check_numbers(path: Path, content: Mapping[str, Any]) -> None:
    """Raise ValueError where a number of a report is not what its queries give."""
    protocol = content["protocol"]
    report = Report(tuple(read_scores(path)), protocol=protocol, bootstrap=0)
    stored = {(fold["group"], fold["probe"]): fold["estimates"][protocol] for fold in content["folds"]}
    for fold in report.folds:
        for measure, estimate in fold.estimates[protocol].items():
            said = stored.get((fold.group, fold.probe), {}).get(measure, {}).get("value")
            if not isinstance(said, (int, float)) or abs(said - estimate.value) > SAME:
                where = f"group {fold.group}" if fold.group is not None else "the mean"
                raise ValueError(
                    f"{path} says {measure} {said} of {where} {fold.probe}".rstrip()
                    + f", and its queries give {estimate.value}: the file was edited, test that run again"
                )


def _entry(
    content: Mapping[str, Any], record: Mapping[str, Any], protocol: str, group: int, file: str, note: str
) -> Measured:
    rules, facts = get_protocol(protocol), record["groups"][str(group)]
    of_group = {fold["probe"]: fold for fold in content["folds"] if fold["group"] == group}
    real = of_group[""]["estimates"][protocol]
    return Measured(
        protocol=rules.versioned,
        rules=rules.digest,
        **said_by(record, file, note),
        benchmark=record["benchmark"],
        adaptation=record.get("adaptation"),
        weights=facts["weights"],
        training=facts["training"],
        training_run=facts.get("training_run"),
        group=group,
        shots=record["shots"],
        seeds=of_group[""]["seeds"],
        trained_with_seed=record["trained_with_seed"],
        episodes=facts["episodes"],
        queries=of_group[""]["queries"],
        draws=record["draws"],
        manifest=record["manifest"],
        measures={m: {"value": real[m]["value"], "interval": real[m]["bootstrap"]} for m in rules.columns},
        probes={
            probe: {m: fold["estimates"][protocol][m]["value"] for m in rules.measures}
            for probe, fold in of_group.items()
            if probe
        },
        leak=facts["leak"],
        device=facts["device"],
    )

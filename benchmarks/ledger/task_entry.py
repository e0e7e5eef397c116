"""From the `results.json` of a test of a task to a row of the ledger."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from statistics import fmean
from typing import Any

from benchmarks.ledger.rows import MeasuredTask, said_by
from benchmarks.metrics.ris import RisAccumulator
from benchmarks.protocols.scored import task_rules

SAME = 1e-9  # difference of a number from the one that its parts give
AGAIN = "test that run again"


def task_entry(path: Path, content: Mapping[str, Any], file: str, note: str = "") -> MeasuredTask:
    """The row of a test, after those of its numbers whose parts it holds have been computed again.

    Args:
        path: of the results, for messages.
        content: of the results.
        file: hash of the results.
        note: why a result that looks suspicious is right all the same.

    Raises:
        ValueError: it has no numbers, does not say what was tested, is of some of the samples only or of other rules,
            or holds other numbers than its parts give.
    """
    record = content.get("run")
    if not content.get("measures"):
        raise ValueError(f"{path} has no numbers: a server of {content.get('benchmark')} computes them")
    if not isinstance(record, dict) or "leak" not in record or "protocol" not in content:
        raise ValueError(f"{path} does not say what was tested, as results of task_test do now: {AGAIN}")
    if record["limit"] is not None:
        raise ValueError(f"{path} is of the first {record['limit']} samples alone: test it without limit")
    rules = task_rules(content["protocol"])
    if content["protocol_digest"] != rules.digest:
        raise ValueError(
            f"{path} was counted by other rules of protocol {rules.name} (digest {content['protocol_digest']}, here "
            f"{rules.digest} for {rules.versioned}): {AGAIN}"
        )
    try:
        again = check_numbers(path, content)
        return MeasuredTask(
            protocol=rules.versioned,
            rules=rules.digest,
            **said_by(record, file, note),
            benchmark=content["benchmark"],
            weights=record["weights"],
            training=record["training"],
            training_run=record["training_run"],
            measures={name: {"value": value, "interval": None} for name, value in _known(content["measures"])},
            leak=record["leak"],
            device=record["device"],
            split=content["split"],
            test=record["test"],
            seed=record["seed"],
            samples=content["samples"],
            items=content["rows"],
            beside={part: dict(_known(values)) for part, values in content["beside"].items()},
            computed_again=again,
        )
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} has no {error}: {AGAIN}") from error


def check_numbers(path: Path, content: Mapping[str, Any]) -> list[str]:
    """The measures that are what their parts give. Raises ValueError for one that is not."""
    again = computed_again(content)
    for name, value in again.items():
        said = content["measures"].get(name)
        if said is None or abs(said - value) > SAME:
            raise ValueError(f"{path} says {name} {said}, and its parts give {value}: the file was edited, {AGAIN}")
    return list(again)


def computed_again(content: Mapping[str, Any]) -> dict[str, float]:
    """Measures that follow from what results hold of images, or of objects and expressions; of others nothing."""
    if content.get("areas"):
        score = RisAccumulator("uniref", content["areas"]).compute()
        precision = {f"P@{threshold:g}": value for threshold, value in score.precision.items()}
        return {"oIoU": score.overall_iou, "mIoU": score.mean_iou, **precision}
    if not content["objects"]:
        return {}
    parts: dict[str, list[tuple[float, float]]] = {}
    for name, pair in content["objects"].items():
        parts.setdefault(name.partition("/")[0] if content["parts"] else "", []).append(pair)
    j, f = (fmean(fmean(pair[k] for pair in pairs) for pairs in parts.values()) for k in (0, 1))
    mean = "-Mean" if "J-Mean" in content["measures"] else ""
    return {f"J&F{mean}": (j + f) / 2, f"J{mean}": j, f"F{mean}": f}


def _known(values: Mapping[str, float | None]) -> Iterator[tuple[str, float]]:
    """The numbers that there are: a mean over nothing is none."""
    return ((name, value) for name, value in values.items() if value is not None)

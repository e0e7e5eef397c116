"""The YAML file of a sweep, in the form that `wandb sweep` reads."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from episodes.hints import did_you_mean

METHODS = ("grid", "random", "bayes")
GOALS = ("maximize", "minimize")
RESULT = "optimized_metric"  # what a run returns to whoever searches
OF_WANDB = ("project", "entity", "description")  # where W&B shows the sweep, of no concern here
KEYS = ("method", "metric", "parameters", "command", "program", "name", "run_cap", "early_terminate", *OF_WANDB)
# Keys of W&B that change what runs, and which would be ignored in silence.
NOT_HERE = ("controller", "prior_runs", "job", "image_uri", "launch")


@dataclass(frozen=True)
class Sweep:
    """What a file of a sweep says.

    Attributes:
        path: the file.
        method: `grid`, `random` or `bayes`.
        metric: name of the number that is optimised: `optimized_metric`, or a column of `metrics.jsonl`.
        maximize: whether more of it is better.
        constants: values that all runs have in common, by key of the command line.
        parameters: what varies, by key of the command line, as written (`values`, `min`, `max`, ...).
        command: words of the command line with W&B's macros such as `${args_no_hyphens}`; empty: W&B's own.
        program: what `${program}` stands for.
        cap: number of runs, None where the file does not say it.
        early: rule that ends bad runs, as written; empty: none.
    """

    path: Path
    method: str
    metric: str
    maximize: bool
    constants: Mapping[str, Any]
    parameters: Mapping[str, Mapping[str, Any]]
    command: tuple[str, ...]
    program: str
    cap: int | None
    early: Mapping[str, Any]

    def record(self) -> dict[str, Any]:
        """What makes two sweeps the same one, as plain types."""
        return {
            "method": self.method,
            "metric": f"{self.metric}, {'maximize' if self.maximize else 'minimize'}",
            "parameters": {name: dict(spec) for name, spec in self.parameters.items()},
            "constants": dict(self.constants),
            "command": [*self.command, self.program],
            "early_terminate": dict(self.early),
        }


def read_sweep(path: Path) -> Sweep:
    """The sweep that a file describes.

    Raises:
        ValueError: the file is missing or damaged, or holds a key or a value that is not understood, which is named.
    """
    content = _table(_read(path), f"{path}")
    refuse_unknown(content, KEYS, f"{path}")
    method = content.get("method")
    if method not in METHODS:
        raise ValueError(f"{path}: method={method}: valid are {', '.join(METHODS)}")
    metric, maximize = _metric(content.get("metric"), path)
    specs = {
        name: _table(spec, f"{path}: parameters.{name}")
        for name, spec in _table(content.get("parameters"), f"{path}: parameters").items()
    }
    command = content.get("command", [])
    if not isinstance(command, list) or not (command or content.get("program")):
        raise ValueError(f"{path}: give `command:` as a list of words, such as - ${{env}} and - ${{args_no_hyphens}}")
    return Sweep(
        path=path,
        method=method,
        metric=metric,
        maximize=maximize,
        constants={name: _constant(name, spec, path) for name, spec in specs.items() if "value" in spec},
        parameters={name: spec for name, spec in specs.items() if "value" not in spec},
        command=tuple(map(str, command)),
        program=str(content.get("program", "")),
        cap=whole_number(content.get("run_cap"), f"{path}: run_cap"),
        early=_table(content.get("early_terminate", {}), f"{path}: early_terminate"),
    )


def refuse_unknown(content: Mapping[str, Any], valid: Collection[str], place: str) -> None:
    """Raise ValueError for a key that is not one of `valid`, with the one that was meant."""
    for key in content:
        if key in NOT_HERE:
            raise ValueError(f"{place}: {key} is W&B's own and has no effect here: take it out, or use `wandb sweep`")
        if key not in valid:
            raise ValueError(f"{place}: unknown key {key!r}.{did_you_mean(str(key), valid)} Valid: {', '.join(valid)}")


def whole_number(value: Any, place: str) -> int | None:
    """A whole number of at least 1, None for None. Raises ValueError for anything else."""
    if value is not None and (not isinstance(value, int) or isinstance(value, bool) or value < 1):
        raise ValueError(f"{place}={value}: give a whole number of at least 1")
    return value


def refuse_none(value: Any, place: str) -> None:
    """Raise ValueError for an empty value, which W&B's agent writes as the word None."""
    if value is None:
        raise ValueError(f'{place} has an empty value: write "null" in quotes, so that the command line says null')


def _read(path: Path) -> Any:
    try:
        return yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"sweep {path} cannot be read ({error}): give the path of a YAML file") from error
    except yaml.YAMLError as error:
        raise ValueError(f"sweep {path} is no YAML ({' '.join(str(error).split())})") from error


def _table(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{place}: give a table of keys and values, not {value!r}")
    return value


def _metric(written: Any, path: Path) -> tuple[str, bool]:
    """Name of the number, and whether more is better. Without a word of it: what a run returns, and more is better."""
    if written is None:
        return RESULT, True
    metric = _table(written, f"{path}: metric")
    refuse_unknown(metric, ("name", "goal"), f"{path}: metric")
    if metric.get("goal") not in GOALS:
        raise ValueError(f"{path}: metric.goal={metric.get('goal')}: valid are {', '.join(GOALS)}")
    return str(metric.get("name", RESULT)), metric["goal"] == "maximize"


def _constant(name: str, spec: Mapping[str, Any], path: Path) -> Any:
    place = f"{path}: parameters.{name}"
    refuse_unknown(spec, ("value", "distribution"), place)
    if spec.get("distribution", "constant") != "constant":
        raise ValueError(f"{place}: a value beside distribution={spec['distribution']}: give one of them")
    refuse_none(spec["value"], place)
    return spec["value"]

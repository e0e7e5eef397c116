"""The record of a test: what a colleague needs to know, and to compare, when the numbers are checked."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from episodes.episode import EpisodeSpec
from episodes.sampling.manifest import episodes_digest
from fewshot._origin import VERSION
from fewshot.evaluation.leak import Past
from fewshot.inference.training_run import training_run
from fewshot.run.console import device_line, versions
from fewshot.run.folder import git_commit
from fewshot.weights.trained_on import read_trained_on

if TYPE_CHECKING:
    from episodes.sources.task_source import TaskSource
    from fewshot.cli.runs import TaskTestConfig
    from fewshot.evaluation.benchmark import Benchmark
    from fewshot.evaluation.leak import Leak
    from fewshot.systems.base import System

# settings of a task that its results tell by themselves, or that change no number of it
SAID_ELSEWHERE = ("benchmark", "split", "score", "protocol", "probes")


def tested(system: nn.Module, specs: Sequence[EpisodeSpec]) -> dict[str, str]:
    """What was tested on a fold: hashes of the weights and of the episodes of all seeds, and the device."""
    return {
        "weights": weights_digest(system),
        "episodes": episodes_digest(specs),
        "device": _device(system),
    }


def weights_digest(system: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of all tensors; the same in whatever file they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(system.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def record(
    benchmark: Benchmark, seeds: Sequence[int], groups: Mapping[int, Mapping[str, Any]], leaks: Mapping[int, Leak]
) -> dict[str, Any]:
    """The record of a run, in plain types.

    Args:
        seeds: of the episodes.
        groups: of each fold, what `tested` gave.
        leaks: of each fold, its leak line.
    """
    config = benchmark.config
    manifest = getattr(config, "manifest", None)
    return {
        "system": config.system.name,
        "settings": asdict(config.system),
        "adaptation": asdict(config.adaptation) if config.adaptation.name != "none" else None,
        "benchmark": benchmark.name,
        "data": benchmark.source.fingerprint(),
        "draws": benchmark.settings.draws,
        "manifest": None if manifest is None else Path(manifest).name,
        "limit": benchmark.limit,
        "shots": config.shots,
        "seeds": list(seeds),
        "trained_with_seed": config.seed if config.trains else None,
        "groups": {str(group): {**facts, "leak": leaks[group].to_json()} for group, facts in groups.items()},
        **_program(),
    }


def past_of(config: TaskTestConfig) -> Past:
    """What the tested weights went through. Raises FileNotFoundError, CheckpointError as `read_trained_on`."""
    files = tuple(Path(file).name for place in config.system.places() if (file := getattr(config.system, place)))
    return Past(() if config.weights is None else read_trained_on(Path(config.weights).expanduser()), files)


def task_record(config: TaskTestConfig, source: TaskSource, system: System, past: Past, leak: Leak) -> dict[str, Any]:
    """The record of a test on a task, in plain types.

    Raises:
        FileNotFoundError, CheckpointError: the weights are no longer there, or damaged.
    """
    path = None if config.weights is None else Path(config.weights).expanduser()
    return {
        "system": config.system.name,
        "settings": asdict(config.system),
        "data": source.fingerprint(),
        "weights": weights_digest(system),
        "training": str(past),
        "training_run": None if path is None else training_run(path),
        "test": {name: value for name, value in asdict(config.task).items() if name not in SAID_ELSEWHERE},
        "leak": leak.to_json(),
        "seed": config.seed,
        "limit": config.limit,
        "device": _device(system),
        **_program(),
    }


def _program() -> dict[str, str]:
    """Package, commit, libraries and date."""
    now = datetime.now(timezone.utc).isoformat(timespec="seconds")
    return {"fewshot": VERSION, "commit": git_commit(), "versions": versions(), "date": now}


def _device(system: nn.Module) -> str:
    """The device of a system in words."""
    return device_line(next((parameter.device for parameter in system.parameters()), torch.device("cpu")))

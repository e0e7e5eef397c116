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
from fewshot.run.console import device_line, versions
from fewshot.run.folder import git_commit

if TYPE_CHECKING:
    from fewshot.evaluation.benchmark import Benchmark
    from fewshot.evaluation.leak import Leak


def tested(system: nn.Module, specs: Sequence[EpisodeSpec]) -> dict[str, str]:
    """What was tested on a fold: hashes of the weights and of the episodes of all seeds, and the device."""
    device = next((parameter.device for parameter in system.parameters()), torch.device("cpu"))
    return {
        "weights": weights_digest(system),
        "episodes": episodes_digest(specs),
        "device": device_line(device),
    }


def weights_digest(system: nn.Module) -> str:
    """SHA-256 over the names, types, shapes and values of all tensors; the same in whatever file they are stored."""
    digest = hashlib.sha256()
    for name, tensor in sorted(system.state_dict().items()):
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def record(benchmark: Benchmark, groups: Mapping[int, Mapping[str, str]], leaks: Mapping[int, Leak]) -> dict[str, Any]:
    """The record of a run, in plain types.

    Args:
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
        "limit": benchmark.settings.test_episodes,
        "shots": config.shots,
        "seeds": list(benchmark.seeds),
        "trained_with_seed": config.seed if config.trains else None,
        "groups": {str(group): {**facts, "leak": leaks[group].to_json()} for group, facts in groups.items()},
        "fewshot": VERSION,
        "commit": git_commit(),
        "versions": versions(),
        "date": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }

"""A rehearsal (`dry_run=true`): what a training will need, from a few measured steps, before it runs."""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Mapping, Sequence
from contextlib import closing
from datetime import timedelta
from pathlib import Path
from statistics import median
from typing import Any

import torch
from torch import Tensor

from fewshot.run import processes
from fewshot.run.console import device_line, parameter_line
from fewshot.training.loop import Trainer
from fewshot.training.progress import memory_gib

logger = logging.getLogger(__name__)
MEASURED = 4  # steps of each phase, the first of which is not counted: it waits for memory and for loading processes
MARGIN = 0.05  # of the memory that is to stay free


class DoesNotFit(RuntimeError):
    """The training needs more memory or disk than there is; the message says how much and what to do."""


def rehearse(trainer: Trainer, out: Path) -> dict[str, float]:
    """Measure a few steps of a training, and say what all of it will need. Nothing is saved; the weights change.

    Args:
        out: folder of the run, which need not exist.

    Returns `seconds` of the training without validation and test, `memory_gib` of a process at its highest, and
    `checkpoint_bytes` of all checkpoints.

    Raises:
        DoesNotFit: memory or disk do not suffice.
    """
    settings, world, device = trainer.settings, trainer.world, trainer.device
    refuse_weights(trainer)
    phases = {0: settings.prototype_steps} | {settings.prototype_steps: settings.steps - settings.prototype_steps}
    measured = step_seconds(trainer, [start for start, length in phases.items() if length])
    seconds = sum(phases[start] * each for start, each in measured.items())
    memory, there = memory_gib(device), total_gib(device)
    shared = world if device.type == "cpu" else 1
    disk = checkpoint_bytes(trainer)
    free = shutil.disk_usage(existing(out)).free
    steps = ", ".join(f"{1000 * value:.0f} ms" for value in measured.values())
    lines = {
        "device": f"{device_line(device)}, {world} process(es)",
        "parameters": parameter_line(trainer.system),
        "episodes": f"{world * settings.batch * settings.accumulate} a step: {world} process(es) x "
        f"train.batch={settings.batch} x train.accumulate={settings.accumulate}",
        "memory": f"{memory:.2f} GiB at its highest in each process, of {there:.1f} GiB",
        "a step": steps + (" (warm-up, then the rest)" if len(measured) > 1 else ""),
        "the training": f"{settings.steps} steps, about {timedelta(seconds=round(seconds))}, validation and test apart",
        "checkpoints": f"{disk / 2**20:,.0f} MiB, of {free / 2**20:,.0f} MiB free in {existing(out)}",
    }
    for name, value in lines.items():
        logger.info("%-13s: %s", name, value)
    if memory * shared > there:
        raise DoesNotFit(f"{shared} process(es) of {memory:.1f} GiB do not fit into {there:.1f} GiB: {SMALLER}")
    if disk > free:
        raise DoesNotFit(
            f"the checkpoints take {disk / 2**20:,.0f} MiB, and {existing(out)} has {free / 2**20:,.0f} MiB: give "
            "another out=<folder>, or a smaller train.keep_checkpoints"
        )
    return {"seconds": seconds, "memory_gib": memory, "checkpoint_bytes": disk}


SMALLER = "give a smaller train.batch with train.episodes_per_step as it was, smaller images or a smaller system"


def refuse_weights(trainer: Trainer) -> None:
    """Refuse weights, gradients and moments of AdamW that alone do not fit, before they are made."""
    sizes = [(p.numel() * p.element_size(), p.requires_grad) for p in trainer.system.parameters()]
    shares = trainer.world if trainer.settings.sharding == "fsdp" else 1
    least = sum(size * (4 if trained else 1) for size, trained in sizes) / 2**30 / shares
    there = total_gib(trainer.device)
    if least > there * (1 - MARGIN):
        raise DoesNotFit(f"weights, gradients and AdamW alone take {least:.1f} GiB of {there:.1f} GiB: {SMALLER}")


def step_seconds(trainer: Trainer, starts: Sequence[int]) -> dict[int, float]:
    """Seconds of a step after each of `starts` finished ones, loading included; the slowest process decides."""
    seconds: dict[int, list[float]] = {start: [] for start in starts}
    before = time.perf_counter()
    try:
        with closing(trainer.trial_steps(starts, MEASURED)) as steps:
            for start in steps:
                if trainer.device.type == "cuda":
                    torch.cuda.synchronize(trainer.device)
                now = time.perf_counter()
                seconds[start].append(now - before)
                before = now
    except torch.OutOfMemoryError as error:
        there = total_gib(trainer.device)
        raise DoesNotFit(f"a step does not fit into the {there:.1f} GiB of {trainer.device}: {SMALLER}") from error
    gathered = processes.gather({start: median(values[1:] or values) for start, values in seconds.items()})
    return {start: max(own[start] for own in gathered) for start in starts}


def total_gib(device: torch.device) -> float:
    """Memory of the GPU, or of this machine, in GiB."""
    if device.type == "cuda":
        return torch.cuda.get_device_properties(device).total_memory / 2**30
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30


def checkpoint_bytes(trainer: Trainer) -> int:
    """Bytes of all checkpoints at their most: those that are kept, one more while it is written, and the best."""
    weights = tensor_bytes(trainer.system.state_dict())
    full = weights + tensor_bytes(trainer.optimizer.state_dict())
    return full * (trainer.settings.keep_checkpoints + 1) + 2 * weights


def tensor_bytes(content: Any) -> int:
    """Bytes of all tensors in nested dictionaries and lists."""
    if isinstance(content, Tensor):
        return content.numel() * content.element_size()
    if isinstance(content, Mapping):
        return sum(map(tensor_bytes, content.values()))
    return sum(map(tensor_bytes, content)) if isinstance(content, (list, tuple)) else 0


def existing(folder: Path) -> Path:
    """The folder, or the nearest one above it that exists."""
    folder = folder.absolute()
    return next(place for place in (folder, *folder.parents) if place.is_dir())

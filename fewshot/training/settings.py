"""`TrainSettings`: everything that the training loop needs to know, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

import torch
import torch.distributed as dist

if TYPE_CHECKING:
    from fewshot.config.sections import TrainConfig
    from fewshot.systems.base import System

PRECISIONS = ("fp32", "bf16", "fp16")
SCHEDULES = ("step", "onecycle", "constant")
SHARDINGS = ("none", "fsdp")
SELECT_ON = ("val", "test", "last")

# What may change between a run and its continuation without changing what is learnt. `batch` and `accumulate` are
# replaced by the number of episodes per step, so that a run may go on with another number of processes.
FREE = (
    "batch",
    "accumulate",
    "checkpoint_every",
    "keep_checkpoints",
    "val_every",
    "log_every",
    "workers",
    "select",
    "sharding",
)


def micro_batches(train: TrainConfig, world: int) -> int:
    """Micro-batches of a step in each of `world` processes: so many that a step has the episodes that it is to have.

    Raises:
        ValueError: the processes cannot share them equally.
    """
    if train.episodes_per_step is None:
        return train.accumulate
    count, rest = divmod(train.episodes_per_step, world * train.batch)
    if rest:
        raise ValueError(
            f"train.episodes_per_step={train.episodes_per_step} is no multiple of {world} process(es) x "
            f"train.batch={train.batch}: give another train.batch, which may be 1, or another number of processes"
        )
    return count


@dataclass(frozen=True)
class TrainSettings:
    """Length and mechanics of a training run.

    Attributes:
        steps: optimiser steps.
        batch: episodes per process and micro-batch.
        accumulate: micro-batches per step.
        precision: `fp32`, or autocast to `bf16` or `fp16` (`fp16` needs a GPU); losses are always float32.
        sharding: `fsdp` shares weights, gradients and moments out among the processes; `none`: each has all of them.
        clip_norm: largest norm of the gradient; 0 leaves it as it is.
        lr: learning rate, handed to `System.parameter_groups`; the peak for `onecycle`.
        weight_decay: of AdamW, for all groups.
        schedule: `step` (x0.1 at the fractions `drop_at` of the run), `onecycle` (rises for `warmup_fraction` of the
            run, then falls by a cosine) or `constant`.
        seed: of dropout; the episodes have their own.
        checkpoint_every: steps between checkpoints; `keep_checkpoints` of them stay, and the best.
        val_every: steps between validations.
        log_every: steps between rows of the log.
        workers: processes that load episodes; their number never changes the episodes.
        pad_multiple: batches are padded to a multiple of this many pixels.
        select: on what the best checkpoint is chosen: `val` and `test` by `validate`, `last` takes the last one.
        prototype_steps: steps that learn features with the system's warm-up losses alone.
        prototype_weight: weight of these losses afterwards.
        teacher_decay: of a moving average of the weights (`fewshot.training.teacher`); 0: there is none.
    """

    steps: int
    batch: int = 1
    accumulate: int = 1
    precision: str = "fp32"
    sharding: str = "none"
    clip_norm: float = 0.1
    lr: float = 1e-4
    weight_decay: float = 5e-4
    schedule: str = "step"
    drop_at: tuple[float, ...] = (0.125, 0.2083)
    warmup_fraction: float = 0.1
    seed: int = 0
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    val_every: int = 200
    log_every: int = 20
    workers: int = 0
    pad_multiple: int = 32
    select: str = "val"
    prototype_steps: int = 0
    prototype_weight: float = 0.0
    teacher_decay: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop_at", tuple(self.drop_at))  # a list from a YAML file is as good
        for name in ("steps", "batch", "accumulate", "checkpoint_every", "keep_checkpoints", "val_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number of at least 1")
        for name, valid in (
            ("precision", PRECISIONS),
            ("schedule", SCHEDULES),
            ("sharding", SHARDINGS),
            ("select", SELECT_ON),
        ):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name}={getattr(self, name)!r}: valid are {', '.join(valid)}")

    @property
    def warms_up(self) -> bool:
        """Whether the system's warm-up losses are used at any step."""
        return self.prototype_steps > 0 or self.prototype_weight > 0

    def fingerprint(self, world: int) -> dict[str, Any]:
        """The settings that change what is learnt, with `world` processes; plain types."""
        kept = {f"train.{k}": v for k, v in asdict(self).items() if k not in FREE}
        kept["train.drop_at"] = list(self.drop_at)
        if not self.teacher_decay:  # runs from before there was one go on
            del kept["train.teacher_decay"]
        kept["train.episodes_per_step"] = world * self.batch * self.accumulate
        return kept


def check_fit(settings: TrainSettings, system: System, device: torch.device, *, validates: bool) -> None:
    """Refuse settings that do not fit the system, the device or the processes.

    Args:
        validates: whether the training can validate.

    Raises:
        ValueError: with what to do.
    """
    if settings.precision == "fp16" and device.type != "cuda":
        raise ValueError(f"precision=fp16 needs a GPU and the device is {device}: take bf16 or fp32")
    if settings.select != "last" and not validates:
        raise ValueError(f"select={settings.select} needs validation: give `validate`, or take select=last")
    if settings.warms_up and not system.has_warmup:
        raise ValueError(
            f"system {system.name!r} has no warm-up head (method `warmup_losses`): take train.prototype_fraction=0 and "
            "train.prototype_weight=0"
        )
    if settings.sharding == "fsdp":
        _check_sharding(settings, system)
    if settings.precision == "fp16" and system.kept_gradients():
        raise ValueError(
            f"system {system.name!r} keeps gradients from step to step (system.train_affinity=false), which the loss "
            "scaling of precision=fp16 would distort: take precision=fp32 or bf16"
        )


def _check_sharding(settings: TrainSettings, system: System) -> None:
    if settings.precision == "fp16" or system.kept_gradients():
        raise ValueError(
            "train.sharding=fsdp takes no precision=fp16 and no gradients that are kept from step to step "
            "(system.train_affinity=false): take bf16 or fp32, or train.sharding=none"
        )
    if settings.teacher_decay:
        raise ValueError("train.sharding=fsdp keeps no teacher: take train.teacher_decay=0, or train.sharding=none")
    if not (dist.is_available() and dist.is_initialized()):
        raise ValueError("train.sharding=fsdp shares weights among processes: start with torchrun")

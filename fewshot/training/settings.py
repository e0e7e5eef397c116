"""`TrainSettings`: everything that the training loop needs to know, as plain values."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

PRECISIONS = ("fp32", "bf16", "fp16")
SCHEDULES = ("step", "onecycle", "constant")
RECIPES = ("fixed", "official")
SELECT_ON = ("val", "test", "last")
WARMUPS = ("none", "prototype")

# What may change between a run and its continuation without changing what is learnt. `batch` and `accumulate` are
# replaced by the number of episodes per step, so that a run may go on with another number of processes.
FREE = ("batch", "accumulate", "checkpoint_every", "keep_checkpoints", "val_every", "log_every", "workers", "select")


@dataclass(frozen=True)
class TrainSettings:
    """Length and mechanics of a training run.

    Attributes:
        steps: optimiser steps.
        batch: episodes per process and micro-batch.
        accumulate: micro-batches per step.
        precision: `fp32`, or autocast to `bf16` or `fp16` (`fp16` needs a GPU); losses are always float32.
        clip_norm: largest norm of the gradient; 0 leaves it as it is.
        lr: learning rate, handed to `System.parameter_groups`; the peak for `onecycle`.
        weight_decay: of AdamW, for all groups.
        schedule: `step` (x0.1 at the shares `drop_at` of the run), `onecycle` (rises for `warmup_share` of the run,
            then falls by a cosine) or `constant`.
        seed: of dropout; the episodes have their own.
        checkpoint_every: steps between checkpoints; `keep_checkpoints` of them stay, and the best.
        val_every: steps between validations.
        log_every: steps between rows of the log.
        workers: processes that load episodes; their number never changes the episodes.
        pad_multiple: batches are padded to a multiple of this many pixels.
        recipe: `fixed`, or `official` for all of the official training behaviour.
        select: on what the best checkpoint is chosen: `val` and `test` by `validate`, `last` takes the last one.
        warmup: `prototype` learns features with a prototype head for `warmup_steps` steps, and adds its loss times
            `warmup_weight` afterwards.
    """

    steps: int
    batch: int = 1
    accumulate: int = 1
    precision: str = "fp32"
    clip_norm: float = 0.1
    lr: float = 1e-4
    weight_decay: float = 5e-4
    schedule: str = "step"
    drop_at: tuple[float, ...] = (0.125, 0.2083)
    warmup_share: float = 0.1
    seed: int = 0
    checkpoint_every: int = 200
    keep_checkpoints: int = 2
    val_every: int = 200
    log_every: int = 20
    workers: int = 0
    pad_multiple: int = 32
    recipe: str = "fixed"
    select: str = "val"
    warmup: str = "none"
    warmup_steps: int = 0
    warmup_weight: float = 0.0

    def __post_init__(self) -> None:
        object.__setattr__(self, "drop_at", tuple(self.drop_at))  # a list from a YAML file is as good
        for name in ("steps", "batch", "accumulate", "checkpoint_every", "keep_checkpoints", "val_every", "log_every"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name}={getattr(self, name)}: give a number of at least 1")
        for name, valid in (
            ("precision", PRECISIONS),
            ("schedule", SCHEDULES),
            ("recipe", RECIPES),
            ("select", SELECT_ON),
            ("warmup", WARMUPS),
        ):
            if getattr(self, name) not in valid:
                raise ValueError(f"{name}={getattr(self, name)!r}: valid are {', '.join(valid)}")
        if self.precision == "fp16" and self.recipe == "official":
            raise ValueError(
                "recipe=official keeps gradients from step to step, which the loss scaling of precision=fp16 would "
                "distort: take precision=fp32 (as the official code) or bf16"
            )

    @property
    def warms_up(self) -> bool:
        """Whether the system's warm-up loss is used at any step."""
        return self.warmup != "none" and (self.warmup_steps > 0 or self.warmup_weight > 0)

    def fingerprint(self, world: int) -> dict[str, Any]:
        """The settings that change what is learnt, with `world` processes; plain types."""
        kept = {f"train.{k}": v for k, v in asdict(self).items() if k not in FREE}
        kept["train.drop_at"] = list(self.drop_at)
        kept["train.episodes_per_step"] = world * self.batch * self.accumulate
        return kept

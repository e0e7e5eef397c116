"""AdamW over the groups of a system, its schedules, and the clipping of gradients."""

from __future__ import annotations

import math

from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.optim import AdamW, Optimizer
from torch.optim.lr_scheduler import LambdaLR, LRScheduler, MultiStepLR, OneCycleLR

from fewshot.systems.base import System
from fewshot.training.settings import TrainSettings


def make_optimizer(system: System, settings: TrainSettings) -> AdamW:
    """AdamW over `system.parameter_groups`.

    Raises:
        ValueError: no parameter is to be trained, or one stands in two groups (from torch, which names none).
    """
    groups = [g for g in system.parameter_groups(settings.lr) if len(g["params"]) > 0]
    if not any(p.requires_grad for group in groups for p in group["params"]):
        raise ValueError(f"system {system.name!r} has no parameter to train: every one of them is frozen")
    return AdamW(groups, lr=settings.lr, weight_decay=settings.weight_decay, fused=True)


def make_schedule(optimizer: Optimizer, settings: TrainSettings) -> LRScheduler:
    """The schedule named by `settings.schedule`, stepped once per optimiser step."""
    if settings.schedule == "step":
        drops = [round(fraction * settings.steps) for fraction in settings.drop_at]
        return MultiStepLR(optimizer, milestones=drops, gamma=0.1)
    if settings.schedule == "onecycle":
        peaks = [group["lr"] for group in optimizer.param_groups]
        rise = settings.warmup_fraction
        if rise * settings.steps == 1:  # of one step, which torch would divide by no steps
            rise = math.nextafter(rise, 0.0)
        return OneCycleLR(
            optimizer,
            max_lr=peaks,
            total_steps=settings.steps,
            pct_start=rise,
            cycle_momentum=False,
        )
    return LambdaLR(optimizer, lambda step: 1.0)


def clear_gradients(system: System, optimizer: Optimizer, keep: bool) -> None:
    """Forgets the gradients of the last step; with `keep` only of what the optimiser holds."""
    if keep:
        optimizer.zero_grad(set_to_none=True)
    else:
        system.zero_grad(set_to_none=True)


def clip_gradients(system: System, optimizer: Optimizer, clip_norm: float, keep: bool) -> Tensor:
    """Clips to `clip_norm` (0: not at all); the norm before, of what is trained or, with `keep`, of everything."""
    if keep:
        params = list(system.parameters())
    else:
        params = [p for group in optimizer.param_groups for p in group["params"]]
    limit = clip_norm if clip_norm > 0 else float("inf")
    norm = nn.utils.clip_grad_norm_(params, limit)
    return norm.full_tensor() if isinstance(norm, DTensor) else norm

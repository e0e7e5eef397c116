"""Activation checkpointing: recompute in the backward pass instead of storing."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from torch.utils.checkpoint import checkpoint


def run(function: Callable[..., Any], *args: Any, checkpointing: bool) -> Any:
    """`function(*args)`; with `checkpointing`, and while gradients are recorded, its activations are not stored."""
    if checkpointing and torch.is_grad_enabled():
        return checkpoint(function, *args, use_reentrant=False)
    return function(*args)

"""Portions in which layers work without gradients: what passes from one to the next stays in the cache of a CPU.

Memory is then bounded by the portion instead of the clip, and the time of layers that mostly move numbers falls.
"""

from __future__ import annotations

import sys

import torch

CACHED = 1 << 18  # float32 values of an activation, 1 MB


def rows_at_once(values: int, device: torch.device, cpu: int = CACHED, elsewhere: int = sys.maxsize) -> int:
    """How many rows of so many values are worked through at once, at least 1; all of them where gradients are kept.

    Args:
        cpu, elsewhere: values of a portion on a CPU, and on other devices, which need much work at once.
    """
    if torch.is_grad_enabled():
        return sys.maxsize
    return max(1, (cpu if device.type == "cpu" else elsewhere) // values)

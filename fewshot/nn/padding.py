"""Padding masks of feature levels. True is padding everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_padding(padding: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest resize of a padding mask: `(n, H, W) bool -> (n, h, w) bool`."""
    return F.interpolate(padding[:, None].float(), size, mode="nearest")[:, 0].bool()


def valid_ratios(paddings: Sequence[Tensor]) -> Tensor:
    """Share of each level's width and height that is not padding: levels of `(n, h, w)` to `(n, levels, 2)`."""
    return torch.stack([torch.stack([_share(p[:, 0, :]), _share(p[:, :, 0])], -1) for p in paddings], 1)


def _share(line: Tensor) -> Tensor:
    return (~line).sum(1).float() / line.shape[1]

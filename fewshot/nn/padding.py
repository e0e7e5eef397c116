"""Padding masks of feature levels. True is padding everywhere."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor


def resize_padding(padding: Tensor, size: tuple[int, int]) -> Tensor:
    """Nearest resize of a padding mask: `(n, H, W) bool -> (n, h, w) bool`."""
    return F.interpolate(padding[:, None].float(), size, mode="nearest")[:, 0].bool()


def level_paddings(padding: Tensor, sizes: Sequence[tuple[int, int]]) -> list[Tensor]:
    """Padding masks of four levels at strides 8 to 64 from that of the image, as UniRef makes them.

    The last one is resized from the first, not from the image: where height or width is an odd multiple of 32, the
    two differ, and released weights were trained so.
    """
    levels = [resize_padding(padding, size) for size in sizes[:-1]]
    return [*levels, resize_padding(levels[0], sizes[-1])]


def valid_ratios(paddings: Sequence[Tensor]) -> Tensor:
    """Share of each level's width and height that is not padding: levels of `(n, h, w)` to `(n, levels, 2)`."""
    return torch.stack([torch.stack([_share(p[:, 0, :]), _share(p[:, :, 0])], -1) for p in paddings], 1)


def _share(line: Tensor) -> Tensor:
    return (~line).sum(1).float() / line.shape[1]

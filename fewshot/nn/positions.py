"""Sine codes of positions: on the valid part of a padded image, on words, and of boxes.

Vaswani et al., Attention Is All You Need, 2017, section 3.5; on images as in DETR (Carion et al., 2020), on boxes as in
DAB-DETR (Liu et al., 2022). Sines and cosines alternate along the channels.
"""

from __future__ import annotations

import math

import torch
from torch import Tensor


def sine_2d(padding: Tensor, channels: int, temperature: float = 10000.0, *, clean: bool = False) -> Tensor:
    """Code of each pixel's position within the valid region: `(n, h, w) bool -> (n, channels, h, w)`.

    Pixel centres, as fractions of the valid extent times 2 pi; the first half of the channels codes y, the second x.

    Rows and columns that are all padding have no extent: their code is that of about -3e6 radians, which is rounding
    noise, and the order of the operations decides about it. Released weights were trained so. `clean` takes 1 for the
    extent there.
    """
    valid = (~padding).float()
    y, x = valid.cumsum(1), valid.cumsum(2)
    height, width = y[:, -1:, :], x[:, :, -1:]
    if clean:
        height, width = height.clamp(min=1), width.clamp(min=1)
    y = (y - 0.5) / (height + 1e-6) * (2 * math.pi)
    x = (x - 0.5) / (width + 1e-6) * (2 * math.pi)
    codes = torch.cat([_sines(y, channels // 2, temperature), _sines(x, channels // 2, temperature)], -1)
    return codes.permute(0, 3, 1, 2)


def sine_1d(padding: Tensor, channels: int, temperature: float = 10000.0) -> Tensor:
    """Code of each word's place in its text: `(n, L) bool -> (n, L, channels)`.

    The place counts from 1 (no half step, unlike `sine_2d`), as a fraction of the number of words, times 2 pi.
    """
    place = (~padding).float().cumsum(1)
    return _sines(place / (place[:, -1:] + 1e-6) * (2 * math.pi), channels, temperature)


def sine_box(boxes: Tensor, features: int, temperature: float = 10000.0, *, y_first: bool = True) -> Tensor:
    """Code of points or boxes in 0..1: `(..., 2 or 4) -> (..., features * 2 or 4)`.

    Coordinates come as `x, y[, w, h]`, their codes in the order y, x[, w, h] (DAB-DETR), or, without `y_first`, in the
    order in which they come (two-stage Deformable DETR).
    """
    if y_first:
        boxes = boxes[..., [1, 0, 2, 3][: boxes.shape[-1]]]
    return _sines(boxes * (2 * math.pi), features, temperature).flatten(-2)


def sine_in_time(moments: Tensor, size: tuple[int, int], channels: int) -> Tensor:
    """Code of each cell of a frame at its moment (UniVS, Li et al., CVPR 2024): `(n,) -> (n, channels, h, w)`.

    Cells count from 1, as fractions of the extent times 2 pi; the first half of the channels codes y, the second x, and
    the code of the moment, a fraction of the longest video, is added to all of them.
    """
    y, x = (torch.arange(1, n + 1, dtype=torch.float32, device=moments.device) / (n + 1e-6) for n in size)
    rows, columns = (_sines(place * (2 * math.pi), channels // 2, 10000.0) for place in (y, x))
    height, width = size
    place = torch.cat([rows[:, None].expand(-1, width, -1), columns[None].expand(height, -1, -1)], -1)
    moment = _sines(moments * (2 * math.pi), channels, 10000.0)
    return (place + moment[:, None, None]).permute(0, 3, 1, 2)


def sine_points_in_time(moments: Tensor, points: Tensor, channels: int) -> Tensor:
    """Code of points `x, y` in 0..1 at their moments, as `sine_in_time`: `(n,), (n, P, 2) -> (n, P, channels)`."""
    moment = _sines(moments * (2 * math.pi), channels, 10000.0)
    return sine_box(points, channels // 2) + moment[:, None]


def _sines(angle: Tensor, features: int, temperature: float) -> Tensor:
    index = torch.arange(features, dtype=torch.float32, device=angle.device)
    divisor = temperature ** (2 * torch.div(index, 2, rounding_mode="floor") / features)
    scaled = angle[..., None] / divisor
    return torch.stack([scaled[..., 0::2].sin(), scaled[..., 1::2].cos()], -1).flatten(-2)

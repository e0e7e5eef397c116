"""Box geometry in `cx, cy, w, h`, and generalised IoU."""

from __future__ import annotations

import torch
from torch import Tensor


def to_corners(boxes: Tensor) -> Tensor:
    """`(..., 4)` from `cx, cy, w, h` to `x0, y0, x1, y1`."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat([centre - half, centre + half], -1)


def generalised_iou(a: Tensor, b: Tensor, smooth: float = 1e-6) -> Tensor:
    """GIoU of boxes `cx, cy, w, h` (Rezatofighi et al., CVPR 2019): `(..., 4), (..., 4) -> (...)`, broadcast.

    Smoothed as in ReferFormer: `iou = (inter + s) / (union + s)`, `iou - (hull - union + s) / (hull + s)`. An empty
    box against an empty box thus gives a number (0), which invalid frames need.
    """
    a, b = to_corners(a), to_corners(b)
    inter = _area(torch.maximum(a[..., :2], b[..., :2]), torch.minimum(a[..., 2:], b[..., 2:]))
    union = _area(a[..., :2], a[..., 2:]) + _area(b[..., :2], b[..., 2:]) - inter
    hull = _area(torch.minimum(a[..., :2], b[..., :2]), torch.maximum(a[..., 2:], b[..., 2:]))
    return (inter + smooth) / (union + smooth) - (hull - union + smooth) / (hull + smooth)


def _area(low: Tensor, high: Tensor) -> Tensor:
    return (high - low).clamp(min=0).prod(-1)

"""Masks compared at some points instead of at every pixel (Kirillov et al., PointRend, CVPR 2020).

Legend: N masks, K points, (h, w) mask resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.systems.univs.draws import Draws


@dataclass(frozen=True)
class PointSampling:
    """How many points, and where.

    Attributes:
        count: K.
        oversample: of so many times as many points those of the least certain values are taken,
        importance: for this fraction of the points; the others lie anywhere.
    """

    count: int = 12544
    oversample: float = 3.0
    importance: float = 0.5

    def uncertain(self, logits: Tensor, draws: Draws) -> Tensor:
        """Points `(N, K, 2)` x, y in 0..1, many of them where masks `(N, h, w)` are near 0."""
        least = round(self.importance * self.count)
        anywhere = draws.points(len(logits), self.count - least).to(logits)
        if least == 0:
            return anywhere
        tried = draws.points(len(logits), int(self.oversample * self.count)).to(logits)
        best = at_points(logits, tried).abs().topk(least, largest=False, sorted=False).indices
        return torch.cat([tried.gather(1, best[..., None].expand(-1, -1, 2)), anywhere], 1)


def at_points(maps: Tensor, points: Tensor, mode: str = "bilinear") -> Tensor:
    """Values `(N, K)` of maps `(N, h, w)` at points `(N, K, 2)` x, y in 0..1; zero beyond the edge.

    Maps `(N, C, h, w)` share the points of their frame: `(N, C, K)`.
    """
    if maps.dim() == 3:
        return at_points(maps[:, None], points, mode)[:, 0]
    return F.grid_sample(maps, 2 * points[:, None] - 1, mode=mode, align_corners=False)[:, :, 0]

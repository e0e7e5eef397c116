"""Multi-scale deformable attention in plain PyTorch.

Zhu et al., Deformable DETR, ICLR 2021, section 4.1. Legend: n frames, q queries, C channels, heads, L levels, P points
per level, s = sum of h * w over the levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn


class DeformableAttention(nn.Module):
    """Each query looks at `points` places per level and head, near its reference, and sums what it finds."""

    def __init__(self, dim: int, heads: int = 8, levels: int = 4, points: int = 4) -> None:
        super().__init__()
        if dim % heads:
            raise ValueError(f"dim {dim} must be a multiple of heads {heads}")
        self.heads, self.levels, self.points = heads, levels, points
        self.sampling_offsets = nn.Linear(dim, heads * levels * points * 2)
        self.attention_weights = nn.Linear(dim, heads * levels * points)
        self.value_proj, self.output_proj = nn.Linear(dim, dim), nn.Linear(dim, dim)
        self._initialise()

    def _initialise(self) -> None:
        """Offsets start on a ring: one direction per head, one step further per point; weights start equal."""
        angles = torch.arange(self.heads, dtype=torch.float32) * (2 * math.pi / self.heads)
        ring = torch.stack([angles.cos(), angles.sin()], -1)
        ring = ring / ring.abs().max(-1, keepdim=True).values
        steps = torch.arange(1, self.points + 1, dtype=torch.float32)
        bias = ring[:, None, None, :] * steps[:, None]
        for linear in (self.sampling_offsets, self.attention_weights):
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        with torch.no_grad():
            self.sampling_offsets.bias.copy_(bias.expand(-1, self.levels, -1, -1).flatten())
        for linear in (self.value_proj, self.output_proj):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def forward(
        self,
        query: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: Sequence[tuple[int, int]],
        padding: Tensor | None = None,
    ) -> Tensor:
        """Sample the memory around each query's reference: `(n, q, C)`.

        Args:
            query: `(n, q, C)`.
            references: `(n, q, L, 2)` points or `(n, q, L, 4)` boxes (cx, cy, w, h) in 0..1 of each padded level.
            memory: `(n, s, C)` features of the levels, one after the other.
            shapes: `(h, w)` of each level.
            padding: `(n, s)` bool, True where nothing is to be found.
        """
        value = self.value_proj(memory)
        if padding is not None:
            value = value.masked_fill(padding[..., None], 0.0)
        value = rearrange(value, "n s (heads c) -> (n heads) c s", heads=self.heads)
        maps = value.split([h * w for h, w in shapes], -1)
        grid = rearrange(2 * self.locations(query, references, shapes) - 1, "n q heads l p xy -> l (n heads) q p xy")
        weights = rearrange(self.weights(query), "n q heads l p -> l (n heads) 1 q p")
        found = value.new_zeros(())
        for level, (h, w) in enumerate(shapes):
            sampled = F.grid_sample(
                maps[level].unflatten(-1, (h, w)),
                grid[level],
                mode="bilinear",
                padding_mode="zeros",
                align_corners=False,
            )
            # without gradients in place: what was sampled of a long clip takes gigabytes
            in_place = not torch.is_grad_enabled() and sampled.dtype == weights.dtype
            weighted = sampled.mul_(weights[level]) if in_place else sampled * weights[level]
            found = found + weighted.sum(-1)
        return self.output_proj(rearrange(found, "(n heads) c q -> n q (heads c)", heads=self.heads))

    def weights(self, query: Tensor) -> Tensor:
        """Attention over all levels and points: `(n, q, heads, L, P)`."""
        logits = rearrange(self.attention_weights(query), "n q (heads k) -> n q heads k", heads=self.heads)
        return logits.softmax(-1).unflatten(-1, (self.levels, self.points))

    def locations(self, query: Tensor, references: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Sampling points in 0..1 of each level: `(n, q, heads, L, P, 2)`.

        Offsets count cells from a reference point, and half box sizes / `points` from a reference box.
        """
        split = (self.heads, self.levels, self.points, 2)
        offsets = self.sampling_offsets(query).unflatten(-1, split)
        at = references[:, :, None, :, None]
        if references.shape[-1] == 2:
            cells = torch.tensor([(w, h) for h, w in shapes], device=query.device, dtype=offsets.dtype)
            return at + offsets / cells[:, None]
        return at[..., :2] + offsets / self.points * at[..., 2:] * 0.5

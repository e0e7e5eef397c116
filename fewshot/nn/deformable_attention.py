"""Multi-scale deformable attention in plain PyTorch.

Zhu et al., Deformable DETR, ICLR 2021, section 4.1. Legend: n frames, q queries, C channels, heads, L levels, P points
per level, s = sum of h * w over the levels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from itertools import accumulate

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
        at, weights = self.locations(query, references, shapes), self.weights(query)
        values = value.unflatten(-1, (self.heads, -1))
        gathers = value.device.type == "cpu" and not torch.is_grad_enabled()
        return self.output_proj((gathered if gathers else sampled)(values, shapes, at, weights).flatten(2))

    def weights(self, query: Tensor) -> Tensor:
        """Attention over all levels and points: `(n, q, heads, L, P)`."""
        logits = rearrange(self.attention_weights(query), "n q (heads k) -> n q heads k", heads=self.heads)
        return logits.softmax(-1).unflatten(-1, (self.levels, self.points))

    def locations(self, query: Tensor, references: Tensor, shapes: Sequence[tuple[int, int]]) -> Tensor:
        """Sampling points in 0..1 of each level: `(n, q, heads, L, P, 2)`.

        Offsets count cells from a reference point, and half box sizes / `points` from a reference box.
        """
        grid = (*references.shape[:2], self.heads, self.levels, self.points, 2)
        # one long row for each query: loops over the two numbers of a point would take twice the time
        at = references[:, :, None, :, None, :2].expand(grid).flatten(2)
        offsets = self.sampling_offsets(query)
        if references.shape[-1] == 2:
            cells = torch.tensor([(w, h) for h, w in shapes], device=query.device, dtype=offsets.dtype)
            return (at + offsets / cells[:, None].expand(grid[2:]).flatten()).view(grid)
        sizes = references[:, :, None, :, None, 2:].expand(grid).flatten(2)
        return (at + offsets / self.points * sizes * 0.5).view(grid)


def sampled(values: Tensor, shapes: Sequence[tuple[int, int]], at: Tensor, weights: Tensor) -> Tensor:
    """Weighted sum of what lies at the sampling points, between cells bilinearly, nothing outside of a level.

    Args:
        values: `(n, s, heads, c)`.
        shapes: `(h, w)` of each level.
        at: `(n, q, heads, L, P, 2)` x and y in 0..1 of each level.
        weights: `(n, q, heads, L, P)`.

    Returns:
        `(n, q, heads, c)`.
    """
    heads = values.shape[2]
    maps = rearrange(values, "n s heads c -> (n heads) c s").split([h * w for h, w in shapes], -1)
    grid = rearrange(2 * at - 1, "n q heads l p xy -> l (n heads) q p xy")
    weights = rearrange(weights, "n q heads l p -> l (n heads) 1 q p")
    found = values.new_zeros(())
    for level, (h, w) in enumerate(shapes):
        cells = maps[level].unflatten(-1, (h, w))
        points = F.grid_sample(cells, grid[level], mode="bilinear", padding_mode="zeros", align_corners=False)
        # without gradients in place: the points of a long clip take gigabytes
        in_place = not torch.is_grad_enabled() and points.dtype == weights.dtype
        found = found + (points.mul_(weights[level]) if in_place else points * weights[level]).sum(-1)
    return rearrange(found, "(n heads) c q -> n q heads c", heads=heads)


def gathered(values: Tensor, shapes: Sequence[tuple[int, int]], at: Tensor, weights: Tensor) -> Tensor:
    """The same as `sampled`, frame by frame and by rows of `values`: on a CPU in less than half the time.

    A point lies between four cells: its value is the sum of their rows with the shares of bilinear interpolation, and
    a query's answer one sum over the four cells of all of its points.
    """
    _, s, heads, c = values.shape
    points, at = at.shape[-2], at.float()  # whole numbers of cells need more digits than bfloat16 has
    heights, widths = (at.new_tensor(sides).repeat_interleave(points) for sides in zip(*shapes, strict=True))
    starts = torch.tensor([0, *accumulate(h * w for h, w in shapes[:-1])], dtype=torch.int32).repeat_interleave(points)
    firsts = starts * heads + torch.arange(heads, dtype=torch.int32)[:, None]  # row of the first cell of each level
    line = (widths * heads).int()  # rows of `table` from a cell to the one below it
    rows = torch.empty(at.shape[1], heads, 4, len(widths), dtype=torch.int32)
    shares = torch.empty_like(rows, dtype=torch.promote_types(weights.dtype, at.dtype))
    found = []
    for cells, places, parts in zip(values, at.flatten(3, 4), weights.flatten(3), strict=True):
        columns = neighbours(places[..., 0] * widths - 0.5, widths - 1)
        for i, (y, y_share) in enumerate(neighbours(places[..., 1] * heights - 0.5, heights - 1)):
            start, part = y * line + firsts, y_share * parts
            for j, (x, x_share) in enumerate(columns):
                torch.add(start, x, alpha=heads, out=rows[:, :, 2 * i + j])
                torch.mul(part, x_share, out=shares[:, :, 2 * i + j])
        table = cells.reshape(s * heads, c)
        share = shares.flatten(2).flatten(0, 1).to(table.dtype)
        summed = F.embedding_bag(rows.flatten(2).flatten(0, 1), table, mode="sum", per_sample_weights=share)
        found.append(summed.view(-1, heads, c))
    return torch.stack(found)


def neighbours(at: Tensor, last: Tensor) -> tuple[tuple[Tensor, Tensor], tuple[Tensor, Tensor]]:
    """Cells to both sides of positions on one axis, each with its share of the interpolation, 0 beyond the ends.

    Args:
        at: positions, in cells.
        last: index of the last cell of the axis.
    """
    low = at.floor().nan_to_num(0.0)  # a cell that exists, while what is not a number stays in the shares
    share, high = at - low, low + 1
    kept_low, kept_high = low.clamp(min=0).minimum(last), high.clamp(min=0).minimum(last)
    low_share, high_share = (1 - share) * (kept_low == low), share * (kept_high == high)
    return (kept_low.int(), low_share), (kept_high.int(), high_share)

"""Backbone features to one width at four levels."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn

from fewshot.nn.norms import group_norm


class LevelProjection(nn.Module):
    """Features at strides 8, 16 and 32 to `dim` channels, and a fourth level at stride 64 (Deformable DETR, 2021).

    The fourth level comes from the raw stride-32 feature, not from its projection.
    """

    def __init__(self, channels: Sequence[int], dim: int) -> None:
        super().__init__()
        convs = [nn.Conv2d(c, dim, 1) for c in channels] + [nn.Conv2d(channels[-1], dim, 3, stride=2, padding=1)]
        for conv in convs:
            nn.init.xavier_uniform_(conv.weight)
            assert conv.bias is not None
            nn.init.zeros_(conv.bias)
        self.levels = nn.ModuleList(nn.Sequential(conv, group_norm(dim, 32)) for conv in convs)

    def forward(self, maps: Sequence[Tensor]) -> list[Tensor]:
        """`(n, C_l, h_l, w_l)` at strides 8, 16, 32 to four levels `(n, dim, h_l, w_l)`."""
        inputs = [*maps, maps[-1]]
        return [level(x) for level, x in zip(self.levels, inputs, strict=True)]

"""Group normalisation whose group count fits the width."""

from __future__ import annotations

from torch import nn


def group_norm(channels: int, groups: int) -> nn.GroupNorm:
    """`groups` groups where each then holds at least 8 channels, else the largest count below that divides."""
    count = max(1, min(groups, channels // 8))
    while channels % count:
        count -= 1
    return nn.GroupNorm(count, channels)

"""Photometric distortion per frame, as in SSD (Liu et al., ECCV 2016, section 2.2) and CMA's data set."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

BRIGHTNESS = 32.0  # added, +- this, of 255


@dataclass(frozen=True)
class ColourRanges:
    """How far colours are distorted.

    Attributes:
        contrast, saturation: least and largest factor.
        hue: degrees, +- this.
        reordered: probability of another order of the channels.
        clipped: brightness ends at 0 and 255 before contrast is changed.
    """

    contrast: tuple[float, float] = (0.5, 1.5)
    saturation: tuple[float, float] = (0.5, 1.5)
    hue: float = 18.0
    reordered: float = 0.5
    clipped: bool = False


WIDE = ColourRanges()  # ReferFormer and CMA
GENTLE = ColourRanges((0.8, 1.2), (0.8, 1.2), 0.0, 0.2, clipped=True)  # SgMg


def distort(
    frames: Tensor,
    generator: torch.Generator,
    wrap: bool = False,
    ranges: ColourRanges = WIDE,
    alike: bool = False,
) -> Tensor:
    """Change brightness, contrast, saturation, hue and channel order of each frame by its own draw.

    Each part has probability 0.5 but for the order; contrast comes before or after saturation and hue.

    Args:
        frames: `(T, 3, H, W)` uint8.
        generator: for all draws; their number does not depend on their values.
        wrap: CMA's released code casts to uint8 without clipping, so that bright parts turn dark; False clips.
        ranges: of the changes.
        alike: one draw for all frames.

    Returns:
        `(T, 3, H, W)` uint8.
    """
    count = len(frames)
    chances, amounts, ranks = (torch.rand(1 if alike else count, n, generator=generator) for n in (6, 4, 3))
    chances, amounts, ranks = (draws.expand(count, -1) for draws in (chances, amounts, ranks))
    coins, orders = chances < 0.5, ranks.argsort(1)
    brightness = torch.where(coins[:, 0], (2 * amounts[:, 0] - 1) * BRIGHTNESS, 0.0)
    contrast = torch.where(coins[:, 1], torch.lerp(*_ends(ranges.contrast), amounts[:, 1]), 1.0)
    saturation = torch.where(coins[:, 2], torch.lerp(*_ends(ranges.saturation), amounts[:, 2]), 1.0)
    turns = coins[:, 3] & (ranges.hue > 0)
    hue = torch.where(turns, (2 * amounts[:, 3] - 1) * ranges.hue, 0.0)
    early = coins[:, 4]

    x = frames.float() + _over(brightness)
    if ranges.clipped:
        x.clamp_(0, 255)
    x *= _over(torch.where(early, contrast, 1.0))
    turned = coins[:, 2] | turns
    if turned.any():
        x[turned] = shift_hsv(x[turned], hue[turned], saturation[turned], clip=not wrap)
    x *= _over(torch.where(early, 1.0, contrast))
    channels = torch.where(chances[:, 5, None] < ranges.reordered, orders, torch.arange(3))
    x = torch.stack([frame[order] for frame, order in zip(x, channels, strict=True)])
    return x.trunc().remainder(256).to(torch.uint8) if wrap else x.clamp_(0, 255).round_().to(torch.uint8)


def shift_hsv(x: Tensor, hue: Tensor, saturation: Tensor, clip: bool = True) -> Tensor:
    """Turn the hue and scale the saturation.

    Args:
        x: `(T, 3, H, W)` float RGB of any range.
        hue: `(T,)` degrees to add.
        saturation: `(T,)` factors.
        clip: keep the saturation within 0..1.
    """
    red, green, blue = x.unbind(1)
    value, low = x.amax(1), x.amin(1)
    spread = value - low
    safe = torch.where(spread > 0, spread, 1.0)
    sector = torch.where(
        value == red,
        (green - blue) / safe,
        torch.where(value == green, 2 + (blue - red) / safe, 4 + (red - green) / safe),
    )
    chroma = spread * saturation[:, None, None]
    if clip:
        chroma = torch.minimum(chroma, value.clamp(min=0))
    angle = sector + hue[:, None, None] / 60
    planes = []
    for offset in (5, 3, 1):  # red, green, blue: v - c max(0, min(k, 4 - k, 1)) with k = offset + angle mod 6
        k = (angle + offset).remainder_(6)
        planes.append(value - torch.minimum(k, 4 - k).clamp_(0, 1).mul_(chroma))
    return torch.stack(planes, 1)


def _over(factors: Tensor) -> Tensor:
    return factors[:, None, None, None]


def _ends(interval: tuple[float, float]) -> tuple[Tensor, Tensor]:
    return torch.tensor(interval[0]), torch.tensor(interval[1])

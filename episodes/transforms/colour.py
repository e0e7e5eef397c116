"""Photometric distortion per frame, as in SSD (Liu et al., ECCV 2016, section 2.2) and CMA's data set."""

from __future__ import annotations

import torch
from torch import Tensor

BRIGHTNESS = 32.0  # added, +- this, of 255
CONTRAST = SATURATION = (0.5, 1.5)  # factors
HUE = 18.0  # degrees, +- this


def distort(frames: Tensor, generator: torch.Generator, wrap: bool = False) -> Tensor:
    """Change brightness, contrast, saturation, hue and channel order of each frame by its own draw.

    Each part has probability 0.5; contrast comes before or after saturation and hue.

    Args:
        frames: `(T, 3, H, W)` uint8.
        generator: for all draws; their number does not depend on their values.
        wrap: CMA's released code casts to uint8 without clipping, so that bright parts turn dark; False clips.

    Returns:
        `(T, 3, H, W)` uint8.
    """
    count = frames.shape[0]
    coins = torch.rand(count, 6, generator=generator) < 0.5
    amounts = torch.rand(count, 4, generator=generator)
    orders = torch.rand(count, 3, generator=generator).argsort(1)
    brightness = torch.where(coins[:, 0], (2 * amounts[:, 0] - 1) * BRIGHTNESS, 0.0)
    contrast = torch.where(coins[:, 1], torch.lerp(*_ends(CONTRAST), amounts[:, 1]), 1.0)
    saturation = torch.where(coins[:, 2], torch.lerp(*_ends(SATURATION), amounts[:, 2]), 1.0)
    hue = torch.where(coins[:, 3], (2 * amounts[:, 3] - 1) * HUE, 0.0)
    early = coins[:, 4]

    x = frames.float() + _over(brightness)
    x *= _over(torch.where(early, contrast, 1.0))
    turned = coins[:, 2] | coins[:, 3]
    if turned.any():
        x[turned] = shift_hsv(x[turned], hue[turned], saturation[turned], clip=not wrap)
    x *= _over(torch.where(early, 1.0, contrast))
    channels = torch.where(coins[:, 5, None], orders, torch.arange(3))
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

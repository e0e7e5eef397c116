"""Masks learnt from boxes: a mask must fill its box, and neighbours of one colour belong together.

Tian et al., BoxInst: High-Performance Instance Segmentation with Box Annotations, CVPR 2021, sections 3.2 and 3.3.
Legend: n images, P masks, (H, W) network size, (h, w) mask resolution, 8 neighbours of each pixel.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

DILATION = 2  # cells from a pixel to its neighbours
THRESHOLD = 0.3  # similarity from which two pixels count as one thing

# CIE 1931 observer of 2 degrees, illuminant D65
XYZ_OF_RGB = ((0.412453, 0.357580, 0.180423), (0.212671, 0.715160, 0.072169), (0.019334, 0.119193, 0.950227))
WHITE = (0.95047, 1.0, 1.08883)


def rgb_to_lab(images: Tensor) -> Tensor:
    """CIE L*a*b* of sRGB images: `(n, 3, h, w)` in 0..1 to `(n, 3, h, w)`, L in 0..100, a and b about -128..128."""
    linear = torch.where(images > 0.04045, ((images.clamp(min=0) + 0.055) / 1.055) ** 2.4, images / 12.92)
    xyz = torch.einsum("ij,njhw->nihw", images.new_tensor(XYZ_OF_RGB), linear)
    xyz = xyz / images.new_tensor(WHITE)[:, None, None]
    x, y, z = torch.where(xyz > 0.008856, xyz.clamp(min=0) ** (1 / 3), 7.787 * xyz + 16 / 116).unbind(1)
    return torch.stack([116 * y - 16, 500 * (x - y), 200 * (y - z)], 1)


def neighbours(maps: Tensor) -> Tensor:
    """The 8 neighbours of every pixel, `DILATION` cells away, zeros outside: `(n, c, h, w) -> (n, c, 8, h, w)`."""
    patches = F.unfold(maps, 3, dilation=DILATION, padding=DILATION)
    patches = rearrange(patches, "n (c k) (h w) -> n c k h w", k=9, h=maps.shape[-2])
    return torch.cat([patches[:, :, :4], patches[:, :, 5:]], 2)


@torch.no_grad()
def colour_similarity(colours: Tensor, known: Tensor) -> Tensor:
    """`exp(-|difference| / 2)` of each pixel's colour and its neighbours' (eq. 6), zero where a neighbour is not known.

    Args:
        colours: `(n, 3, h, w)` L*a*b*.
        known: `(n, h, w)` bool, False on padding and whatever else shall not count.

    Returns:
        `(n, 8, h, w)` in 0..1.
    """
    difference = (colours[:, :, None] - neighbours(colours)).norm(dim=1)
    return torch.exp(-0.5 * difference) * neighbours(known[:, None].float())[:, 0]


def pairwise_loss(logits: Tensor, similarity: Tensor, boxes: Tensor) -> Tensor:
    """Neighbours of one colour shall have one label (eq. 5): mean over the similar pairs whose pixel is in the box.

    Args:
        logits: `(P, h, w)`; similarity: `(P, 8, h, w)` of the masks' images; boxes: `(P, h, w)` 0 or 1.
    """
    inside, outside = F.logsigmoid(logits)[:, None], F.logsigmoid(-logits)[:, None]
    both_inside, both_outside = (x[:, 0, None] + neighbours(x)[:, 0] for x in (inside, outside))
    counted = (similarity >= THRESHOLD) * boxes[:, None]
    return -(torch.logaddexp(both_inside, both_outside) * counted).sum() / counted.sum().clamp(min=1)


def projection_loss(logits: Tensor, boxes: Tensor) -> Tensor:
    """Dice of the shadows that mask and box cast on both axes (eq. 2): `(P, h, w), (P, h, w) -> (P,)`."""
    p = logits.sigmoid()
    along_x, along_y = (_dice(p.max(axis).values, boxes.max(axis).values) for axis in (1, 2))
    return along_x + along_y


def _dice(p: Tensor, t: Tensor) -> Tensor:
    return 1 - 2 * (p * t).sum(-1) / (p.square().sum(-1) + t.square().sum(-1) + 1e-5)


def fill_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks `(M, H, W)` bool of boxes `(M, 4)` `x0, y0, x1, y1` in pixels: whole pixels, right and bottom included."""
    (height, width), device = size, boxes.device
    x0, y0 = boxes[:, :2].int()[..., None].unbind(1)
    x1, y1 = (boxes[:, 2:] + 1).int()[..., None].unbind(1)
    y, x = torch.arange(height, device=device), torch.arange(width, device=device)
    return ((y >= y0) & (y < y1))[:, :, None] & ((x >= x0) & (x < x1))[:, None]

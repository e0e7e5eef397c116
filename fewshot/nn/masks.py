"""Masks of clips on the pixels of the network input.

Legend: N clips, S frames, (H, W) padded network size, (Hm, Wm) a mask's own size.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch


def masks_at_frames(clips: ClipBatch) -> Iterator[Tensor]:
    """Of each support clip, its masks `(S, 1, h, w)` float 0/1 at the unpadded size of its frames, resized by nearest.

    Raises:
        ValueError: a clip has no masks.
    """
    for n, mask in enumerate(clips.masks):
        if mask is None:
            raise ValueError(f"support clip {n} has no masks: every support must show the object it stands for")
        size = tuple(int(v) for v in clips.sizes[n])
        masks = mask[:, None].float()
        yield masks if tuple(mask.shape[-2:]) == size else F.interpolate(masks, size)


def pad_to_frames(maps: Tensor, clips: ClipBatch) -> Tensor:
    """Maps `(S, c, h, w)` with zeros at the bottom and right, up to the padded size of the frames."""
    height, width = clips.frames.shape[-2:]
    return F.pad(maps, (0, width - maps.shape[-1], 0, height - maps.shape[-2]))


def cells_of(maps: Tensor, stride: int, size: tuple[int, int], patches: bool) -> Tensor:
    """Mean of maps of pixels `(n, c, H, W)` around each cell of a feature map: `(n, c, *size)`.

    `patches` as of `Backbone`. What lies beyond the frame is 0.
    """
    if patches:
        return F.adaptive_avg_pool2d(maps, size)
    before = stride // 2
    return F.avg_pool2d(F.pad(maps, (before, stride, before, stride)), stride)[..., : size[0], : size[1]]


def pixels_of(maps: Tensor, stride: int, size: tuple[int, int], patches: bool) -> Tensor:
    """Maps of the cells of a feature map `(n, c, h, w)`, bilinearly, as maps of pixels `(n, c, *size)`.

    `patches` as of `Backbone`: cells at every `stride`-th pixel that are taken for patches would come out half a cell
    too far to the right and down.
    """
    h, w = maps.shape[-2:]
    if patches:
        large = F.interpolate(maps, (h * stride, w * stride), mode="bilinear", align_corners=False)
    else:
        beyond = F.pad(maps, (0, 1, 0, 1), mode="replicate")
        large = F.interpolate(beyond, (h * stride + 1, w * stride + 1), mode="bilinear", align_corners=True)
    return large[..., : size[0], : size[1]]


def padded_masks(clips: ClipBatch) -> Tensor:
    """Masks of support clips on the pixels of their padded frames: `(N, S, H, W)` float 0/1, 0 on the padding."""
    return torch.stack([pad_to_frames(masks, clips)[:, 0] for masks in masks_at_frames(clips)])

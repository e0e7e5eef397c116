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


def padded_masks(clips: ClipBatch) -> Tensor:
    """Masks of support clips on the pixels of their padded frames: `(N, S, H, W)` float 0/1, 0 on the padding."""
    return torch.stack([pad_to_frames(masks, clips)[:, 0] for masks in masks_at_frames(clips)])

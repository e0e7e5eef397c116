"""Mask losses on whole clips, for systems that give one mask per clip."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch


def clip_mask_loss(logits: Tensor, queries: ClipBatch, num_frames: float | None = None) -> Tensor:
    """Binary cross entropy, mean over the known pixels of a frame, summed over all frames and divided by `num_frames`.

    Args:
        logits: `(N, T, h, w)` for the padded frames of `queries`; resized bilinearly to the network size, cropped to
            each clip's unpadded size and compared with its masks (which must have that size, as in training).
        num_frames: the normaliser of the step; None counts the visible target frames of this batch.
    """
    if num_frames is None:
        num_frames = visible_frames(queries)
    full = F.interpolate(logits, tuple(queries.frames.shape[-2:]), mode="bilinear", align_corners=False)
    total = logits.new_zeros(())
    for n, mask in enumerate(queries.masks):
        if mask is None:
            raise ValueError(f"query clip {n} has no target masks to learn from")
        height, width = mask.shape[-2:]
        per_pixel = F.binary_cross_entropy_with_logits(
            full[n, :, :height, :width].float(), mask.float(), reduction="none"
        )
        ignore = queries.ignore[n] if queries.ignore else None
        total = total + _mean(per_pixel, ignore).sum()
    return total / num_frames


def _mean(per_pixel: Tensor, ignore: Tensor | None) -> Tensor:
    """Mean of `(T, H, W)` over the pixels of each frame that are not ignored: `(T,)`."""
    if ignore is None:
        return per_pixel.mean((1, 2))
    return (per_pixel * ~ignore).sum((1, 2)) / (~ignore).sum((1, 2)).clamp(min=1)


def target_masks(queries: ClipBatch) -> list[Tensor]:
    """The masks of each query clip, `(T, h, w)` bool at the unpadded size of its frames.

    Raises:
        ValueError: a clip has no masks, or masks of another size than its frames.
    """
    masks = []
    for n, (mask, unpadded) in enumerate(zip(queries.masks, queries.sizes.tolist(), strict=True)):
        if mask is None or list(mask.shape[-2:]) != unpadded:
            found = "no masks" if mask is None else f"masks of {tuple(mask.shape[-2:])}"
            raise ValueError(f"query clip {n} has {found} for frames of {tuple(unpadded)}: training needs equal sizes")
        masks.append(mask)
    return masks


def visible_frames(queries: ClipBatch) -> float:
    """Number of frames in which the target is visible, at least 1: the normaliser of the set losses."""
    if queries.valid is None:
        raise ValueError("the query clips carry no visibility: they were not made for training")
    return float(torch.clamp(queries.valid.sum(), min=1))

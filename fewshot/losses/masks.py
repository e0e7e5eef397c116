"""Mask losses on whole clips, for systems that give one mask per clip."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch


def clip_mask_loss(logits: Tensor, queries: ClipBatch, num_frames: float | None = None) -> Tensor:
    """Binary cross entropy, mean over the known pixels of a frame, summed over all frames and divided by `num_frames`.

    Args:
        logits: `(N, T, h, w)` for the padded frames of `queries`, or one row for several clips in a row that share it;
            resized bilinearly to the network size and compared with the masks of each clip, which must have the
            unpadded size of its frames, as in training.
        num_frames: the normaliser of the step; None counts the visible target frames of this batch.

    Raises:
        ValueError: a clip has no masks, or masks of another size than its frames.
    """
    if num_frames is None:
        num_frames = visible_frames(queries)
    size = tuple(queries.frames.shape[-2:])
    full = F.interpolate(logits, size, mode="bilinear", align_corners=False).float()
    masks = target_masks(queries)
    truth = torch.stack([_padded(mask, size) for mask in masks]).float()
    known = torch.stack([_padded(_known(mask, queries, n), size) for n, mask in enumerate(masks)]).float()
    full = full.repeat_interleave(len(masks) // len(full), 0)
    per_pixel = F.binary_cross_entropy_with_logits(full, truth, reduction="none")
    return ((per_pixel * known).sum((2, 3)) / known.sum((2, 3)).clamp(min=1)).sum() / num_frames


def _known(mask: Tensor, queries: ClipBatch, n: int) -> Tensor:
    """Pixels of clip `n` whose truth is known, `(T, h, w)` bool."""
    ignore = queries.ignore[n] if queries.ignore else None
    return torch.ones_like(mask, dtype=torch.bool) if ignore is None else ~ignore


def _padded(mask: Tensor, size: tuple[int, ...]) -> Tensor:
    """A mask `(T, h, w)` with False at the bottom and right, up to `size`."""
    return F.pad(mask, (0, size[1] - mask.shape[-1], 0, size[0] - mask.shape[-2]))


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

"""Clips to try a system with."""

from __future__ import annotations

from dataclasses import replace

import torch

from episodes.batch import ClipBatch

WORDS = ("the dax on the left", "a big blicket", "the red toma")


def noise_clips(
    count: int, frames: int = 2, size: tuple[int, int] = (64, 64), *, seed: int = 0, words: bool = True
) -> ClipBatch:
    """Clips of noise with a brighter square object each, fully described, without padding.

    Args:
        count: number of clips `N`.
        frames: of each clip.
        size: height and width, at least 64 pixels each.
        seed: of the noise.
        words: whether the clips have expressions.
    """
    height, width = size
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, frames, height, width, dtype=torch.bool)
    boxes = torch.zeros(count, frames, 4)
    for n in range(count):
        top, left = 8 + 4 * (n % 4), 16 - 4 * (n % 4)
        masks[n, :, top : top + 32, left : left + 32] = True
        boxes[n] = torch.tensor([(left + 16) / width, (top + 16) / height, 32 / width, 32 / height])
    return ClipBatch(
        frames=torch.randn(count, frames, 3, height, width, generator=generator) + 2.0 * masks[:, :, None],
        padding=torch.zeros(count, height, width, dtype=torch.bool),
        sizes=torch.tensor([[height, width]] * count),
        expressions=tuple(WORDS[n % len(WORDS)] if words else None for n in range(count)),
        masks=tuple(masks),
        boxes=boxes,
        valid=torch.ones(count, frames, dtype=torch.bool),
    )


def cropped(batch: ClipBatch, height: int, width: int) -> ClipBatch:
    """The upper left corner of all clips, in pixels; boxes are left out."""
    return replace(
        batch,
        frames=batch.frames[..., :height, :width],
        padding=batch.padding[..., :height, :width],
        sizes=torch.tensor([[height, width]] * len(batch)),
        masks=tuple(None if mask is None else mask[..., :height, :width] for mask in batch.masks),
        boxes=None,
    )


def padded(batch: ClipBatch, down: int, right: int) -> ClipBatch:
    """The batch with more zero padding at the bottom and right, in pixels."""
    more = (0, right, 0, down)
    return replace(
        batch,
        frames=torch.nn.functional.pad(batch.frames, more),
        padding=torch.nn.functional.pad(batch.padding, more, value=True),
    )

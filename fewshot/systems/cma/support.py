"""What CMA remembers of the supports, and how it is brought to the query's grid.

Legend: B episodes, K shots, S support frames, C width, (h, w) support grid, (h', w') query grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch


@dataclass(frozen=True)
class CMAState:
    """Encoded supports of `B` episodes.

    Attributes:
        levels: fused support levels at strides 8, 16, 32 and 64, each `(B, K, S, C, h, w)`.
        masks: for each episode its `K` masks `(S, Hm, Wm)` bool, at their own resolution.
    """

    levels: tuple[Tensor, ...]
    masks: tuple[tuple[Tensor, ...], ...]

    def __len__(self) -> int:
        return len(self.masks)

    def repeat(self, expressions: int) -> CMAState:
        """Each episode's state for its `expressions` query clips: `B` states become `B * expressions`."""
        levels = tuple(level.repeat_interleave(expressions, 0) for level in self.levels)
        return CMAState(levels, tuple(masks for masks in self.masks for _ in range(expressions)))


def frames_that_count(supports: ClipBatch, variant: str, support_frames: str) -> tuple[Tensor, list[Tensor]]:
    """Frames `(B * K, S', 3, H, W)` and masks `(S', Hm, Wm)` of the support frames that have an effect."""
    chosen = which_frames(supports.frames.shape[1], variant, support_frames)
    masks = []
    for n, mask in enumerate(supports.masks):
        if mask is None:
            raise ValueError(f"support clip {n} has no masks: every support must show the object it stands for")
        masks.append(mask[chosen])
    return supports.frames[:, chosen], masks


def which_frames(count: int, variant: str, support_frames: str) -> slice:
    """Of `count` support frames, those that have an effect.

    The cross affinity sees the middle frame (or all); the variants without it use the supports frame by frame.
    """
    return slice(count // 2, count // 2 + 1) if variant == "cma" and support_frames == "middle" else slice(None)


def at_query_grid(state: CMAState, level: int, size: tuple[int, int]) -> Tensor:
    """Support level, resized to the query's grid and masked: `(B, K, S, C, h', w')`.

    Features come from padded frames and masks do not, and neither keeps its aspect ratio: slight misalignments that
    released weights were trained with.
    """
    features = state.levels[level]
    leading = features.shape[:3]
    resized = _resize(features.flatten(0, 2), size).unflatten(0, leading)
    masks = resize_masks([mask for episode in state.masks for mask in episode], size)
    return resized * masks.view(*leading, 1, *size).to(resized.dtype)


def resize_masks(masks: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Masks `(S, Hm, Wm)` bool, each of its own size, to soft masks `(len(masks), S, h', w')`."""
    if len({mask.shape for mask in masks}) == 1:
        return _resize(torch.stack(tuple(masks)).float(), size)
    return torch.cat([_resize(mask[None].float(), size) for mask in masks])


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)

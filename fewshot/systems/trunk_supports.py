"""State of the supports of the cross-modal affinity, and its way to the query's grid.

Legend: B episodes, K shots, S support frames, C width, (h, w) support grid, (h', w') query grid.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch

OWN_PADDING = 32  # a clip that is alone in its batch is padded to a multiple of this, or not at all
FINEST_STRIDE = 8


@dataclass(frozen=True)
class AffinityState:
    """Encoded supports of `B` episodes.

    Attributes:
        levels: fused support levels at strides 8, 16, 32 and 64, each `(B, K, S, C, h, w)`.
        masks: for each episode its `K` masks `(S, Hm, Wm)` bool, at their own resolution.
        extents: for each episode the `K` heights and widths, in network pixels, that the masks stand for; None: the
            whole maps. What lies beyond is padding that came from larger clips of the batch.
    """

    levels: tuple[Tensor, ...]
    masks: tuple[tuple[Tensor, ...], ...]
    extents: tuple[tuple[tuple[int, int], ...], ...] | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def every(self, queries: int) -> AffinityState:
        """The state of each `queries`-th query: `B * queries` states become `B`."""
        if queries == 1:
            return self
        extents = self.extents if self.extents is None else self.extents[::queries]
        return AffinityState(tuple(level[::queries] for level in self.levels), self.masks[::queries], extents)

    def repeat(self, expressions: int) -> AffinityState:
        """Each episode's state for its `expressions` query clips: `B` states become `B * expressions`."""
        levels = tuple(level.repeat_interleave(expressions, 0) for level in self.levels)
        masks = tuple(masks for masks in self.masks for _ in range(expressions))
        if self.extents is None:
            return AffinityState(levels, masks)
        return AffinityState(levels, masks, tuple(extents for extents in self.extents for _ in range(expressions)))


def frames_that_count(supports: ClipBatch, variant: str, support_frames: str) -> tuple[ClipBatch, list[Tensor]]:
    """Support clips of the frames that have an effect (features too, where they are known), and their masks."""
    chosen = which_frames(supports.frames.shape[1], variant, support_frames)
    masks = []
    for n, mask in enumerate(supports.masks):
        if mask is None:
            raise ValueError(f"support clip {n} has no masks: every support must show the object it stands for")
        masks.append(mask[chosen])
    clips = len(supports)
    features = tuple(x.unflatten(0, (clips, -1))[:, chosen].flatten(0, 1) for x in supports.features)
    return replace(supports, frames=supports.frames[:, chosen], features=features), masks


def which_frames(count: int, variant: str, support_frames: str) -> slice:
    """Of `count` support frames, those that have an effect.

    The cross affinity sees the middle frame (or all); the variants without it use the supports frame by frame.
    """
    return slice(count // 2, count // 2 + 1) if variant == "cma" and support_frames == "middle" else slice(None)


def own_extents(supports: ClipBatch) -> list[tuple[int, int]]:
    """Padded height and width that each support clip would have in a batch of its own."""
    height, width = (
        [min(-(-side // OWN_PADDING) * OWN_PADDING, limit) for side in sides]
        for sides, limit in zip(supports.sizes.T.tolist(), supports.frames.shape[-2:], strict=True)
    )
    return list(zip(height, width, strict=True))


def at_query_grid(state: AffinityState, level: int, size: tuple[int, int]) -> Tensor:
    """Support level, resized to the query's grid and masked: `(B, K, S, C, h', w')`.

    Features come from padded frames and masks do not, and neither keeps its aspect ratio: slight misalignments that
    released weights were trained with. Padding that a clip owes to larger ones in its batch is cut off.
    """
    features = state.levels[level]
    clips = list(features.flatten(0, 1))
    if state.extents is not None:
        stride = FINEST_STRIDE * 2**level
        extents = [extent for episode in state.extents for extent in episode]
        clips = [x[..., : -(-h // stride), : -(-w // stride)] for x, (h, w) in zip(clips, extents, strict=True)]
    masks = [mask[:, None].float() for episode in state.masks for mask in episode]
    masked = resize_clips(clips, size) * resize_clips(masks, size).to(features.dtype)
    return masked.unflatten(0, features.shape[:2])


def resize_clips(clips: Sequence[Tensor], size: tuple[int, int]) -> Tensor:
    """Clips `(S, c, h, w)`, each with its own `(h, w)`, to `(len(clips), S, c, h', w')`; bilinear, corners aligned."""
    if len({clip.shape for clip in clips}) == 1:
        return _resize(torch.cat(tuple(clips)), size).unflatten(0, (len(clips), -1))
    return torch.stack([_resize(clip, size) for clip in clips])


def _resize(x: Tensor, size: tuple[int, int]) -> Tensor:
    return F.interpolate(x, size, mode="bilinear", align_corners=True)

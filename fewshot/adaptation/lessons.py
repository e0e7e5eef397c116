"""Lessons from the supports of one episode: some show an object, in another it is to be found.

Legend: L lessons, K shots, S frames of a support, (H, W) padded network size, (h, w) its unpadded part.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from episodes.collation import box_fractions
from episodes.sources.base import boxes_of
from episodes.transforms.clips import swap_sides
from fewshot.nn.masks import masks_at_frames
from fewshot.systems.base import System

ZOOM = 0.75  # sides of an enlarged part, as a fraction of those of the frame
DIM = 0.7  # contrast of a dimmed copy

Maps = Callable[[Tensor], Tensor]  # pixels (S, c, h, w) to pixels of the same size


@dataclass(frozen=True)
class Lessons:
    """`L` lessons: supports, and of each lesson a query with masks, in which their object is.

    Attributes:
        shown: the `K` supports of the episode, each once.
        chosen: which of them are the `(L * shots)` supports of the lessons.
        shots: supports of a lesson.
        queries: `L` clips; `shown` itself where each support in turn is the query.
    """

    shown: ClipBatch
    chosen: tuple[int, ...]
    shots: int
    queries: ClipBatch

    @property
    def supports(self) -> ClipBatch:
        """The `(L * shots)` supports, lesson by lesson."""
        return self.shown.take(self.chosen)

    def seen(self, system: System) -> Lessons:
        """The same with the visual features of the system, which sees each clip once; as it is where they are there."""
        if self.shown.features:
            return self
        shown = system.with_features(self.shown)
        return replace(
            self, shown=shown, queries=shown if self.queries is self.shown else system.with_features(self.queries)
        )


def lessons(supports: ClipBatch) -> Lessons:
    """Each support in turn as the query of the others; of a single one, changed copies as its queries.

    Args:
        supports: the `K` masked clips of one episode.

    Raises:
        ValueError: a support has no masks.
    """
    clips = as_targets(supports)
    k = len(clips)
    if k == 1:
        copies = copies_of(clips)
        return Lessons(clips, (0,) * len(copies), 1, joined(copies))
    return Lessons(clips, tuple(m for n in range(k) for m in range(k) if m != n), k - 1, clips)


def as_targets(clips: ClipBatch) -> ClipBatch:
    """Clips as a training sees them: masks at the size of the frames, with the boxes and visibility that follow."""
    return with_masks(clips, [masks[:, 0].bool() for masks in masks_at_frames(clips)])


def with_masks(clips: ClipBatch, masks: list[Tensor]) -> ClipBatch:
    """Clips with other masks `(S, h, w)` bool of their unpadded frames, and no void pixels."""
    found = [boxes_of(mask.cpu()) for mask in masks]
    boxes = [box_fractions(box, (mask.shape[-2], mask.shape[-1])) for (box, _), mask in zip(found, masks, strict=True)]
    valid = torch.stack([seen for _, seen in found])
    device = clips.frames.device
    return replace(
        clips, masks=tuple(masks), boxes=torch.stack(boxes).to(device), valid=valid.to(device), ignore=(), objects=()
    )


def copies_of(clip: ClipBatch) -> list[ClipBatch]:
    """One support with masks three times: mirrored; enlarged around the object; both, and dimmed."""
    (masks,) = clip.masks
    assert masks is not None  # `as_targets`
    rows, columns = around(masks)

    def enlarged(pixels: Tensor) -> Tensor:
        return F.interpolate(pixels[..., rows, columns], pixels.shape[-2:], mode="bilinear", align_corners=False)

    both = changed(mirrored(clip), lambda pixels: enlarged(pixels.flip(-1)).flip(-1))
    return [mirrored(clip), changed(clip, enlarged), replace(both, frames=both.frames * DIM)]


def joined(copies: Sequence[ClipBatch]) -> ClipBatch:
    """Copies of one clip, as `with_masks` gives them, in one batch."""

    def rows(tensors: Sequence[Tensor | None]) -> Tensor:
        return torch.cat([x for x in tensors if x is not None])

    return replace(
        copies[0].take([0] * len(copies)),
        frames=rows([copy.frames for copy in copies]),
        expressions=tuple(text for copy in copies for text in copy.expressions),
        masks=tuple(mask for copy in copies for mask in copy.masks),
        boxes=rows([copy.boxes for copy in copies]),
        valid=rows([copy.valid for copy in copies]),
    )


def mirrored(clip: ClipBatch) -> ClipBatch:
    """One clip with left and right exchanged, in its words too."""
    flipped = changed(clip, lambda pixels: pixels.flip(-1))
    return replace(flipped, expressions=tuple(text and swap_sides(text) for text in clip.expressions))


def changed(clip: ClipBatch, change: Maps) -> ClipBatch:
    """One clip with the pixels of its unpadded frames and of its masks changed."""
    height, width = (int(side) for side in clip.sizes[0])
    frames, (masks,) = clip.frames.clone(), clip.masks
    assert masks is not None  # `as_targets`
    frames[0, ..., :height, :width] = change(frames[0, ..., :height, :width])
    return with_masks(replace(clip, frames=frames, features=()), [change(masks[:, None].float())[:, 0] >= 0.5])


def around(masks: Tensor) -> tuple[slice, slice]:
    """A part of the frame, `ZOOM` of each side, whose middle is as near to that of the object as the frame allows."""
    slices = []
    for side, seen in ((masks.shape[1], masks.any(0).any(1)), (masks.shape[2], masks.any(0).any(0))):
        length, places = max(1, round(ZOOM * side)), seen.nonzero()
        middle = float(places.float().mean()) if len(places) else side / 2
        first = min(max(round(middle - length / 2), 0), side - length)
        slices.append(slice(first, first + length))
    return slices[0], slices[1]

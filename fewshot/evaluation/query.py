"""Queries of an episode: read for a test, and their result."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import torch
from torch import Tensor

from episodes.clip import Clip
from episodes.episode import EpisodeSpec
from episodes.seeding import generator
from episodes.sources.base import Source
from fewshot.inference.chunks import masks_at

Transform = Callable[[Clip, torch.Generator], Clip]


@dataclass(frozen=True)
class QueryResult:
    """Consecutive frames of one segmented query: a chunk of it.

    Attributes:
        spec: its episode, as the probe changed it.
        query: index of the query in `spec.queries`.
        clip: the frames, transformed, with their true masks `(T, Ho, Wo)` at the original size.
        logits: of the mask, `(T, H, W)` float32 at network size: one map, or one for each support where the supports
            are given one by one.
        probe: '' or the probe.
        start: index of the first of the frames in the query.
    """

    spec: EpisodeSpec
    query: int
    clip: Clip
    logits: tuple[Tensor, ...]
    probe: str = ""
    start: int = 0

    @property
    def frames(self) -> tuple[str, ...]:
        """Names of the frames."""
        return self.spec.queries[self.query].frames[self.start : self.start + len(self.clip.frames)]

    @cached_property
    def maps(self) -> tuple[Tensor, ...]:
        """The logits as probabilities."""
        return tuple(logits.sigmoid() for logits in self.logits)

    @property
    def probabilities(self) -> Tensor:
        """`(T, H, W)` float32 at network size; the fraction of the votes where the supports vote."""
        return self.maps[0] if len(self.maps) == 1 else votes([m > 0.5 for m in self.maps])

    def masks(self) -> Tensor:
        """The prediction at the original size, `(T, Ho, Wo)` bool."""
        return masks_at(self.probabilities, self.clip.original_size or self.clip.size)


def votes(masks: Sequence[Tensor]) -> Tensor:
    """Votes of masks `(T, H, W)` bool, as a fraction of the highest count of the image (at least 1), float32 in 0..1.

    HSNet (Min et al., ICCV 2021) takes a fraction of 0.5 and above as the object.
    """
    count = torch.stack(tuple(masks)).sum(0).float()
    return count / count.amax((-2, -1), keepdim=True).clamp(min=1)


def read_supports(source: Source, spec: EpisodeSpec, transform: Transform) -> tuple[Clip, ...]:
    """The support clips of an episode, transformed."""
    return tuple(transform(source.read(clip), generator("test", clip.video)) for clip in spec.supports)


def read_queries(
    source: Source, spec: EpisodeSpec, transform: Transform, part: slice = slice(None)
) -> tuple[Clip, ...]:
    """One clip per query of an episode, transformed, of all frames or of a part of them.

    The frames are read once and lie in memory once.
    """
    first, *_ = queries = [replace(query, frames=query.frames[part]) for query in spec.queries]
    frames = source.read_frames(first.video, first.frames)
    clips: list[Clip] = []
    for query in queries:
        clip = transform(source.with_object(query, frames), generator("test", query.video))
        clips.append(replace(clip, frames=clips[0].frames) if clips else clip)
    return tuple(clips)

"""What the pictures of an episode show: a few frames of its queries, kept while the video passes by."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import torch
from torch import Tensor

from episodes.clip import Clip, Objects
from episodes.episode import Episode, EpisodeSpec
from fewshot.evaluation.query import QueryResult
from fewshot.media.pictures import FRAMES, spread

QUERIES = 4  # expressions of an episode that its picture shows at most


class Shown:
    """Collector of the frames that are drawn of a test episode, with what was found in them.

    Attributes:
        spec: the episode with the queries that are drawn.
    """

    def __init__(self, spec: EpisodeSpec, supports: tuple[Clip, ...]) -> None:
        self.spec, self.supports = replace(spec, queries=spec.queries[:QUERIES]), supports
        self.length = len(spec.queries[0].frames)
        self.numbers = spread(self.length, FRAMES)
        self.frames: list[list[tuple[Clip, Tensor]]] = [[] for _ in self.spec.queries]
        self.best: tuple[int, Clip, Tensor] | None = None

    def add(self, result: QueryResult) -> None:
        """Keep what is shown of a chunk of a query; chunks come in their order."""
        masks = result.masks()
        for t in range(len(masks)):
            frame = one_frame(result.clip, t), masks[t : t + 1]
            if result.start + t in self.numbers:
                self.frames[result.query].append((frame[0], frame[1].clone()))
            if result.query == 0:
                self._compare(*frame)

    def _compare(self, clip: Clip, mask: Tensor) -> None:
        area = 0 if clip.masks is None else int(clip.masks.sum())
        if self.best is None or area > self.best[0]:
            self.best = area, clip, mask.clone()

    def strip(self) -> tuple[Episode, list[Tensor]]:
        """The episode of the frames that are shown, and their masks `(n, Ho, Wo)` for each query."""
        clips = tuple(joined([clip for clip, _ in frames]) for frames in self.frames)
        return self._episode(clips), [torch.cat([mask for _, mask in frames]) for frames in self.frames]

    def captions(self) -> list[str]:
        """Words for the frames of a video; none for an image."""
        return [f"frame {number + 1} of {self.length}" for number in self.numbers] if self.length > 1 else []

    def fullest(self) -> tuple[Episode, Tensor]:
        """The episode of the frame that shows most of the first query's object, and its mask `(1, Ho, Wo)`."""
        assert self.best is not None
        _, clip, mask = self.best
        return self._episode((clip,)), mask

    def _episode(self, clips: tuple[Clip, ...]) -> Episode:
        return Episode(self.spec, self.supports, clips)


def one_frame(clip: Clip, t: int) -> Clip:
    """Frame `t` of a clip with the masks of its object, in memory of its own."""
    masks, ignore = (None if x is None else x[t : t + 1].clone() for x in (clip.masks, clip.ignore))
    objects = None if masks is None else Objects.one(masks)
    frames, names = clip.frames[t : t + 1].clone(), clip.frame_names[t : t + 1]
    return replace(clip, frames=frames, objects=objects, ignore=ignore, frame_names=names)


def joined(clips: Sequence[Clip]) -> Clip:
    """Clips of one frame as one clip."""
    masks, ignore = (
        [x for x in kind if x is not None] for kind in zip(*((c.masks, c.ignore) for c in clips), strict=True)
    )
    return replace(
        clips[0],
        frames=torch.cat([clip.frames for clip in clips]),
        objects=Objects.one(torch.cat(masks)) if masks else None,
        ignore=torch.cat(ignore) if ignore else None,
        frame_names=tuple(name for clip in clips for name in clip.frame_names),
    )

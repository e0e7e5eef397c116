"""`EpisodeDataset` loads episodes that are given by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Protocol

import torch
from torchvision.transforms.v2.functional import adjust_hue

from episodes.clip import Clip
from episodes.episode import ClipSpec, Episode, EpisodeSpec
from episodes.seeding import generator
from episodes.sources.base import Source
from episodes.sources.images import ImageSource

Transform = Callable[[Clip, torch.Generator], Clip]


class Specs(Protocol):
    """Episodes by index: a list of specs, or `TrainEpisodes`."""

    def __getitem__(self, index: int, /) -> EpisodeSpec: ...


class EpisodeDataset:
    """`dataset[i]` reads and transforms episode `i` of `specs`. It is the same whenever and wherever it is read.

    Args:
        source: where the clips are read.
        specs: a list of specs, or endless ones such as `TrainEpisodes`.
        transform: applied to every clip with a generator derived from (seed, split, index, role): the query clips of
            an episode share theirs, each support has its own.
        seed: of the transforms.
        hue: largest turn of the hue of a whole episode, 0 to 0.5 of the wheel. Supports and queries turn together:
            what belongs together still does, but a class has no colour of its own that could be learnt by heart.
        one_draw: supports are transformed with the draw of the query, since they are frames of its video.
    """

    def __init__(
        self,
        source: Source,
        specs: Specs,
        transform: Transform,
        *,
        seed: int,
        hue: float = 0.0,
        one_draw: bool = False,
    ) -> None:
        if not 0 <= hue <= 0.5:
            raise ValueError(f"hue must lie in 0 to 0.5 of the colour wheel, got {hue}")
        self.source, self.specs, self.transform = source, specs, transform
        self.seed, self.hue, self.one_draw = seed, hue, one_draw

    def __len__(self) -> int:
        """Number of episodes. Raises TypeError when they are endless."""
        return len(self.specs)  # type: ignore[arg-type]

    def __getitem__(self, index: int) -> Episode:
        return self.load(self.specs[index])

    def load(self, spec: EpisodeSpec) -> Episode:
        """Read and transform one episode.

        Raises what `Source.read` raises, and ValueError for a support image that does not show its class (any more).
        """
        supports = tuple(self._support(clip, k, spec) for k, clip in enumerate(spec.supports))
        return Episode(spec, supports, self._queries(spec))

    def _support(self, clip: ClipSpec, number: int, spec: EpisodeSpec) -> Clip:
        read = self._turn(self.source.read(clip), spec)
        support = self.transform(read, self._generator(spec, "support", number))
        still = isinstance(self.source, ImageSource)  # in some frame of a video the object may well be hidden
        if still and support.masks is not None and not support.masks.any():
            raise ValueError(
                f"episode {spec.index}: the mask of support {number + 1}, image {clip.video!r} for class "
                f"{spec.class_name!r}, is empty after the transform: raise min_area, or transform with keep_object"
            )
        return support

    def _queries(self, spec: EpisodeSpec) -> tuple[Clip, ...]:
        read: dict[tuple[str, tuple[str, ...]], torch.Tensor] = {}
        clips = []
        for query in spec.queries:
            clip = self._turn(self._read(query, read), spec)
            clips.append(self.transform(clip, self._generator(spec, "query", 0)))
        return tuple(clips)

    def _read(self, clip: ClipSpec, read: dict[tuple[str, tuple[str, ...]], torch.Tensor]) -> Clip:
        key = (clip.video, clip.frames)
        if key not in read:
            read[key] = self.source.read_frames(*key)
        return self.source.with_object(clip, read[key])

    def _turn(self, clip: Clip, spec: EpisodeSpec) -> Clip:
        if self.hue == 0:
            return clip
        draw = torch.rand((), generator=self._generator(spec, "hue", 0)).item()
        return replace(clip, frames=adjust_hue(clip.frames, self.hue * (2 * draw - 1)))

    def _generator(self, spec: EpisodeSpec, role: str, number: int) -> torch.Generator:
        if role == "support" and self.one_draw:
            role, number = "query", 0
        return generator("transform", self.seed, spec.split, spec.index, role, number)

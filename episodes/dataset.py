"""`EpisodeDataset`: loaded episodes by index, for torch's `DataLoader`."""

from __future__ import annotations

import operator
from collections.abc import Callable, Sized
from dataclasses import replace
from typing import Protocol, SupportsIndex

import torch
from torchvision.transforms.v2.functional import adjust_hue

from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec, Episode, EpisodeSpec
from episodes.seeding import generator
from episodes.sources.base import Source
from episodes.sources.images import ImageSource

TRIES = 8  # later episodes that are asked for supports of another class
Transform = Callable[[Clip, torch.Generator], Clip]


class Specs(Protocol):
    """Episodes by index: a list of specs, or `TrainEpisodes`."""

    def __getitem__(self, index: int, /) -> EpisodeSpec: ...


class EpisodeDataset:
    """Map-style data set of torch: `dataset[i]` reads and transforms episode `i` of `specs`.

    An episode is the same whenever and in whichever process it is read. Join several with `episodes.collation`.

    Args:
        source: where the clips are read.
        specs: a list of specs, or endless ones such as `TrainEpisodes`.
        transform: applied to every clip with a generator derived from (seed, split, index, role): the query clips of
            an episode share theirs, each support has its own.
        seed: of the transforms.
        hue: largest turn of the hue of a whole episode, 0 to 0.5 of the wheel. Supports and queries turn together:
            what belongs together still does, but a class has no colour of its own that could be learnt by heart.
        absent_share: share of the episodes, 0 to 1, that have the supports of another one, whose class their query does
            not show: nothing is to be found in them, and their masks are empty.
        one_draw: supports are transformed with the draw of the query, since they are frames of its video.
        length: the first so many episodes; None: all of them. A `DataLoader` needs it where `specs` is endless.

    Raises:
        ValueError: a hue or share out of range, or a length below 1 or beyond the end of `specs`.
    """

    def __init__(
        self,
        source: Source,
        specs: Specs,
        transform: Transform,
        *,
        seed: int,
        hue: float = 0.0,
        absent_share: float = 0.0,
        one_draw: bool = False,
        length: int | None = None,
    ) -> None:
        if not 0 <= hue <= 0.5:
            raise ValueError(f"hue must lie in 0 to 0.5 of the colour wheel, got {hue}")
        if not 0 <= absent_share <= 1:
            raise ValueError(f"absent_share must lie in 0 to 1, got {absent_share}")
        if length is not None and length < 1:
            raise ValueError(f"length must be at least 1 episode, got {length}")
        if length is not None and isinstance(specs, (list, tuple)) and length > len(specs):
            raise ValueError(f"length is {length}, but the list has {len(specs)} episodes")
        self.source, self.specs, self.transform = source, specs, transform
        self.seed, self.hue, self.one_draw, self.length = seed, hue, one_draw, length
        self.absent_share = absent_share

    def __len__(self) -> int:
        """Number of episodes. Raises TypeError when they are endless and no length was given."""
        if self.length is not None:
            return self.length
        if not isinstance(self.specs, Sized):
            raise TypeError(f"{type(self.specs).__name__} is endless: give EpisodeDataset a length")
        return len(self.specs)

    def __getitem__(self, index: SupportsIndex) -> Episode:
        """Episode `index`; negative indices count from the end where there is one. Raises IndexError beyond it."""
        i = operator.index(index)
        if self.length is not None:
            if not -self.length <= i < self.length:
                raise IndexError(f"there are {self.length} episodes, so none with index {i}")
            i %= self.length
        spec = self.specs[i]
        if self.absent_share > 0 and self._draw(spec, "absent") < self.absent_share:
            return self._absent(spec, i)
        return self.load(spec)

    def _absent(self, spec: EpisodeSpec, index: int) -> Episode:
        """The episode with the supports of one of the next ones, in which nothing is to be found.

        As it is where none of these fits, since they all show its class, or it theirs.
        """
        coming = (self.specs[index + k] for k in range(1, TRIES + 1))
        other = next((x for x in coming if self._strangers(spec, x)), None)
        if other is None:
            return self.load(spec)
        episode = self.load(replace(spec, supports=other.supports))
        return replace(episode, queries=tuple(replace(clip, objects=_hidden(clip)) for clip in episode.queries))

    def _strangers(self, spec: EpisodeSpec, other: EpisodeSpec) -> bool:
        """Whether the queries of `spec` do not show the class of `other`, nor its supports the class of `spec`."""
        here, there = (self._shown(clips) for clips in (spec.queries, other.supports))
        return spec.shots == other.shots and other.class_id not in here and spec.class_id not in there

    def _shown(self, clips: tuple[ClipSpec, ...]) -> set[int]:
        return {said.class_id for clip in clips for said in self.source.expressions(clip.video)}

    def load(self, spec: EpisodeSpec) -> Episode:
        """Read and transform one episode.

        Raises what `Source.read` raises, and ValueError for a support image that does not show its class (any more).
        """
        supports = tuple(self._support(clip, k, spec) for k, clip in enumerate(spec.supports))
        return Episode(spec, supports, self._queries(spec))

    def _support(self, clip: ClipSpec, number: int, spec: EpisodeSpec) -> Clip:
        read = self.source.read(clip)
        turned = replace(read, frames=self._turn(read.frames, spec))
        support = self.transform(turned, self._generator(spec, "support", number))
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
            key = (query.video, query.frames)
            if key not in read:  # queries that differ in their expression share their frames
                read[key] = self._turn(self.source.read_frames(*key), spec)
            clip = self.source.with_object(query, read[key])
            clips.append(self.transform(clip, self._generator(spec, "query", 0)))
        return tuple(clips)

    def _turn(self, frames: torch.Tensor, spec: EpisodeSpec) -> torch.Tensor:
        if self.hue == 0:
            return frames
        return adjust_hue(frames, self.hue * (2 * self._draw(spec, "hue") - 1))

    def _draw(self, spec: EpisodeSpec, role: str) -> float:
        """A number in 0 to 1 for a decision about the whole episode."""
        return torch.rand((), generator=self._generator(spec, role, 0)).item()

    def _generator(self, spec: EpisodeSpec, role: str, number: int) -> torch.Generator:
        if role == "support" and self.one_draw:
            role, number = "query", 0
        return generator("transform", self.seed, spec.split, spec.index, role, number)


def _hidden(clip: Clip) -> Objects | None:
    return None if clip.objects is None else clip.objects.hidden()

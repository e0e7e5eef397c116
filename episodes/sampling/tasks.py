"""Endless training episodes of tasks without classes: expressions, given masks, and all objects of an image.

Each list is a pure function of (data set, seed, index): every draw is independent of the others, so that a mixture may
ask for any index. The draws follow the training of UniRef++ (arXiv 2312.15715, section 4.1).
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from episodes.episode import ClipSpec, EpisodeSpec
from episodes.seeding import rng
from episodes.sources.base import Expression, normalise
from episodes.sources.task_source import OBJECT, TaskSource

TRIES = 200  # draws of a pair of frames that both show the object
REACH = 10  # frames between the two frames of a video
AGAIN = 2**40  # episode `i + AGAIN` is another draw for place `i`, see `Mixture`
ALL_OBJECTS = 0  # the object id that stands for everything in an image

Drawn = tuple[ClipSpec | None, tuple[ClipSpec, ...]]  # support (None: there is none) and queries


class TaskEpisodes(ABC):
    """Endless episodes with a support or none: `episodes[i]` for every `i >= 0`.

    Args:
        source: the data set.
        seed: of all draws.

    Attributes:
        draws_as: the word from which the draws of the task are derived. It outlives the name of the class, so that the
            episodes stay; empty: the name of the class.

    Raises ValueError for a data set without any video or image.
    """

    draws_as = ""

    def __init__(self, source: TaskSource, *, seed: int) -> None:
        self.source, self.seed, self.names = source, seed, source.names()
        if not self.names:
            raise ValueError(f"{source.name} ({source.split}) in {source.root} has nothing to train on")

    @abstractmethod
    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """The clips of episode `index`."""

    def __getitem__(self, index: int) -> EpisodeSpec:
        if index < 0:
            raise IndexError(f"episodes are counted from 0, got {index}")
        key = (self.draws_as or type(self).__name__, self.source.draws_as, self.source.split, self.seed, index)
        support, queries = self.draw(index, rng(*key))
        return EpisodeSpec(
            benchmark=self.source.name,
            group=0,
            split=self.source.split,
            seed=self.seed,
            index=index,
            class_id=OBJECT,
            class_name="object",
            supports=() if support is None else (support,),
            queries=queries,
        )

    def name(self, generator: np.random.Generator) -> str:
        """A video or image, all equally likely."""
        return self.names[generator.integers(len(self.names))]

    def pair_of_frames(self, generator: np.random.Generator) -> tuple[str, Expression, str, str]:
        """A video, an expression of one of its objects, and two frames that show it, at most `REACH` apart, in order.

        Raises ValueError if no such pair is found.
        """
        for _ in range(TRIES):
            video = self.name(generator)
            said, frames = self.source.expressions(video), self.source.frames(video)
            if not said or len(frames) < 2:
                continue
            about, t = said[generator.integers(len(said))], int(generator.integers(len(frames)))
            others = [k for k in range(max(0, t - REACH), min(len(frames), t + REACH + 1)) if k != t]
            first, second = (frames[k] for k in sorted((t, others[generator.integers(len(others))])))
            if all(self.source.visible(video, frame, about.object_id) for frame in (first, second)):
                return video, about, first, second
        raise ValueError(
            f"{self.source.name} ({self.source.split}) in {self.source.root}: {TRIES} draws found no two frames within "
            f"{REACH} that show the same object: training on videos needs masks of several frames"
        )


class RISEpisodes(TaskEpisodes):
    """Referring image segmentation: an image and one of its expressions, no support."""

    draws_as = "ReferredImages"

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """No support, and an image with the words of one of its expressions."""
        image = self.name(generator)
        said = self.source.expressions(image)
        about = said[generator.integers(len(said))]
        return None, (clip(image, about, self.source.frames(image)[:1], words=True),)


class VOSEpisodes(TaskEpisodes):
    """Semi-supervised VOS: the support is an earlier frame with its mask, the query a later frame."""

    draws_as = "FollowedObjects"

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """An earlier frame with the mask of an object, and a later one without words."""
        video, about, first, second = self.pair_of_frames(generator)
        return clip(video, about, [first]), (clip(video, about, [second]),)


class RVOSEpisodes(TaskEpisodes):
    """Referring video segmentation: a frame and an expression, in a part of the batches also an earlier, masked frame.

    Args:
        batch: episodes of a batch, which all have a support or all have none: indices `k * batch` to
            `(k + 1) * batch - 1`.
        mask_fraction: fraction of the batches with a support, 0 to 1.
    """

    draws_as = "ReferredVideos"

    def __init__(self, source: TaskSource, *, seed: int, batch: int = 1, mask_fraction: float = 0.6) -> None:
        super().__init__(source, seed=seed)
        if not 0 <= mask_fraction <= 1:
            raise ValueError(f"mask_fraction must lie in 0..1, got {mask_fraction}")
        self.batch, self.mask_fraction = batch, mask_fraction

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """A frame with words, and in batches with a support an earlier frame with its mask."""
        video, about, first, second = self.pair_of_frames(generator)
        place = index % AGAIN // self.batch
        shown = rng("with mask", self.source.draws_as, self.seed, place).random() < self.mask_fraction
        return clip(video, about, [first]) if shown else None, (clip(video, about, [second], words=True),)


class PseudoVideoEpisodes(TaskEpisodes):
    """Semi-supervised VOS on still images: support and query are one image, which augmentation tells apart."""

    draws_as = "StillVideos"

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """One image with one of its objects, as support and as query."""
        image = self.name(generator)
        objects = self.source.expressions(image)
        same = clip(image, objects[generator.integers(len(objects))], self.source.frames(image)[:1])
        return same, (same,)


class DetectionEpisodes(TaskEpisodes):
    """Detection: an image and all of its objects, no reference."""

    draws_as = "DetectedImages"

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """No support, and an image that stands for all of its objects."""
        image = self.name(generator)
        return None, (ClipSpec(image, ALL_OBJECTS, self.source.frames(image)[:1]),)


def clip(name: str, about: Expression, frames: Sequence[str], words: bool = False) -> ClipSpec:
    """Frames with the object that is meant, with the words or without them."""
    text = normalise(about.text) if words else None
    return ClipSpec(name, about.object_id, tuple(frames), text, about.id if words else None)

"""`VocabularySource`: videos in which everything of a list of classes is asked for: tracks, classes or segments."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec
from episodes.panoptic import PanopticClasses
from episodes.sources.base import Expression
from episodes.sources.task_source import EVERYTHING, OBJECT, TaskSource
from episodes.task_items import VocabularyItem


@dataclass(frozen=True)
class Category:
    """A class of the vocabulary: its number in the files of the data set, its name, and whether it is a thing."""

    id: int
    name: str
    thing: bool = True


class VocabularySource(TaskSource):
    """Videos whose objects are all of a class of `categories`. Labels of objects are places in `categories`, from 0.

    Object `EVERYTHING` of a clip stands for all of them; such a clip is `exhaustive`.
    """

    categories: tuple[Category, ...]

    @property
    def classes(self) -> PanopticClasses:
        """Numbers of the things and of the stuff."""
        things, stuff = (frozenset(c.id for c in self.categories if c.thing == thing) for thing in (True, False))
        return PanopticClasses(things, stuff)

    def label_names(self) -> tuple[str, ...]:
        """Names of the categories."""
        return tuple(category.name for category in self.categories)

    @abstractmethod
    def object_ids(self, video: str) -> tuple[int, ...]:
        """Ids of the objects of a video, sorted; empty where the truth is kept by a server."""

    @abstractmethod
    def read_objects(self, video: str, frames: Sequence[str]) -> Objects:
        """All objects that a clip shows, crowds left out, with ids, labels, masks `(M, T, H, W)` and boxes.

        Raises FileNotFoundError or ValueError, naming the file and what is wrong.
        """

    def items(self) -> Iterator[VocabularyItem]:
        """Items to test, one for each video."""
        for video in self.names():
            yield VocabularyItem(video, self.frames(video))

    def clip_spec(self, video: str, start: int, length: int) -> ClipSpec:
        """Everything in `length` frames of a video, from number `start` (from 0) on.

        Raises ValueError where the video has not so many.
        """
        frames = self.frames(video)
        if start < 0 or len(frames) < start + length:
            raise ValueError(
                f"video {video!r} of {self.name} has {len(frames)} frames, too few for a clip of {length} from number "
                f"{start} on: take shorter clips, or leave the video out"
            )
        return ClipSpec(video, EVERYTHING, frames[start : start + length])

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """One for each object, without words."""
        return tuple(Expression(str(k), "", k, OBJECT) for k in self.object_ids(video))

    def with_object(self, spec: ClipSpec, frames: Tensor) -> Clip:
        """The clip with one object or, for object `EVERYTHING`, with all."""
        if spec.object_id != EVERYTHING:
            return super().with_object(spec, frames)
        return Clip(
            frames=frames,
            objects=self.read_objects(spec.video, spec.frames),
            video=spec.video,
            frame_names=spec.frames,
            original_size=(frames.shape[-2], frames.shape[-1]),
            vocabulary=self.label_names(),
            moments=self.moments(spec),
        )

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Masks `(T, H, W)` bool of one object. Raises ValueError for an id that the video does not have."""
        if object_id not in self.object_ids(video):
            raise ValueError(f"{self.name}: video {video!r} has no object {object_id}")
        objects = self.read_objects(video, frames)
        found = (objects.ids == object_id).nonzero()
        assert objects.masks is not None
        return objects.masks[found[0, 0]] if len(found) else torch.zeros(objects.masks.shape[1:], dtype=torch.bool)

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True if the object has a pixel in the frame."""
        return object_id in self.read_objects(video, (frame,)).ids

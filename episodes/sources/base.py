"""`Source`: the interface of a data set from which episodes are drawn."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from episodes.catalogue import draws_as
from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec


@dataclass(frozen=True)
class Expression:
    """Words that refer to one object of a video. `class_id` is the class of that object."""

    id: str
    text: str
    object_id: int
    class_id: int


class Source(ABC):
    """Videos with annotated objects and expressions. Indexed once, frames are read when they are asked for.

    Attributes:
        name: the benchmark that it belongs to.
        root: the folder.
    """

    name: str
    root: Path

    @property
    def draws_as(self) -> str:
        """The word from which random draws are derived, see `episodes.catalogue.DataSet`."""
        return draws_as(self.name)

    @abstractmethod
    def videos(self, class_id: int) -> tuple[str, ...]:
        """Sorted names of the videos that have an expression for an object of class `class_id`."""

    @abstractmethod
    def frames(self, video: str) -> tuple[str, ...]:
        """Names of the annotated frames of `video`, in time order. Raises KeyError for an unknown video."""

    @abstractmethod
    def expressions(self, video: str) -> tuple[Expression, ...]:
        """The expressions of `video` in file order. Raises ValueError when its annotation is broken."""

    def twins(self, video: str, object_id: int) -> frozenset[int]:
        """Ids of the other objects of `video` that are of the class of object `object_id`; empty where it has no twin.

        Read from annotations, not from masks: a twin is somewhere in the video, not in each of its frames. A source
        that lists objects without an expression counts them too.
        """
        classes = {e.object_id: e.class_id for e in self.expressions(video)}
        return same_class(classes, object_id)

    @abstractmethod
    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB. Raises FileNotFoundError or ValueError, naming the file."""

    @abstractmethod
    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Masks `(T, H, W)` bool of one object. Raises FileNotFoundError or ValueError, naming file and object."""

    @abstractmethod
    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True if the object has a pixel in the frame."""

    @abstractmethod
    def where(self, video: str, frame: str) -> str:
        """Names the file that holds the masks of a frame, for messages."""

    @abstractmethod
    def problems(self) -> list[str]:
        """Missing, broken or too small parts, one sentence each, with what to do. Empty: all is well."""

    def broken(self) -> list[str]:
        """Those of `problems` that are missing or broken; the others tell what is left out of sound data."""
        return self.problems()

    @abstractmethod
    def fingerprint(self) -> str:
        """Hash of what episodes are drawn from (videos, frames, objects, expressions); the same on every machine."""

    def read(self, spec: ClipSpec) -> Clip:
        """The clip that `spec` names: uint8 frames, bool masks at the frames' size, boxes in pixels.

        Raises FileNotFoundError for a missing file and ValueError for a broken one or for an object that no frame of
        the video shows.
        """
        frames = self.read_frames(spec.video, spec.frames)
        return self.with_object(spec, frames)

    def with_object(self, spec: ClipSpec, frames: Tensor) -> Clip:
        """`read` when the frames `(T, 3, H, W)` are already there (several expressions of one video)."""
        masks = self.read_masks(spec.video, spec.frames, spec.object_id)
        if masks.shape[-2:] != frames.shape[-2:]:
            (h, w), (hm, wm) = frames.shape[-2:], masks.shape[-2:]
            where = self.where(spec.video, spec.frames[0])
            raise ValueError(f"{where} is {hm}x{wm}, but its frame is {h}x{w}: they must be of one size")
        boxes, valid = self.boxes(masks)
        return Clip(
            frames=frames,
            objects=Objects.one(masks, boxes, valid, spec.object_id),
            expression=None if spec.expression is None else normalise(spec.expression),
            video=spec.video,
            frame_names=spec.frames,
            original_size=(frames.shape[-2], frames.shape[-1]),
        )

    def boxes(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes `(T, 4)` and visibility `(T,)` of masks `(T, H, W)`."""
        return boxes_of(masks)


def objects_of(ids: Sequence[int], labels: Sequence[int], masks: Tensor) -> Objects:
    """All objects of a clip from masks `(M, T, H, W)`, those that no frame shows left out."""
    there = masks.flatten(1).any(1)
    found = Objects(torch.tensor(ids, dtype=torch.int64), torch.tensor(labels, dtype=torch.int64), masks)[there]
    assert found.masks is not None
    pairs = [boxes_of(own) for own in found.masks]
    boxes = torch.stack([own for own, _ in pairs]) if pairs else torch.zeros(0, masks.shape[1], 4)
    shown = found.masks.flatten(2).any(2)
    return Objects(found.ids, found.labels, found.masks, boxes, shown, exhaustive=True)


def same_class(classes: Mapping[int, Hashable], object_id: int) -> frozenset[int]:
    """Ids of the other objects whose class (by object id) is that of `object_id`."""
    return frozenset(k for k, c in classes.items() if k != object_id and c == classes.get(object_id))


def normalise(text: str) -> str:
    """Lower case, white space collapsed."""
    return " ".join(text.lower().split())


def boxes_of(masks: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes of masks.

    Args:
        masks: `(T, H, W)` bool.

    Returns:
        Boxes `(T, 4)` float32 `x0, y0, x1, y1`, the first and last column and row that the object touches (no +1, as
        in CMA's data), zeros where it is absent; and `(T,)` bool, True where a box has a positive area.
    """
    boxes = torch.zeros(masks.shape[0], 4)
    for t, (rows, columns) in enumerate(zip(masks.any(2).numpy(), masks.any(1).numpy(), strict=True)):
        y, x = rows.nonzero()[0], columns.nonzero()[0]
        if len(y):
            boxes[t] = torch.tensor([x[0], y[0], x[-1], y[-1]])
    return clean_boxes(boxes)


def clean_boxes(boxes: Tensor) -> tuple[Tensor, Tensor]:
    """Boxes `(..., 4)` with those of no area set to zero, and `(...)` bool, True for the others."""
    valid = (boxes[..., 2] > boxes[..., 0]) & (boxes[..., 3] > boxes[..., 1])
    return boxes * valid[..., None], valid

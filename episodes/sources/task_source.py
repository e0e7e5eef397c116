"""`TaskSource`: a source of a task without classes, which lists the items of a test."""

from __future__ import annotations

import hashlib
import json
from abc import abstractmethod
from collections.abc import Iterator
from typing import Any

from episodes.episode import ClipSpec
from episodes.sources.base import Source
from episodes.task_items import Item

OBJECT = 1  # the one class of tasks that have none
EVERYTHING = 0  # the object id that stands for all objects of a clip


class TaskSource(Source):
    """A source of referring or semi-supervised segmentation: every object is of the one class `OBJECT`.

    Attributes:
        split: the part of the data set that it reads.
        task: a kind of the catalogue. Its items are `VOSItem` ("vos", "pvos"), `RVOSItem` ("rvos"), `RISItem` ("ris"),
            `RFSItem` ("rfs") or `VocabularyItem` ("vis", "vss", "vps").
    """

    split: str
    task: str

    @abstractmethod
    def names(self) -> tuple[str, ...]:
        """Sorted names of all videos (referring image segmentation: of all objects)."""

    @abstractmethod
    def items(self) -> Iterator[Item]:
        """Items to test, in the order of `names`. Raises what reading the videos raises, item by item."""

    @abstractmethod
    def content(self) -> Any:
        """Content that episodes are drawn from, as plain types: names, frames, objects, expressions."""

    def moments(self, spec: ClipSpec) -> tuple[int, ...]:
        """Places of the frames of a clip in its video, from 0."""
        places = {frame: k for k, frame in enumerate(self.frames(spec.video))}
        return tuple(places[frame] for frame in spec.frames)

    def videos(self, class_id: int = OBJECT) -> tuple[str, ...]:
        """All names for the one class `OBJECT`, none for any other."""
        return self.names() if class_id == OBJECT else ()

    def members(self) -> frozenset[str]:
        """The videos or image files of the split, by which two splits are compared."""
        return frozenset(self.names())

    def label_names(self) -> tuple[str, ...] | None:
        """Names of the classes that its objects are labelled with; None where they have none, or none are known."""
        return None

    def fingerprint(self) -> str:
        """Hash of `content`; the same on every machine."""
        return hashlib.sha256(json.dumps([self.draws_as, self.split, self.content()]).encode()).hexdigest()


def unknown_name(source: TaskSource, name: str) -> KeyError:
    """The error for a video or an object that the source does not list."""
    return KeyError(f"{source.name} ({source.split}) in {source.root} has no video {name!r}")

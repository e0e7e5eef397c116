"""Items of a test of referring and semi-supervised segmentation, by name, nothing loaded.

An item names the reference that is given and the frames to segment. Its pixels are read by the
source that listed it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True)
class VOSItem:
    """Semi-supervised VOS: one video, whose objects are segmented from the frame on that gives their mask.

    Attributes:
        video: its name.
        frames: names of all its frames, in time order.
        given: frame -> the object ids whose mask is given there, in time order; an object is given once. The masks are
            read by `VideoFiles.read_given`.
    """

    video: str
    frames: tuple[str, ...]
    given: Mapping[str, tuple[int, ...]]

    @property
    def objects(self) -> tuple[int, ...]:
        """Ids of all objects, sorted: the values of the result PNGs."""
        return tuple(sorted(object_id for ids in self.given.values() for object_id in ids))


@dataclass(frozen=True)
class RVOSItem:
    """Referring video segmentation: one expression of one video.

    Attributes:
        video: its name.
        frames: names of the frames to answer, in time order.
        expression_id: the key of the expression in its file; names its result folder.
        text: the words.
        object_id: the object that is meant, where the data set says it.
        annotator: 0..3 in Ref-DAVIS17, where each of four annotators is a run of its own; else None.
    """

    video: str
    frames: tuple[str, ...]
    expression_id: str
    text: str
    object_id: int | None = None
    annotator: int | None = None


@dataclass(frozen=True)
class RISItem:
    """Referring image segmentation: one expression of one object of an image.

    Attributes:
        image: name of the object's entry, which stands for the image in `read_frames(image, ("0",))`, and for its mask
            in `read_masks(image, ("0",), object_id)`.
        expression_id: number of the expression within the entry.
        text: the words.
        object_id: the object's id in `read_masks`.
    """

    image: str
    expression_id: str
    text: str
    object_id: int = 1


@dataclass(frozen=True)
class RFSItem:
    """Referring segmentation of one frame of a video: one expression of one object, with the frames around at hand.

    Attributes:
        video: its name.
        frame: name of the frame that is asked for.
        expression_id: number of the expression within the video.
        text: the words.
        object_id: the object's id in `read_masks(video, (frame,), object_id)`.
        sample_id: what the benchmark's own evaluation calls this frame and object.
    """

    video: str
    frame: str
    expression_id: str
    text: str
    object_id: int
    sample_id: str


@dataclass(frozen=True)
class VocabularyItem:
    """Everything in a video: its tracks, classes or panoptic segments, of the vocabulary of its source.

    Attributes:
        video: its name.
        frames: names of the frames to answer, in time order.
    """

    video: str
    frames: tuple[str, ...]


Item = VOSItem | RVOSItem | RISItem | RFSItem | VocabularyItem

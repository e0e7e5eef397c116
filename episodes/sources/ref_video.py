"""Referring video segmentation on disk: Ref-YouTube-VOS and Ref-DAVIS17. Images are read when they are asked for."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes.sources.base import Expression, same_class
from episodes.sources.files import missing_files
from episodes.sources.ref_index import RefLayout, RefVideo, ref_davis17_layout, ref_youtube_vos_layout
from episodes.sources.task_source import OBJECT, TaskSource, unknown_name
from episodes.sources.video_files import VideoFiles, list_frames
from episodes.task_items import RVOSItem

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

log = logging.getLogger(__name__)


class RefVideoSource(VideoFiles, TaskSource):
    """Videos with expressions for their objects.

    Args:
        name: the benchmark.
        root: the folder that the user gave, for messages.
        split: for messages.
        layout: the lists and where the files are.
        cache_frames: bytes of decoded frames and masks to keep in memory; 0 keeps none.
    """

    task = "rvos"

    def __init__(self, name: str, root: Path, split: str, layout: RefLayout, *, cache_frames: int = 0) -> None:
        super().__init__(cache_frames=cache_frames)
        self.name, self.root, self.split, self.layout = name, root, split, layout
        for remark in layout.remarks:
            log.warning("%s: %s", name, remark)

    def names(self) -> tuple[str, ...]:
        """Names of the videos, in the order of the lists."""
        return tuple(self.layout.videos)

    def frames(self, video: str) -> tuple[str, ...]:
        """Frames that the lists name: those that are tested and, where there is ground truth, annotated."""
        return self._entry(video).frames

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """The expressions whose object is known, in file order: none in the validation set of Ref-YouTube-VOS."""
        rows = self._sound(video).items
        return tuple(Expression(i.expression_id, i.text, i.object_id, OBJECT) for i in rows if i.object_id is not None)

    def class_of(self, video: str, object_id: int | None) -> str | None:
        """Name of the class of an object; None where the lists do not say it."""
        return None if object_id is None else self._entry(video).classes.get(object_id)

    def twins(self, video: str, object_id: int) -> frozenset[int]:
        """Other listed objects of the class of `object_id`; none where the lists do not say its class."""
        return same_class(self._entry(video).classes, object_id)

    def items(self) -> Iterator[RVOSItem]:
        """Items to test, video after video. Raises ValueError for a broken entry."""
        for video in self.names():
            yield from self._sound(video).items

    def image_path(self, video: str, frame: str) -> Path:
        """File of a frame."""
        return self.layout.images / video / f"{frame}.jpg"

    def mask_path(self, video: str, frame: str) -> Path:
        """File of a frame's mask."""
        return self.layout.masks / video / f"{frame}.png"

    def truth_folder(self, video: str) -> Path:
        """The masks that results are scored against, see `RefLayout`. Raises FileNotFoundError where they are not."""
        truth = self.layout.truth
        if truth is not None and not truth.is_dir():
            raise FileNotFoundError(
                f"{truth} is missing: {self.name} is scored against the masks of DAVIS-2017 Unsupervised; unpack them "
                "there, or compute no numbers with task.score=none"
            )
        return truth or super().truth_folder(video)

    def has_truth(self) -> bool:
        """Whether the masks of the split are there, by its first expression."""
        item = next(iter(self.items()), None)
        return item is not None and (self._own_truth(item).is_dir() or self._shared_truth(item))

    def truth(self, item: RVOSItem) -> Iterator[tuple[str, np.ndarray]]:
        """The frames of an expression whose truth is there, in time order, each with its mask `(H, W)` bool.

        Two layouts are read: `<video>/<expression id>/<frame>.png`, where a pixel above 0 is the object, and
        `<video>/<frame>.png`, whose values are object ids, where the lists say which one is meant.

        Raises:
            ValueError: no frame has its truth, a mask is broken, or the lists do not say which object of it is meant.
        """
        if fault := self._truth_fault(item):
            raise ValueError(fault)
        own = self._own_truth(item)
        folder = own if own.is_dir() else own.parent
        for frame in item.frames:
            if (path := folder / f"{frame}.png").is_file():
                labels = self.read_label_map(path)
                yield frame, labels > 0 if folder == own or self.merge_objects else labels == item.object_id

    def truth_faults(self) -> list[str]:
        """Sentences on expressions without any truth, the first reason of each. Reads folder listings, no mask."""
        return [fault for item in self.items() if (fault := self._truth_fault(item))]

    def _truth_fault(self, item: RVOSItem) -> str:
        own = self._own_truth(item)
        folder = own if own.is_dir() else own.parent
        if not any((folder / f"{frame}.png").is_file() for frame in item.frames):
            where = f"{self.name} ({self.split}): no truth of expression {item.expression_id} of video {item.video!r}"
            return f"{where}; expected PNGs in {own} or {own.parent}"
        if folder != own and item.object_id is None:
            return (
                f"{folder} holds the objects of video {item.video!r} by their ids, and the lists do not say which of "
                f"them expression {item.expression_id} means: give obj_id in meta_expressions.json, or masks in {own}"
            )
        return ""

    def _own_truth(self, item: RVOSItem) -> Path:
        """Folder of the masks of one expression."""
        return self.layout.masks / item.video / item.expression_id

    def _shared_truth(self, item: RVOSItem) -> bool:
        """Whether the masks of all objects of a video are there, more than the first one, and say what is meant."""
        there = list_frames(folder, (".png",)) if (folder := self.layout.masks / item.video).is_dir() else {}
        return item.object_id is not None and len(there) > 1

    def problems(self) -> list[str]:
        """Broken entries and missing files, one sentence each. Reads folder listings.

        Where results are scored (Ref-DAVIS17), it also reads masks: the first of each video, and others only for an
        object that is not in it.
        """
        # What is broken comes first: a run shows only the first few problems.
        remarks = (remark for entry in self.layout.videos.values() for remark in entry.remarks)
        return [*self.broken(), *self.layout.remarks, *remarks]

    def broken(self) -> list[str]:
        """Broken entries, missing files, and scored objects that no mask shows."""
        return [
            *(error for entry in self.layout.videos.values() for error in entry.errors),
            *self._missing(self.layout.images, "frame", ".jpg"),
            *self._missing(self.layout.masks, "mask", ".png"),
            *(line for name, entry in self.layout.videos.items() for line in self._never_shown(name, entry)),
        ]

    def listed_objects(self, video: str) -> frozenset[int] | None:
        """Objects of meta.json; None where it does not name any."""
        return frozenset(self._entry(video).classes) or None

    def content(self) -> Any:
        """Videos with frames and expressions."""
        rows = self.layout.videos.items()
        return [
            [name, video.frames, [[i.expression_id, i.text, i.object_id, i.annotator] for i in video.items]]
            for name, video in rows
        ]

    def _missing(self, folder: Path, what: str, suffix: str) -> list[str]:
        """Files that are listed and not there. Masks are expected where the lists tell the objects."""
        wanted = {
            name: video
            for name, video in self.layout.videos.items()
            if what == "frame" or any(item.object_id is not None for item in video.items)
        }
        if wanted and not folder.is_dir():
            return [f"folder {folder} is missing: it must hold the {what}s of {len(wanted)} videos; restore it"]
        return [
            line
            for name, video in wanted.items()
            for line in missing_files(folder / name, what, [f"{frame}{suffix}" for frame in video.frames])
        ]

    def _never_shown(self, name: str, entry: RefVideo) -> list[str]:
        """Objects of a scored video that an expression means and no mask shows."""
        meant = {item.object_id for item in entry.items if item.annotator is not None and item.object_id is not None}
        there = [frame for frame in entry.frames if meant and self.mask_path(name, frame).is_file()]
        for frame in there:
            try:
                meant -= self.object_ids(name, frame)
            except ValueError as error:  # a damaged mask
                return [str(error)]
            if not meant:
                break
        folder = self.layout.masks / name
        return [
            f"video {name!r}: object {k} has expressions, but no mask in {folder} shows it: with ids kept it counts in "
            f"no number; correct the object id or the masks"
            for k in sorted(meant)
            if folder.is_dir()
        ]

    def _sound(self, video: str) -> RefVideo:
        entry = self._entry(video)
        if entry.errors:
            raise ValueError(f"{self.name} in {self.root}: " + "; ".join(entry.errors))
        return entry

    def _entry(self, video: str) -> RefVideo:
        if video not in self.layout.videos:
            raise unknown_name(self, video)
        return self.layout.videos[video]


def open_davis17(row: DataSet, opening: Opening) -> RefVideoSource:
    """Reader of Ref-DAVIS17."""
    root = opening.folder
    layout = ref_davis17_layout(root, opening.split, opening.resolution)
    return RefVideoSource(row.name, root, opening.split, layout, cache_frames=opening.cache_frames)


def open_youtube_vos(row: DataSet, opening: Opening) -> RefVideoSource:
    """Reader of Ref-YouTube-VOS."""
    root = opening.folder
    layout = ref_youtube_vos_layout(root, opening.split)
    return RefVideoSource(row.name, root, opening.split, layout, cache_frames=opening.cache_frames)

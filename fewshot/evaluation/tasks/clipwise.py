"""Predictors for systems that go through whole videos in a way of their own: one for each kind of task.

Answers are written as soon as they are settled, in the form that the data set's server or toolkit reads.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from benchmarks.masks.panoptic import write_panoptic, write_panoptic_lists
from benchmarks.masks.png import write_labels
from benchmarks.masks.submission import RESULT_LAYOUTS, result_folder, write_results
from benchmarks.masks.tracks import write_tracks
from benchmarks.metrics.pvos import PvosGroups
from episodes.panoptic import PanopticFrame, Segment
from episodes.sources.base import normalise
from episodes.sources.segmentations import runs_of
from episodes.sources.video_files import VideoFiles
from episodes.sources.vocabulary import VocabularySource
from episodes.task_items import RVOSItem, VocabularyItem, VOSItem
from fewshot.evaluation.tasks.frames import Frame, FrameReader
from fewshot.evaluation.tasks.predictors import Predictor, Row, object_ids, said_by, shared_files, written
from fewshot.evaluation.tasks.samples import Sample
from fewshot.systems.video_tasks import Settled, VideoQuestion, VideoTask, Vocabulary

RESULT, LISTS = "result", "lists"  # entries of a row that the files of the whole test are made of


class ClipwisePredictor(Predictor):
    """Base: the frames of a sample go in one by one, settled frames come out.

    Args:
        source: of the videos; of the kind that the subclass is for.
        frames: reads them.
        task: the system's way through a video.
        folder: of the results.
    """

    def __init__(self, source: Any, frames: FrameReader, task: VideoTask, folder: Path) -> None:
        self.source, self.frames, self.task, self.folder = source, frames, task, folder

    @abstractmethod
    def question(self, sample: Sample, size: tuple[int, int]) -> VideoQuestion:
        """What the video of a sample is asked; `size` is that of its frames on disk."""

    def given(self, sample: Sample, frame: Frame) -> Mapping[int, Tensor]:
        """Masks that are given in a frame: none."""
        return {}

    def walk(self, sample: Sample, names: Sequence[str]) -> Iterator[tuple[list[str], Settled]]:
        """Names of frames with their settled answers, in time order; the last of them after the whole video."""
        state, waiting = None, list(names)
        for frame in self.frames.ahead(sample.video, names):
            if state is None:
                state = self.task.start(self.question(sample, frame.size))
            state, settled = self.task.step(state, frame.batch, self.given(sample, frame))
            if settled.frames:
                yield [waiting.pop(0) for _ in range(settled.frames)], settled
        yield waiting, self.task.end(state)


class ObjectPredictor(ClipwisePredictor):
    """Objects (and stuff) from their given masks: palette images of the ids. Frames before the first mask get none.

    Args:
        name_stuff: stuff is also looked for by the names of its classes (`pvos`).
    """

    source: VideoFiles

    def __init__(
        self, source: Any, frames: FrameReader, task: VideoTask, folder: Path, name_stuff: bool = False
    ) -> None:
        super().__init__(source, frames, task, folder)
        self.name_stuff = name_stuff

    def question(self, sample: Sample, size: tuple[int, int]) -> VideoQuestion:
        """The objects that some frame gives; with the classes of those that are stuff, where they are to be named."""
        asked = VideoQuestion(size, objects=_item(sample).objects, data=self.frames.source.name)
        return replace(asked, **stuff_of(self.source, sample.video)) if self.name_stuff else asked

    def given(self, sample: Sample, frame: Frame) -> Mapping[int, Tensor]:
        """Masks at the size on disk, on the device of the frame."""
        masks = self.source.read_given(_item(sample), frame.name)
        return {k: mask.to(frame.batch.frames.device) for k, mask in masks.items()}

    def predict(self, sample: Sample) -> list[Row]:
        """Write a palette image per frame; one row per object, with its frames and its mean score."""
        item, counts = _item(sample), _Counts()
        entered = min(item.frames.index(frame) for frame in item.given)
        for names, settled in self.walk(sample, item.frames):
            counts.add(settled)
            for t, name in enumerate(names):
                if item.frames.index(name) >= entered:
                    write_results(self.source.name, self.folder, item, [name], labels_of(settled, t)[None])
        return [{"video": item.video, "object": k, **counts.row(k)} for k in item.objects]

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """One row for the video: all objects are in the same files."""
        item = _item(sample)
        return [(sample.video, written(result_folder(self.source.name, self.folder, item), item.frames))]


class ExpressionPredictor(ClipwisePredictor):
    """Expressions in videos: palette images of the object ids where they share an image, else a mask of each."""

    @property
    def exclusive(self) -> bool:
        """Whether the expressions of a video share images."""
        return RESULT_LAYOUTS[self.source.name].palette

    def question(self, sample: Sample, size: tuple[int, int]) -> VideoQuestion:
        """All expressions of the sample."""
        said = tuple(normalise(item.text) for item in _said(sample))
        return VideoQuestion(size, expressions=said, exclusive=self.exclusive, data=self.source.name)

    def predict(self, sample: Sample) -> list[Row]:
        """Write the masks of every frame; one row per expression, with its frames and its mean score."""
        items, counts = _said(sample), _Counts()
        for names, settled in self.walk(sample, items[0].frames):
            counts.add(settled)
            for t, name in enumerate(names):
                self._write(items, name, settled, t)
        return [{**said_by(sample, item), **counts.row(k)} for k, item in enumerate(items, start=1)]

    def _write(self, items: Sequence[RVOSItem], name: str, settled: Settled, t: int) -> None:
        if self.exclusive:
            labels = labels_of(settled, t, object_ids(items))
            write_results(self.source.name, self.folder, items[0], [name], labels[None])
            return
        assert settled.masks is not None
        for item, mask in zip(items, settled.masks[:, t], strict=True):
            write_results(self.source.name, self.folder, item, [name], mask[None].numpy())

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """One row for each expression, or one for all where they are in the same files."""
        return shared_files(_said(sample), self.source.name, self.folder, self.exclusive)


class VocabularyPredictor(ClipwisePredictor):
    """Base of what is asked with the classes of the data set; nothing of it is drawn."""

    def question(self, sample: Sample, size: tuple[int, int]) -> VideoQuestion:
        """All classes of the data set."""
        return vocabulary_question(self.source, size)

    def category(self, place: int) -> int:
        """Number of a class in the files of the data set."""
        return int(self.source.categories[place].id)

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """None."""
        return []


class TrackPredictor(VocabularyPredictor):
    """Tracks of all things: `results.json` of YouTube-VIS and OVIS."""

    def predict(self, sample: Sample) -> list[Row]:
        """One row for each class of each track, with its run lengths."""
        item, runs = _named(sample), dict[int, list[Any]]()
        done, settled = 0, Settled(0)
        for names, settled in self.walk(sample, item.frames):
            for k, masks in zip(settled.ids, () if settled.masks is None else settled.masks.numpy(), strict=True):
                own = runs.setdefault(k, [])
                own += [None] * (done - len(own))
                own += [runs_of(mask) if mask.any() else None for mask in masks]
            done += len(names)
        for own in runs.values():
            own += [None] * (done - len(own))
        return [self._row(sample, track.id, track.label, track.score, runs[track.id]) for track in settled.tracks]

    def _row(self, sample: Sample, track: int, label: int, score: float, runs: list[Any]) -> Row:
        ids = {"video_id": self.source.video_id(sample.video), "category_id": self.category(label)}
        shown = sum(mask is not None for mask in runs)
        said = {"video": sample.video, "track": track, "category": self.source.categories[label].name, "score": score}
        return {**said, "frames": len(runs), "found": shown, RESULT: {**ids, "score": score, "segmentations": runs}}

    def complete(self, rows: Sequence[Row]) -> list[Path]:
        """Write `results.json` of all videos."""
        return [write_tracks(self.folder, [row[RESULT] for row in rows])]


class ClassPredictor(VocabularyPredictor):
    """A class for every pixel: `<video>/<frame>.png` with its number from 0 on, as the code of VSPW reads it."""

    def predict(self, sample: Sample) -> list[Row]:
        """Write the maps of a video; one row, with the number of classes that it shows."""
        item, shown = _named(sample), set[int]()
        numbers = np.array([self.category(place) for place in range(len(self.source.categories))], np.uint8)
        for names, settled in self.walk(sample, item.frames):
            for t, name in enumerate(names):
                assert settled.labels is not None
                labels = numbers[settled.labels[t].numpy()]
                shown |= set(np.unique(labels).tolist())
                write_labels(self.folder / sample.video / f"{name}.png", labels)
        return [{"video": sample.video, "frames": len(item.frames), "classes": len(shown)}]


class PanopticPredictor(VocabularyPredictor):
    """Panoptic segments: `pan_pred/<video>/<frame>.png` and `pred.json`, as the programs of VIPSeg read them."""

    def predict(self, sample: Sample) -> list[Row]:
        """Write the maps of a video; one row, with its lists."""
        item, parts = _named(sample), set[int]()
        lists = write_panoptic(self.folder, sample.video, self._frames(sample, item.frames, parts))
        return [{"video": sample.video, "frames": len(item.frames), "segments": len(parts), LISTS: lists}]

    def _frames(self, sample: Sample, frames: Sequence[str], parts: set[int]) -> Iterator[PanopticFrame]:
        for names, settled in self.walk(sample, frames):
            labels = {part.number: part.label for part in settled.segments}
            for t, name in enumerate(names):
                assert settled.labels is not None
                ids = settled.labels[t].numpy()
                there = [k for k in np.unique(ids).tolist() if k]
                parts |= set(there)
                yield PanopticFrame(name, ids, tuple(Segment(k, self.category(labels[k])) for k in there))

    def complete(self, rows: Sequence[Row]) -> list[Path]:
        """Write `pred.json` of all videos."""
        return [write_panoptic_lists(self.folder, [row[LISTS] for row in rows])]


class _Counts:
    """Counter of the frames in which each thing was found, and of its scores there."""

    def __init__(self) -> None:
        self.frames = 0
        self.found: dict[int, int] = {}
        self.scores: dict[int, float] = {}

    def add(self, settled: Settled) -> None:
        """Count frames."""
        self.frames += settled.frames
        if settled.masks is None or settled.scores is None:
            return
        for k, masks, scores in zip(settled.ids, settled.masks, settled.scores, strict=True):
            self.found[k] = self.found.get(k, 0) + int(masks.flatten(1).any(1).sum())
            self.scores[k] = self.scores.get(k, 0.0) + float(scores.sum())

    def row(self, k: int) -> Row:
        """Frames looked at, frames in which `k` has a pixel, and its mean score."""
        return {"frames": self.frames, "found": self.found.get(k, 0), "score": self.scores.get(k, 0.0) / self.frames}


def labels_of(settled: Settled, t: int, ids: Sequence[int] | None = None) -> np.ndarray:
    """Ids `(Ho, Wo)` uint8 of a frame whose masks do not overlap; `ids` are other numbers for the things, in order."""
    assert settled.masks is not None
    labels = np.zeros(settled.masks.shape[-2:], np.uint8)
    for k, mask in zip(settled.ids if ids is None else ids, settled.masks[:, t].numpy(), strict=True):
        labels[mask] = k
    return labels


def vocabulary_question(source: VocabularySource, size: tuple[int, int]) -> VideoQuestion:
    """All classes of a data set as a question about a video of this size."""
    stuff = frozenset(place for place, category in enumerate(source.categories) if not category.thing)
    vocabulary = Vocabulary(tuple(category.name for category in source.categories), stuff)
    return VideoQuestion(size, vocabulary, data=source.name)


def stuff_of(source: Any, video: str) -> dict[str, Any]:
    """The vocabulary of a question about given objects and stuff, and which of them are stuff of which class.

    Raises:
        FileNotFoundError, ValueError: the names or the groups of the classes are not there, or broken.
    """
    names, groups = source.class_names, PvosGroups(source.groups, source.exceptions)
    classes = source.classes_of(video)
    stuff = {k: number for k, number in classes.items() if (groups.group(video, number) or "").startswith("stuff")}
    if odd := [number for number in stuff.values() if number not in range(len(names))]:
        raise ValueError(
            f"{source.name}: class {odd[0]} has no name, there are {len(names)}: complete the list of names"
        )
    return {"vocabulary": Vocabulary(names), "stuff": stuff}


def _item(sample: Sample) -> VOSItem:
    (item,) = sample.items
    assert isinstance(item, VOSItem)
    return item


def _named(sample: Sample) -> VocabularyItem:
    (item,) = sample.items
    assert isinstance(item, VocabularyItem)
    return item


def _said(sample: Sample) -> list[RVOSItem]:
    items = [item for item in sample.items if isinstance(item, RVOSItem)]
    assert len(items) == len(sample.items)
    return items


CLIPWISE: dict[str, type[ClipwisePredictor]] = {
    "vos": ObjectPredictor,
    "pvos": ObjectPredictor,
    "rvos": ExpressionPredictor,
    "vis": TrackPredictor,
    "vss": ClassPredictor,
    "vps": PanopticPredictor,
}

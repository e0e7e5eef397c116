"""Predictors of the tasks: masks are written as they are found, and each object or expression gives a row of scores."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

import torch.nn.functional as F
from torch import Tensor

from benchmarks.masks.png import write_mask
from benchmarks.masks.submission import result_folder, write_results
from episodes.sources.base import Source, normalise
from episodes.sources.video_files import VideoFiles
from episodes.task_items import RISItem, RVOSItem, VOSItem
from fewshot.evaluation.tasks.frames import Frame, FrameReader
from fewshot.evaluation.tasks.samples import Sample
from fewshot.inference.look import answers, read_references
from fewshot.inference.postprocess import ImageResult, image_results
from fewshot.inference.trackers import FrameMasks, RVOSTracker, VOSTracker
from fewshot.systems.base import System

Row = dict[str, Any]
IMAGE = "0"  # an image is a clip of this one frame


class Predictor(ABC):
    """Predictor of the masks of a sample. The system is in eval mode, without gradients."""

    @abstractmethod
    def predict(self, sample: Sample) -> list[Row]:
        """Write the masks of a sample and return one row per object or expression, of plain types."""

    @abstractmethod
    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """Expression (or name of the video) and mask files by frame, in time order, of each row of a picture."""

    def complete(self, rows: Sequence[Row]) -> list[Path]:
        """Write the files that hold all samples together, from the rows of all; their paths. Few tasks have one."""
        return []


class VOSPredictor(Predictor):
    """Objects from their given masks: palette images of the object ids. Frames before the first mask get no file.

    Args:
        resize_given: masks enter at network size, which softens their border in the result.
    """

    def __init__(
        self,
        source: VideoFiles,
        frames: FrameReader,
        tracker: VOSTracker,
        benchmark: str,
        folder: Path,
        resize_given: bool = False,
    ) -> None:
        self.source, self.frames, self.tracker, self.resize_given = source, frames, tracker, resize_given
        self.benchmark, self.folder = benchmark, folder

    def predict(self, sample: Sample) -> list[Row]:
        """Write a palette image per frame; one row per object, with its frames and its mean score."""
        item = _the(sample, VOSItem)
        state, tally = None, Tally()
        for frame in self.frames.ahead(item.video, item.frames):
            state = state or self.tracker.start(frame.size)
            given = self._given(item, frame)
            state, found = self.tracker.step(state, frame.batch, given)
            tally.add(found, given)
            if found.ids:
                write_results(self.benchmark, self.folder, item, [frame.name], found.labels()[None].cpu().numpy())
        return [{"video": item.video, "object": k, **tally.row(k)} for k in item.objects]

    def _given(self, item: VOSItem, frame: Frame) -> dict[int, Tensor]:
        masks = {k: m.to(frame.batch.frames.device) for k, m in self.source.read_given(item, frame.name).items()}
        if not self.resize_given:
            return masks
        size = tuple(frame.batch.sizes[0].tolist())
        small = {k: F.interpolate(m[None, None].float(), size)[0, 0] > 0.5 for k, m in masks.items()}
        return {k: m if m.any() else masks[k] for k, m in small.items()}  # a few pixels may vanish: then as it is

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """One row for the video: all objects are in the same files."""
        item = _the(sample, VOSItem)
        return [(sample.video, written(result_folder(self.benchmark, self.folder, item), item.frames))]


class RVOSPredictor(Predictor):
    """Expressions in videos: palette images of the object ids where they compete for pixels, else a mask of each."""

    def __init__(self, frames: FrameReader, tracker: RVOSTracker, benchmark: str, folder: Path) -> None:
        self.frames, self.tracker, self.benchmark, self.folder = frames, tracker, benchmark, folder

    def predict(self, sample: Sample) -> list[Row]:
        """Write the masks of every frame; one row per expression, with its frames and its mean score."""
        items = _all(sample, RVOSItem)
        state, tally = None, Tally()
        for frame in self.frames.ahead(sample.video, items[0].frames):
            state = state or self.tracker.start(frame.size, [normalise(item.text) for item in items])
            state, found = self.tracker.step(state, frame.batch)
            tally.add(found)
            for item, mask in self._images(items, found):
                write_results(self.benchmark, self.folder, item, [frame.name], mask[None].cpu().numpy())
        return [{**said_by(sample, item), **tally.row(k)} for k, item in enumerate(items, start=1)]

    def _images(self, items: Sequence[RVOSItem], found: FrameMasks) -> list[tuple[RVOSItem, Tensor]]:
        """Images to write: one of all expressions of a video, or one of each."""
        if self.tracker.exclusive:
            return [(items[0], found.labels(object_ids(items)))]
        return list(zip(items, found.masks, strict=True))

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """One row for each expression, or one for all where they are in the same files."""
        return shared_files(_all(sample, RVOSItem), self.benchmark, self.folder, self.tracker.exclusive)


class RISPredictor(Predictor):
    """Expressions in images: `<image>/<expression id>.png`, 0 and 255; areas are counted at the original size.

    An expression without a prediction is an empty mask.

    Args:
        by_nearest: how masks get to the original size, see `image_results`.
    """

    def __init__(self, source: Source, frames: FrameReader, system: System, folder: Path, by_nearest: bool) -> None:
        self.source, self.frames, self.system, self.folder = source, frames, system, folder
        self.by_nearest = by_nearest

    def predict(self, sample: Sample) -> list[Row]:
        """Write the mask of each expression; one row each, with intersection and union in pixels."""
        frame = next(iter(self.frames.ahead(sample.video, (IMAGE,))))
        items = _all(sample, RISItem)
        references = read_references(self.system, [normalise(item.text) for item in items])
        results = [
            result
            for prediction, images in answers(self.system, self.system.with_features(frame.batch), references)
            for result in image_results(self.system, prediction, images, [frame.size] * len(images), self.by_nearest)
        ]
        return [self._row(item, result) for item, result in zip(items, results, strict=True)]

    def _row(self, item: RISItem, result: ImageResult) -> Row:
        mask = (result.mask & result.found).cpu()
        truth = self.source.read_masks(item.image, (IMAGE,), item.object_id)[0]
        inter, union = int((mask & truth).sum()), int((mask | truth).sum())
        write_mask(self._path(item), mask.numpy())
        said = {"image": item.image, "expression_id": item.expression_id, "expression": item.text}
        return {**said, "score": result.score, "found": result.found, "intersection": inter, "union": union}

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """One row for each expression."""
        return [(item.text, {IMAGE: self._path(item)}) for item in _all(sample, RISItem)]

    def _path(self, item: RISItem) -> Path:
        return self.folder / item.image / f"{item.expression_id}.png"


class Tally:
    """Counter of the frames in which each object was found, and of its scores there."""

    def __init__(self) -> None:
        self.frames = 0
        self.found: dict[int, int] = {}
        self.scores: dict[int, list[float]] = {}

    def add(self, found: FrameMasks, given: Collection[int] = ()) -> None:
        """Count a frame. Objects whose masks are `given` in it were not looked for and have no score there."""
        self.frames += 1
        shown = found.masks.flatten(1).any(1).tolist()
        for k, score, there in zip(found.ids, found.scores, shown, strict=True):
            self.found[k] = self.found.get(k, 0) + there
            if k not in given:
                self.scores.setdefault(k, []).append(score)

    def merge(self, other: Tally) -> None:
        """Add the frames of another one, which come after those of this one."""
        self.frames += other.frames
        for k, count in other.found.items():
            self.found[k] = self.found.get(k, 0) + count
        for k, scores in other.scores.items():
            self.scores.setdefault(k, []).extend(scores)

    def row(self, k: int) -> Row:
        """Frames looked at, frames in which object `k` has a pixel, and its mean score."""
        scores = self.scores.get(k, [])
        mean = sum(scores) / len(scores) if scores else 0.0
        return {"frames": self.frames, "found": self.found.get(k, 0), "score": mean}


def written(folder: Path, frames: Sequence[str]) -> dict[str, Path]:
    """The mask files of frames in a folder, those that are there."""
    paths = {frame: folder / f"{frame}.png" for frame in frames}
    return {frame: path for frame, path in paths.items() if path.is_file()}


def object_ids(items: Sequence[RVOSItem]) -> tuple[int, ...]:
    """The ids of the objects of expressions that share an image: its values."""
    ids = [item.object_id for item in items if item.object_id is not None]
    assert len(set(ids)) == len(items), f"expressions of {items[0].video} share an image, and their objects an id"
    return tuple(ids)


def shared_files(
    items: Sequence[RVOSItem], benchmark: str, folder: Path, exclusive: bool
) -> list[tuple[str, dict[str, Path]]]:
    """Mask files of a video: a row for each expression, or, where they share images, one for all (`exclusive`)."""
    said = [item.text for item in items]
    if exclusive:
        named = zip(object_ids(items), said, strict=True)
        items, said = items[:1], ["; ".join(f"{k}: {text}" for k, text in named)]
    folders = [result_folder(benchmark, folder, item) for item in items]
    return [(text, written(own, items[0].frames)) for text, own in zip(said, folders, strict=True)]


def said_by(sample: Sample, item: RVOSItem) -> Row:
    """The part of a row that says which expression it is."""
    who = {} if sample.annotator is None else {"annotator": sample.annotator}
    return {"video": sample.video, **who, "expression_id": item.expression_id, "expression": item.text}


def _the(sample: Sample, item_type: type) -> Any:
    (item,) = _all(sample, item_type)
    return item


def _all(sample: Sample, item_type: type) -> list[Any]:
    assert all(isinstance(item, item_type) for item in sample.items), (
        f"sample {sample.name} has other items than {item_type.__name__}"
    )
    return list(sample.items)

"""How a unit is answered: the masks are written as they are found, and each question leaves a row for the table."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Collection, Sequence
from dataclasses import replace
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
from fewshot.evaluation.tasks.units import Unit
from fewshot.inference.postprocess import image_results
from fewshot.inference.trackers import FrameMasks, RVOSTracker, VOSTracker
from fewshot.systems.base import System

Row = dict[str, Any]
IMAGE = "0"  # an image is a clip of this one frame


class Answerer(ABC):
    """Answers units. The system is in eval mode, without gradients."""

    @abstractmethod
    def answer(self, unit: Unit) -> list[Row]:
        """Write the masks of a unit and return one row per object or expression, of plain types."""

    @abstractmethod
    def files(self, unit: Unit) -> list[tuple[str, dict[str, Path]]]:
        """For each question its words and its answer: frame -> mask file, in time order. For the pictures."""


class VOSAnswerer(Answerer):
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

    def answer(self, unit: Unit) -> list[Row]:
        item = _the(unit, VOSItem)
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

    def files(self, unit: Unit) -> list[tuple[str, dict[str, Path]]]:
        item = _the(unit, VOSItem)
        return [(unit.video, _written(result_folder(self.benchmark, self.folder, item), item.frames))]


class RVOSAnswerer(Answerer):
    """Expressions in videos: palette images where they compete for pixels (1 is the first one), else a mask of each."""

    def __init__(self, frames: FrameReader, tracker: RVOSTracker, benchmark: str, folder: Path) -> None:
        self.frames, self.tracker, self.benchmark, self.folder = frames, tracker, benchmark, folder

    def answer(self, unit: Unit) -> list[Row]:
        items = _all(unit, RVOSItem)
        state, tally = None, Tally()
        for frame in self.frames.ahead(unit.video, items[0].frames):
            state = state or self.tracker.start(frame.size, [normalise(item.text) for item in items])
            state, found = self.tracker.step(state, frame.batch)
            tally.add(found)
            for item, mask in self._answers(items, found):
                write_results(self.benchmark, self.folder, item, [frame.name], mask[None].cpu().numpy())
        return [{**_said(unit, item), **tally.row(k)} for k, item in enumerate(items, start=1)]

    def _answers(self, items: Sequence[RVOSItem], found: FrameMasks) -> list[tuple[RVOSItem, Tensor]]:
        """What is written: one image of all expressions of a video, or one of each."""
        if self.tracker.exclusive:
            return [(items[0], found.labels())]
        return list(zip(items, found.masks, strict=True))

    def files(self, unit: Unit) -> list[tuple[str, dict[str, Path]]]:
        items = _all(unit, RVOSItem)
        said = [item.text for item in items]
        if self.tracker.exclusive:
            items, said = items[:1], ["; ".join(f"{k}: {text}" for k, text in enumerate(said, start=1))]
        folders = [result_folder(self.benchmark, self.folder, item) for item in items]
        return [(text, _written(folder, items[0].frames)) for text, folder in zip(said, folders, strict=True)]


class RISAnswerer(Answerer):
    """Expressions in images: `<image>/<expression id>.png`, 0 and 255; areas are counted at the original size.

    An expression without a prediction is an empty mask.
    """

    def __init__(self, source: Source, frames: FrameReader, system: System, folder: Path) -> None:
        self.source, self.frames, self.system, self.folder = source, frames, system, folder

    def answer(self, unit: Unit) -> list[Row]:
        frame = next(iter(self.frames.ahead(unit.video, (IMAGE,))))
        return [self._answer(item, frame) for item in _all(unit, RISItem)]

    def _answer(self, item: RISItem, frame: Frame) -> Row:
        queries = replace(frame.batch, expressions=(normalise(item.text),))
        result = image_results(self.system, self.system(queries, None), queries, [frame.size])[0]
        mask = (result.mask & result.found).cpu()
        truth = self.source.read_masks(item.image, (IMAGE,), item.object_id)[0]
        inter, union = int((mask & truth).sum()), int((mask | truth).sum())
        write_mask(self._path(item), mask.numpy())
        said = {"image": item.image, "expression_id": item.expression_id, "expression": item.text}
        return {**said, "score": result.score, "found": result.found, "intersection": inter, "union": union}

    def files(self, unit: Unit) -> list[tuple[str, dict[str, Path]]]:
        return [(item.text, {IMAGE: self._path(item)}) for item in _all(unit, RISItem)]

    def _path(self, item: RISItem) -> Path:
        return self.folder / item.image / f"{item.expression_id}.png"


class Tally:
    """In how many frames each object was found, and with what score."""

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

    def row(self, k: int) -> Row:
        """Frames looked at, frames in which object `k` has a pixel, and its mean score."""
        scores = self.scores.get(k, [])
        mean = sum(scores) / len(scores) if scores else 0.0
        return {"frames": self.frames, "found": self.found.get(k, 0), "score": mean}


def _written(folder: Path, frames: Sequence[str]) -> dict[str, Path]:
    paths = {frame: folder / f"{frame}.png" for frame in frames}
    return {frame: path for frame, path in paths.items() if path.is_file()}


def _said(unit: Unit, item: RVOSItem) -> Row:
    who = {} if unit.annotator is None else {"annotator": unit.annotator}
    return {"video": unit.video, **who, "expression_id": item.expression_id, "expression": item.text}


def _the(unit: Unit, kind: type) -> Any:
    (item,) = _all(unit, kind)
    return item


def _all(unit: Unit, kind: type) -> list[Any]:
    assert all(isinstance(item, kind) for item in unit.items), f"unit {unit.name} has other items than {kind.__name__}"
    return list(unit.items)

"""Predictor of sentences about single frames of videos, with the frames around them: A2D- and JHMDB-Sentences."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path

from benchmarks.masks.png import write_mask
from benchmarks.metrics.ris import best_candidate
from benchmarks.metrics.sentences import overlap
from episodes.batch import ClipBatch
from episodes.clip import Clip
from episodes.sources.base import normalise
from episodes.sources.segmentations import runs_of
from episodes.sources.sentences import SentenceSource, Window
from episodes.task_items import RFSItem
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.predictors import Predictor, Row
from fewshot.evaluation.tasks.samples import Sample
from fewshot.inference.candidates import frame_candidates
from fewshot.inference.look import read_references
from fewshot.systems.base import ReferenceState, System


class SentencePredictor(Predictor):
    """Sentences about frames: `<video>/<frame>/<expression id>.png`, 0 and 255, and the run lengths of all candidates.

    Args:
        window: so many frames are shown, the one that is asked for in their middle.
        by_nearest: masks are cut at network size and resized by the nearest pixel; else logits are resized.
    """

    def __init__(
        self,
        source: SentenceSource,
        frames: FrameReader,
        system: System,
        folder: Path,
        window: int,
        by_nearest: bool = False,
    ) -> None:
        self.source, self.frames, self.system, self.folder = source, frames, system, folder
        self.window, self.by_nearest = window, by_nearest

    def predict(self, sample: Sample) -> list[Row]:
        """Write the best mask of each sentence; one row each, `runs` with the run lengths of candidates and truth."""
        items = _items(sample)
        texts = list(dict.fromkeys(normalise(item.text) for item in items))  # one may be said of several frames
        references = read_references(self.system, texts)
        states = {text: references.some(k, k + 1) for k, text in enumerate(texts)}
        windows = self.source.read_windows(sample.video, list(dict.fromkeys(i.frame for i in items)), self.window)
        return [
            self._predict(item, batch, windows[frame], states[normalise(item.text)])
            for frame, batch in self._batches(sample.video, windows)
            for item in items
            if item.frame == frame
        ]

    def _batches(self, video: str, windows: dict[str, Window]) -> Iterable[tuple[str, ClipBatch]]:
        """The window of each frame as network input, its visual features computed once for all sentences."""
        for frame, window in windows.items():
            clip = Clip(window.frames, video=video, frame_names=window.names)
            batch = replace(self.frames.batch(clip).to(self.frames.device), asked=(window.asked,))
            yield frame, self.system.with_features(batch)

    def _predict(self, item: RFSItem, batch: ClipBatch, window: Window, state: ReferenceState) -> Row:
        prediction = self.system(batch, state)
        masks, scores = frame_candidates(self.system, prediction, batch, window.asked, window.size, self.by_nearest)
        truth = self._truth(item, window.size)
        best = best_candidate(scores)
        write_mask(self._path(item), masks[best].numpy())
        size, runs = list(truth["size"]), [runs_of(mask.numpy()) for mask in masks]
        inter, union = overlap(runs[best], truth)
        return {
            "video": item.video,
            "frame": item.frame,
            "expression_id": item.expression_id,
            "expression": item.text,
            "sample_id": item.sample_id,
            "score": scores[best],
            "intersection": inter,
            "union": union,
            "runs": {
                "size": size,
                "truth": truth["counts"],
                "scores": scores,
                "candidates": [r["counts"] for r in runs],
            },
        }

    def _truth(self, item: RFSItem, size: tuple[int, int]) -> Row:
        truth = self.source.read_masks(item.video, (item.frame,), item.object_id)[0]
        if tuple(truth.shape) != size:
            (hm, wm), (h, w) = truth.shape, size
            raise ValueError(
                f"{self.source.where(item.video, item.frame)} is {hm}x{wm}, but its frame is {h}x{w}: they must be of "
                f"one size"
            )
        return runs_of(truth.numpy())

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """One row for each sentence, with the frames that it is about."""
        rows: dict[str, tuple[str, dict[str, Path]]] = {}
        for item in _items(sample):
            rows.setdefault(item.expression_id, (item.text, {}))[1][item.frame] = self._path(item)
        return list(rows.values())

    def _path(self, item: RFSItem) -> Path:
        return self.folder / item.video / item.frame / f"{item.expression_id}.png"


def _items(sample: Sample) -> list[RFSItem]:
    assert all(isinstance(item, RFSItem) for item in sample.items), f"sample {sample.name} has items of another task"
    return [item for item in sample.items if isinstance(item, RFSItem)]

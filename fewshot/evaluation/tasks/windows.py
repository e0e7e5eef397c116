"""Predictor of expressions in videos for systems that keep no memory: each window of frames is a clip of its own.

As ReferFormer (Wu et al., CVPR 2022) and SgMg (Miao et al., ICCV 2023) are tested. Objects that share an image compete
for its pixels as there: probabilities below 0.5 count nothing, and the most probable object has the pixel.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.masks.submission import RESULT_LAYOUTS, write_results
from episodes.clip import Clip
from episodes.episode import Verbatim
from episodes.sources.base import normalise
from episodes.task_items import RVOSItem
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.predictors import Predictor, Row, Tally, object_ids, said_by, shared_files
from fewshot.evaluation.tasks.samples import Sample
from fewshot.inference.candidates import best_of_clip, scores_of_clip
from fewshot.inference.look import SharedReferences, answers, read_references
from fewshot.inference.trackers import FrameMasks
from fewshot.systems.base import System


@dataclass(frozen=True)
class Answer:
    """Answer of a window: the counts of its frames, and the sums over them of the scores of each expression's
    candidates `(Q,)`; no sums where a system has nothing to choose from.
    """

    tally: Tally
    scores: tuple[Tensor, ...]


class WindowPredictor(Predictor):
    """Expressions in videos, window after window: palette images of the object ids, or a mask of each expression.

    Args:
        window: frames of a window; the last one of a video may be shorter.
        threshold: an object is seen in a window where its score is above this; None: always.
        keep_case: capitals of expressions are read.
        one_candidate: the best candidate over all windows answers in all of them, for which a window that has another
            best one is looked at again; else each window has a best one of its own, and the object may change.
    """

    def __init__(
        self,
        frames: FrameReader,
        system: System,
        benchmark: str,
        folder: Path,
        window: int,
        threshold: float | None = None,
        keep_case: bool = False,
        one_candidate: bool = True,
    ) -> None:
        self.frames, self.system, self.benchmark, self.folder = frames, system, benchmark, folder
        self.window, self.threshold, self.one_candidate = window, threshold, one_candidate
        self.read: Callable[[str], str] = Verbatim if keep_case else normalise
        self.exclusive = RESULT_LAYOUTS[benchmark].palette

    def predict(self, sample: Sample) -> list[Row]:
        """Write the masks of every frame; one row per expression, with its frames and its mean score."""
        items, tally = _items(sample), Tally()
        references = read_references(self.system, [self.read(item.text) for item in items])
        names = items[0].frames
        windows = [names[start : start + self.window] for start in range(0, len(names), self.window)]
        found = [self._answer(items, window, references) for window in windows]
        if self.one_candidate and len(windows) > 1 and all(answer.scores for answer in found):
            wanted = _best([sum(of_one[1:], of_one[0]) for of_one in zip(*(a.scores for a in found), strict=True)])
            found = [
                answer if _best(answer.scores) == wanted else self._answer(items, window, references, wanted)
                for answer, window in zip(found, windows, strict=True)
            ]
        for answer in found:
            tally.merge(answer.tally)
        return [{**said_by(sample, item), **tally.row(k)} for k, item in enumerate(items, start=1)]

    def _answer(
        self, items: Sequence[RVOSItem], names: Sequence[str], references: SharedReferences, wanted: Sequence[int] = ()
    ) -> Answer:
        """Write the masks of a window, those of its best candidates or of the `wanted` ones."""
        video, tally = items[0].video, Tally()
        clip = Clip(self.frames.source.read_frames(video, names), video=video, frame_names=tuple(names))
        seen = self.system.with_features(self.frames.batch(clip).to(self.frames.device))
        found, sums = [], []
        for prediction, clips in answers(self.system, seen, references, wanted):
            for n in range(len(clips)):
                found.append(best_of_clip(self.system, prediction, clips, n))
                sums.append(scores_of_clip(prediction, n))
        logits, scores = torch.stack([logits for logits, _ in found]), tuple(score for _, score in found)
        for t, name in enumerate(names):
            in_frame = self._in_frame(logits[:, t], scores, clip.size)
            tally.add(in_frame)
            self._write(items, name, in_frame)
        known = tuple(x for x in sums if x is not None)
        return Answer(tally, known if len(known) == len(sums) else ())

    def _in_frame(self, logits: Tensor, scores: tuple[float, ...], size: tuple[int, int]) -> FrameMasks:
        """Masks of the expressions in a frame from their logits `(n, h, w)`, which are resized bilinearly first.

        One frame at a time: those of a window at the original size, of ten expressions, would be gigabytes.
        """
        probabilities = F.interpolate(logits[:, None], size, mode="bilinear", align_corners=False)[:, 0].sigmoid()
        if self.threshold is not None:
            probabilities[[not score > self.threshold for score in scores]] = 0
        masks = probabilities >= 0.5 if self.exclusive else probabilities > 0.5  # as the released codes cut
        return FrameMasks(tuple(range(1, len(logits) + 1)), probabilities, masks, scores)

    def _write(self, items: Sequence[RVOSItem], frame: str, found: FrameMasks) -> None:
        if self.exclusive:
            labels = found.labels(object_ids(items))
            write_results(self.benchmark, self.folder, items[0], [frame], labels[None].cpu().numpy())
            return
        for item, mask in zip(items, found.masks, strict=True):
            write_results(self.benchmark, self.folder, item, [frame], mask[None].cpu().numpy())

    def files(self, sample: Sample) -> list[tuple[str, dict[str, Path]]]:
        """One row for each expression, or one for all where they are in the same files."""
        return shared_files(_items(sample), self.benchmark, self.folder, self.exclusive)


def _best(scores: Sequence[Tensor]) -> tuple[int, ...]:
    """The best candidate of each expression by its scores `(Q,)`."""
    return tuple(int(of_one.argmax()) for of_one in scores)


def _items(sample: Sample) -> list[RVOSItem]:
    assert all(isinstance(item, RVOSItem) for item in sample.items), f"sample {sample.name} has items of another task"
    return [item for item in sample.items if isinstance(item, RVOSItem)]

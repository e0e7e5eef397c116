"""A way through videos that knows the truth: what it settles is what the source says, a window at a time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.systems.video_tasks import (
    NOTHING,
    FoundTrack,
    PanopticPart,
    Settled,
    VideoQuestion,
    VideoTask,
)


@dataclass(frozen=True)
class Place:
    """Frames seen and told of a video that is asked a question."""

    question: VideoQuestion
    seen: int = 0
    told: int = 0


class Truth(VideoTask):
    """Settles `window` frames as soon as they are seen, and the rest at the end.

    Args:
        source: of the video; kind: of the task.
    """

    def __init__(self, source: Any, video: str, window: int = 2) -> None:
        self.source, self.video, self.window = source, video, window
        self.given: list[dict[int, Tensor]] = []
        self.asked: list[VideoQuestion] = []

    def start(self, question: VideoQuestion) -> Place:
        self.asked.append(question)
        return Place(question)

    def step(self, state: Place, frame: ClipBatch, given: Mapping[int, Tensor] = NOTHING) -> tuple[Place, Settled]:
        assert tuple(frame.frames.shape[:2]) == (1, 1)
        self.given.append(dict(given))
        state = replace(state, seen=state.seen + 1)
        if state.seen - state.told < self.window:
            return state, Settled(0)
        return replace(state, told=state.seen), self.frames(state, state.seen)

    def end(self, state: Place) -> Settled:
        settled = self.frames(state, state.seen)
        if self.source.task != "vis":
            return settled
        objects = self.source.read_objects(self.video, self.names)
        tracks = zip(objects.ids.tolist(), objects.labels.tolist(), strict=True)
        return replace(settled, tracks=tuple(FoundTrack(k, label, 0.9) for k, label in tracks))

    @property
    def names(self) -> tuple[str, ...]:
        """All frames of the video."""
        listed = self.source.all_frames if hasattr(self.source, "all_frames") else self.source.frames
        return tuple(listed(self.video))

    def frames(self, state: Place, until: int) -> Settled:
        """The truth of the frames that are not told."""
        names = self.names[state.told : until]
        if not names:
            return Settled(0)
        answer: dict[str, Any] = getattr(self, self.source.task)(names, state.question)
        return Settled(len(names), **answer)

    def vis(self, names: tuple[str, ...], question: VideoQuestion) -> dict[str, Any]:
        objects = self.source.read_objects(self.video, names)
        return {"ids": tuple(objects.ids.tolist()), "masks": objects.masks}

    def vss(self, names: tuple[str, ...], question: VideoQuestion) -> dict[str, Any]:
        """Void is the first class."""
        place = {category.id + 1: k for k, category in enumerate(self.source.categories)}
        maps = self.source.read_semantic(self.video, names)
        return {"labels": torch.from_numpy(np.vectorize(lambda label: place.get(label, 0), otypes=[int])(maps))}

    def vps(self, names: tuple[str, ...], question: VideoQuestion) -> dict[str, Any]:
        """The segments of the whole video are numbered in the order of their ids."""
        frames = list(self.source.read_panoptic(self.video))
        place = {category.id: k for k, category in enumerate(self.source.categories)}
        labels = {s.id: place[s.category] for frame in frames for s in frame.segments}
        number = {0: 0, **{k: n for n, k in enumerate(sorted(labels), start=1)}}
        maps = np.stack([np.vectorize(number.get)(frame.ids) for frame in frames if frame.name in names])
        parts = tuple(PanopticPart(number[k], label) for k, label in labels.items())
        return {"labels": torch.from_numpy(maps), "segments": parts}

    def vos(self, names: tuple[str, ...], question: VideoQuestion) -> dict[str, Any]:
        folder = self.source.truth_folder(self.video) / self.video
        maps = np.stack([self.source.read_label_map(folder / f"{name}.png") for name in names])
        masks = torch.from_numpy(np.stack([maps == k for k in question.objects]))
        return {"ids": question.objects, "masks": masks, "scores": torch.full(masks.shape[:2], 0.5)}

    pvos = vos

    def rvos(self, names: tuple[str, ...], question: VideoQuestion) -> dict[str, Any]:
        """Expressions are of the objects 1, 2, .."""
        ids = tuple(range(1, len(question.expressions) + 1))
        masks = torch.stack([self.source.read_masks(self.video, names, k) for k in ids])
        return {"ids": ids, "masks": masks, "scores": torch.full(masks.shape[:2], 0.5)}

"""A video with given objects, clip by clip, through the network: VOS and PVOS.

Legend: N objects, T frames of a clip, M frames that are remembered, C width, (H, W) the padded frame.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import torch
from torch import Tensor

from fewshot.systems.univs import prompts
from fewshot.systems.univs.answers import answer_of
from fewshot.systems.univs.decoder import Prompts, Scenes
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.memory import PromptMemory
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.objects import Annotations, ObjectState, ObjectTracker
from fewshot.systems.univs.outputs import helped
from fewshot.systems.univs.visual_prompts import VisualPrompts


@dataclass(frozen=True)
class ObjectVideo:
    """What is known of a video after some clips: the tracks, and what the objects looked like."""

    tracks: ObjectState
    memory: PromptMemory | None = None


@dataclass(frozen=True)
class ObjectSession:
    """Steps from clip to clip.

    Attributes:
        model: the network, in evaluation mode.
        tracker: rules of the tracks.
        draws: which cells of a mask are its prompt, where there are more than are taken.
        points: so many cells are; None: as the network was built.
        touched: see `mask_prompts`.
        concepts: `(K, D)` embeddings of the classes that `stuff` counts; None: classes play no part.
        stuff: id of an object that is stuff -> its class.
    """

    model: UniVS
    tracker: ObjectTracker = field(default_factory=ObjectTracker)
    draws: Draws = field(default_factory=lambda: Draws.seeded(0))
    points: int | None = None
    touched: bool = False
    concepts: Tensor | None = None
    stuff: Mapping[int, int] = field(default_factory=dict)

    @torch.no_grad()
    def step(self, video: ObjectVideo, features: Sequence[Tensor], start: int, given: Annotations) -> ObjectVideo:
        """The video after one clip more.

        Args:
            features: of the clip's `T` frames, as `UniVS.frame_features` gives them.
            start: index of its first frame; it overlaps the clip before, or follows it.
            given: annotations of the video, of which those in the clip count.
        """
        frames = features[0].shape[0]
        new = start + frames - video.tracks.seen
        tracks = self.tracker.advance(video.tracks, start, frames, given)
        scenes = self.model.scenes(features, torch.arange(start, start + frames)[None])
        memory = self.remember(video.memory, tracks, scenes, start, new)
        slots = max(self.tracker.memory, frames)
        asked = recalled(self.model, memory, tracks.first, frames, slots)
        named = {} if self.concepts is None else {"concepts": self.concepts}
        found = self.model.segment(scenes, asked, **named)[-1]
        answer = answer_of(found, self.model.sizes.num_queries)
        if named:
            rows = {n: self.stuff[k] for n, k in enumerate(tracks.ids) if k in self.stuff}
            answer = replace(answer, prompts=helped(answer, rows))
        tracks = self.tracker.take(tracks, answer, start)
        if self.tracker.bounded:
            memory = memory.trimmed(tracks.first, slots)
        return ObjectVideo(tracks, memory)

    def remember(
        self, memory: PromptMemory | None, tracks: ObjectState, scenes: Scenes, start: int, new: int
    ) -> PromptMemory:
        """The memory with the clip's slots: what the objects look like in the frames whose masks are known."""
        frames = scenes.moments.shape[1]
        if memory is None:
            shown = self.show(tracks, scenes, start, 0)
            empty = PromptMemory.empty(len(tracks.ids), frames, shown, start)
            return empty.written(start, shown, torch.ones_like(tracks.first, dtype=torch.bool), onwards=True)
        memory = memory.longer(new)
        for k in range(frames - new):
            there = tracks.masks[:, tracks.frame(start + k)].flatten(1).any(1)
            memory = memory.written(start + k, self.show(tracks, scenes, start, k), there, onwards=True)
        return memory

    def show(self, tracks: ObjectState, scenes: Scenes, start: int, k: int) -> VisualPrompts:
        """Prompts from the masks that are known of the `k`-th frame of a clip."""
        masks = tracks.masks[:, tracks.frame(start + k)].float()
        boxes = tracks.boxes[:, start + k - tracks.seen]
        return self.model.show(scenes, k, masks, self.draws, boxes, self.points, self.touched)


def recalled(model: UniVS, memory: PromptMemory, first: Tensor, frames: int, slots: int) -> Prompts:
    """Prompt queries from a memory: they start as the clip's slots, and read the first sight and the last `slots`."""
    start, places = (x[None] for x in memory.last(frames))
    tokens, positions = (x[None, :, None] for x in memory.read(first, slots))
    return prompts.visual(start, places, tokens, positions, model.task("sot"))

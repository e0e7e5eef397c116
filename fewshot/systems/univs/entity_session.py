"""A video of which only the classes are known, clip by clip, through the network: VIS, VPS and VSS.

Legend: N entities, T frames of a clip, K classes of the data set, D width of the text, (H, W) the padded frame.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fewshot.systems.univs.answers import answer_of
from fewshot.systems.univs.decoder import Scenes
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.entities import EntityRules, EntityState
from fewshot.systems.univs.memory import PromptMemory
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.object_session import recalled
from fewshot.systems.univs.outputs import Size, semantic
from fewshot.systems.univs.visual_prompts import VisualPrompts


@dataclass(frozen=True)
class EntityVideo:
    """What is known of a video after some clips: the entities, and what they looked like."""

    entities: EntityState
    memory: PromptMemory | None = None


@dataclass(frozen=True)
class EntitySession:
    """Steps from clip to clip, for VIS and VPS.

    Attributes:
        model: the network, in evaluation mode.
        concepts: `(N, D)` embeddings of classes.
        classes: those of the data set among them.
        rules: by which answers become entities.
        draws: which cells of a mask are its prompt, where there are more than are taken.
        points: so many cells are; None: as the network was built.
        touched: see `mask_prompts`.
    """

    model: UniVS
    concepts: Tensor
    classes: slice
    rules: EntityRules = field(default_factory=EntityRules)
    draws: Draws = field(default_factory=lambda: Draws.seeded(0))
    points: int | None = None
    touched: bool = False

    @torch.no_grad()
    def step(self, video: EntityVideo, features: Sequence[Tensor], start: int) -> EntityVideo:
        """The video after one clip more.

        Args:
            features: of the clip's `T` frames, as `UniVS.frame_features` gives them.
            start: index of its first frame; it overlaps the clip before by all frames but the new ones.
        """
        frames = features[0].shape[0]
        state, new = video.entities, start + frames - video.entities.seen
        if start:
            state = self.rules.advance(state, new)
        scenes = self.model.scenes(features, torch.arange(start, start + frames)[None])
        memory = self.remember(video.memory, state, scenes, start, new) if start and len(state) else None
        slots = max(self.rules.memory, frames)
        asked = None if memory is None else recalled(self.model, memory, state.first, frames, slots)
        found = self.model.segment(scenes, asked, concepts=self.concepts)[-1]
        answer = answer_of(found, self.model.sizes.num_queries, self.classes)
        state = self.rules.follow(state, answer.prompts, start)
        state = self.rules.discover(state, answer.learnable, start)
        # what was found just now has no prompt before the next clip
        return EntityVideo(state, None if memory is None else memory.trimmed(state.first[: len(memory.tokens)], slots))

    def remember(
        self, memory: PromptMemory | None, state: EntityState, scenes: Scenes, start: int, new: int
    ) -> PromptMemory:
        """The memory with the clip's slots: what the entities look like in the frames whose masks are known."""
        frames = scenes.moments.shape[1]
        before = state.logits.shape[1] - frames  # frames that are kept before the clip
        if memory is None:
            # the mask of the frame before the clip on the features of its first one, as released
            shown = self.show(state, scenes, 0, before - 1)
            memory = PromptMemory.empty(len(state), frames + new, shown, start - new)
            memory = memory.written(start - 1, shown, there(state, before - 1), onwards=False)
        else:
            memory = memory.with_targets(len(state)).longer(new)
        for k in range(frames - new):
            shown = self.show(state, scenes, k, before + k)
            memory = memory.written(start + k, shown, there(state, before + k), onwards=True)
        return memory

    def show(self, state: EntityState, scenes: Scenes, k: int, at: int) -> VisualPrompts:
        """Prompts from the masks of a frame that is kept, `at`, on the features of the clip's frame `k`."""
        masks, boxes = state.masks[:, at].float(), state.boxes[:, at]
        return self.model.show(scenes, k, masks, self.draws, boxes, self.points, self.touched)

    def forget(self, video: EntityVideo, frames: int) -> EntityVideo:
        """The video without its first `frames` frames, which are written, and without what was long out of sight."""
        state = video.entities.without(frames)
        rows = self.rules.in_sight(state)
        return EntityVideo(state.some(rows), video.memory and video.memory.some(rows))


def there(state: EntityState, at: int) -> Tensor:
    """Which entities have a mask in a frame that is kept: `(N,)` bool."""
    return state.masks[:, at].flatten(1).any(1)


@dataclass(frozen=True)
class SemanticSession:
    """One class for every pixel of a clip (VSS); nothing is remembered.

    Attributes:
        model, concepts, classes: as of `EntitySession`.
        name_classes: ask for every class as a prompt too, as released. The answers are not used, and with separated
            self-attention they change nothing.
    """

    model: UniVS
    concepts: Tensor
    classes: slice
    name_classes: bool = False

    @torch.no_grad()
    def step(self, features: Sequence[Tensor], start: int, unpadded: Size, size: Size) -> Tensor:
        """The class of each pixel, `(T, *size)` int64, counted from 0 in the data set.

        Args:
            features: of the clip's `T` frames, as `UniVS.frame_features` gives them.
            start: index of its first frame.
            unpadded: height and width of the frames; size: those of the result.
        """
        frames = features[0].shape[0]
        scenes = self.model.scenes(features, torch.arange(start, start + frames)[None])
        asked = self.model.name_classes(scenes, self.concepts[self.classes]) if self.name_classes else None
        found = self.model.segment(scenes, asked, concepts=self.concepts)[-1]
        answer = answer_of(found, self.model.sizes.num_queries, self.classes)
        padded = (4 * features[-1].shape[-2], 4 * features[-1].shape[-1])
        return semantic(answer.learnable, unpadded, padded, size)

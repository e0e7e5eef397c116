"""A video with expressions, clip by clip, through the network: RefVOS.

Legend: P expressions, T frames of a clip, L words, D width of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor

from fewshot.systems.univs.answers import answer_of
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.objects import ObjectState, ObjectTracker


@dataclass(frozen=True)
class ExpressionSession:
    """Steps from clip to clip: each expression is one target from the first frame on, and several may overlap.

    Attributes:
        model: the network, in evaluation mode.
        words, sentences: `(P, L, D)` and `(P, D)` features of the expressions.
        tracker: rules of the tracks, without competition.
    """

    model: UniVS
    words: Tensor
    sentences: Tensor
    tracker: ObjectTracker = field(default_factory=lambda: ObjectTracker(competition=False))

    @torch.no_grad()
    def step(self, tracks: ObjectState, features: Sequence[Tensor], start: int) -> ObjectState:
        """The tracks after one clip more.

        Args:
            tracks: one for each expression.
            features: of the clip's `T` frames, as `UniVS.frame_features` gives them.
            start: index of its first frame.
        """
        frames = features[0].shape[0]
        tracks = self.tracker.advance(tracks, start, frames, {})
        scenes = self.model.scenes(features, torch.arange(start, start + frames)[None])
        asked = self.model.describe(scenes, self.words[None], self.sentences[None])
        found = self.model.segment(scenes, asked)[-1]
        return self.tracker.take(tracks, answer_of(found, self.model.sizes.num_queries), start)

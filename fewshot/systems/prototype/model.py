"""The smallest real system: one prototype for the object, one for the rest, and the cosine decides.

Wang et al., PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment, ICCV 2019. Text is ignored; images
and clips are treated frame by frame. The honest baseline in every table.

Legend: B episodes, K shots, S support frames, N query clips, T frames, C channels, (h, w) feature resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from einops import rearrange
from torch import Tensor

from episodes.batch import ClipBatch, References
from fewshot.losses.masks import clip_mask_loss
from fewshot.nn.backbones import Backbone
from fewshot.nn.masks import pixels_of
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.prototype import mask_weights, prototype_logits, prototypes
from fewshot.systems.base import ReferenceState, System, require_supports


@dataclass(frozen=True)
class PrototypeState:
    """Prototypes of the references: per level `(B, 2, C)`, foreground and background."""

    pairs: tuple[Tensor, ...]

    def repeat(self, expressions: int) -> PrototypeState:
        """Each episode's prototypes for its `expressions` query clips."""
        return PrototypeState(tuple(p.repeat_interleave(expressions, 0) for p in self.pairs))


class Prototype(System):
    """Cosine to the support's foreground minus background prototype, averaged over feature levels.

    Nothing but the backbone learns; of its parameters those of the last stage that is compared are the part `head`.

    Args:
        backbone: maps `(N, 3, H, W)` to four feature maps at strides 4, 8, 16 and 32.
        levels: which of them are compared (0 is stride 4).
        scale: factor on the difference of the cosines, which lies in -2..2.
    """

    name = "prototype"
    accepts = needs = frozenset({"support"})

    def __init__(self, backbone: Backbone, levels: Sequence[int] = (1, 2), scale: float = 10.0) -> None:
        super().__init__()
        if not levels or any(level not in range(4) for level in levels):
            raise ValueError(f"levels must be one or more of 0, 1, 2, 3, got {tuple(levels)}")
        self.backbone, self.levels, self.scale = backbone, tuple(sorted(levels)), scale

    @property
    def parts(self) -> dict[str, tuple[str, ...]]:  # type: ignore[override]  # backbones name their stages differently
        """The part `head`: parameters of the last stage that is compared."""
        last = set(self.backbone.stages()[self.levels[-1]].parameters())
        return {"head": tuple(name for name, p in self.named_parameters() if p in last)}

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """The chosen levels of the backbone, each `(N / copies * T, C, h, w)`."""
        if clips.features:
            return clips.features
        maps = self.backbone(clips.frames.flatten(0, 1))
        return tuple(maps[k] for k in self.levels)

    def levels_of(self, clips: ClipBatch) -> list[Tensor]:
        """The chosen levels of `N` clips, each `(N, T, C, h, w)`."""
        maps = clips.for_each_clip(self.frame_features(clips))
        return [x.unflatten(0, (len(clips), -1)) for x in maps]

    def encode_supports(self, supports: ClipBatch, shots: int) -> PrototypeState:
        """Pool each of the `(B * K)` support clips, then average over the `K` shots of an episode (PANet, eq. 1)."""
        pairs = []
        for level in self.levels_of(supports):
            size = level.shape[-2], level.shape[-1]
            pair = prototypes(level, mask_weights(supports, size, self.backbone.patches))
            pairs.append(rearrange(pair, "(b k) s c -> b k s c", k=shots).mean(1))
        return PrototypeState(tuple(pairs))

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Cosine logits `(N, T, 1, H, W)` of every pixel, averaged over the levels."""
        state.check(len(queries))
        supports: PrototypeState = require_supports(state.supports, self.name)
        size = queries.frames.shape[-2], queries.frames.shape[-1]
        logits = [
            pixels_of(prototype_logits(features, pair, self.scale), 4 * 2**level, size, self.backbone.patches)
            for level, features, pair in zip(self.levels, self.levels_of(queries), supports.pairs, strict=True)
        ]
        return Prediction(masks=torch.stack(logits).mean(0)[:, :, None], stride=1)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Binary cross entropy of every pixel of every frame against the target masks."""
        loss = clip_mask_loss(prediction.masks[:, :, 0], queries, num_frames)
        return Losses(total=loss, terms={"loss_mask": loss})

    def warmup_losses(
        self,
        supports: ClipBatch | None,
        queries: ClipBatch,
        shots: int,
        num_frames: float | None = None,
        words: Any | None = None,
    ) -> Losses:
        """The prototype loss is what this system learns by anyway."""
        supports = require_supports(supports, self.name)
        state = self.encode_reference(References(supports, shots, queries.expressions))
        return self.losses(self(queries, state), queries, num_frames)

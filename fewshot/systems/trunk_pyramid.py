"""The trunk with masks at stride 4: a cross-modal pyramid and a dynamic mask head, in ReferFormer and CMA.

Wu et al., Language as Queries for Referring Video Object Segmentation, CVPR 2022; read `forward` from top to bottom.

Legend: N query clips, T frames, C width, Q candidates, D decoder layers; (h, w) a map.
"""

from __future__ import annotations

from typing import Any

from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.losses.criterion import SetCriterion, weights_of
from fewshot.nn.backbones import Backbone
from fewshot.nn.fpn import CrossModalFPN
from fewshot.nn.mask_head import DynamicMaskHead
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.text import TextEncoder
from fewshot.systems.base import ReferenceState
from fewshot.systems.trunk import LEVELS, RELEASED, Sizes, Trunk


class PyramidTrunk(Trunk):
    """The trunk with a cross-modal pyramid and a dynamic mask head at stride 4; for the arguments see `Trunk`."""

    def __init__(self, backbone: Backbone, text: TextEncoder, sizes: Sizes = RELEASED, **options: Any) -> None:
        super().__init__(backbone, text, sizes, **options)
        dim, heads, checkpointing = sizes.hidden_dim, sizes.heads, self.transformer.checkpointing
        self.pixel_decoder = CrossModalFPN(
            backbone.channels[0], dim, heads, sizes.feedforward_dim, sizes.dropout, checkpointing
        )
        self.mask_head = DynamicMaskHead(dim)
        self.add_heads(sizes.decoder_layers, dim, self.mask_head.num_parameters)
        self.criterion = SetCriterion(weights_of(self.box_weight))

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Segment `N` query clips against the `N` references of `state`; where one frame is asked for, that frame."""
        state.check(len(queries))
        queries = self.seen(queries)
        # stride 4: (N*T, C_0, h, w); strides 8 to 64: (N*T, C, h, w)
        fine, *levels = queries.for_each_clip(queries.features)
        fused = self.fused_levels(levels, state.words, padding=queries.padding)
        found = self.decode(fine, fused, queries, state)
        pyramid = [
            fine,
            *found.decoded.memory[:3],
        ]  # the raw feature at stride 4, the memory below; stride 64 ends here
        features = self.pixel_decoder(pyramid, found.paddings[:LEVELS], found.positions[:LEVELS], state.words)
        sizes = queries.sizes.repeat_interleave(queries.frames.shape[1], 0)
        layers = self.predict(found.decoded.states, found.decoded.boxes, features, sizes, clips=len(queries))
        return Prediction(
            layers[-1].masks, layers[-1].scores, layers[-1].boxes, self.mask_head.stride, tuple(layers[:-1])
        )

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Set losses of the final and the earlier decoder layers."""
        asked = queries.one_frame(queries.asked) if queries.asked else queries
        return self.criterion(prediction, asked, num_frames)

    def predict(self, states: Tensor, boxes: Tensor, features: Tensor, sizes: Tensor, clips: int) -> list[Prediction]:
        """Scores, boxes and masks of every decoder layer.

        Args:
            states: `(D, N*T, Q, C)`; boxes: `(D, N*T, Q, 4)`; features: `(N*T, C, h, w)`; sizes: `(N*T, 2)`.
        """
        layers = []
        for state, box, head in zip(states, boxes, self.score_heads, strict=True):
            # the reference of a layer's masks is its own refined centre, cut off from the gradient
            masks = self.mask_head(features, self.controller(state), box[..., :2].detach(), sizes)
            parts = (masks, head(state)[..., 0], box)
            masks, scores, box = (x.unflatten(0, (clips, -1)) for x in parts)
            layers.append(Prediction(masks, scores, box, self.mask_head.stride))
        return layers

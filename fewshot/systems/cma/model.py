"""CMA: few-shot referring video object segmentation with cross-modal affinity.

Li et al., Learning Cross-Modal Affinity for Referring Video Object Segmentation Targeting Limited Samples, ICCV 2023.
ReferFormer (Wu et al., CVPR 2022) with a support branch; read `forward` from top to bottom.

Legend: B episodes, K shots, S support frames, N query clips (B * expressions), T frames, C width, Q candidates,
D decoder layers, L words; levels are (h, w) maps at strides 8, 16, 32 and 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from einops import rearrange
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.losses.criterion import SetCriterion
from fewshot.losses.warmup import prototype_warmup
from fewshot.nn.affinity import CrossModalAffinity, signed_log_power
from fewshot.nn.backbones import Backbone
from fewshot.nn.deformable_transformer import DeformableTransformer
from fewshot.nn.fpn import CrossModalFPN
from fewshot.nn.fusion import VisionLanguageFusion, Words
from fewshot.nn.mask_head import DynamicMaskHead
from fewshot.nn.mlp import MLP
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.padding import resize_padding
from fewshot.nn.positions import sine_2d
from fewshot.nn.projection import LevelProjection
from fewshot.nn.proposals import score_head
from fewshot.nn.queries import AnchorQueries, TextQueries
from fewshot.nn.text import TextEncoder, TextProjection
from fewshot.systems.base import ReferenceState, System, learning_groups, require_supports
from fewshot.systems.cma.support import CMAState, at_query_grid, frames_that_count, own_extents

LEVELS = 4


@dataclass(frozen=True)
class Sizes:
    """Numbers of the network; the defaults are those of the released models."""

    hidden_dim: int = 256
    heads: int = 8
    encoder_layers: int = 4
    decoder_layers: int = 4
    feedforward_dim: int = 2048
    num_queries: int = 5
    points: int = 4
    dropout: float = 0.1


class CMA(System):
    """The CMA model, its baseline and its self-affinity variant.

    Args:
        backbone: four taps at strides 4, 8, 16 and 32.
        text: text encoder with its tokenizer.
        sizes: widths and depths.
        variant: `cma`, `base` (query plus masked support) or `self` (self affinity only). The last two decode from the
            sentence, `cma` from anchor boxes.
        support_frames: `middle` or `all`: which frames of each support the cross affinity sees.
        affinity_init: `default` or `similarity`, see `CrossModalAffinity`.
        clean_anchors: see `AnchorQueries`; false for released weights.
        freeze_backbone, freeze_text: keep these as they are.
        train_affinity: false leaves the affinity's convolutions out of the optimiser, see `kept_gradients`.
        text_dropout: keep the dropout of a frozen text encoder in training, as the released code does.
        backbone_lr, text_lr: their learning rates, as a factor on the learning rate of the rest.
        checkpointing: trade time for memory in training.
    """

    name = "cma"
    needs = frozenset({"support", "expression"})

    def __init__(
        self,
        backbone: Backbone,
        text: TextEncoder,
        sizes: Sizes = Sizes(),
        *,
        variant: str = "cma",
        support_frames: str = "middle",
        affinity_init: str = "default",
        clean_anchors: bool = False,
        train_affinity: bool = True,
        freeze_backbone: bool = True,
        freeze_text: bool = True,
        text_dropout: bool = False,
        backbone_lr: float = 0.5,
        text_lr: float = 0.1,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        if support_frames not in ("middle", "all"):
            raise ValueError(f"support_frames must be 'middle' or 'all', got {support_frames!r}")
        dim, heads, forward, dropout = sizes.hidden_dim, sizes.heads, sizes.feedforward_dim, sizes.dropout
        self.variant, self.support_frames, self.train_affinity = variant, support_frames, train_affinity
        self.backbone_lr, self.text_lr, self.text_dropout = backbone_lr, text_lr, text_dropout
        self.backbone, self.text = backbone, text
        self.text_projection = TextProjection(text.dim, dim, dropout)
        self.level_projection = LevelProjection(backbone.channels[1:], dim)
        self.fusion = VisionLanguageFusion(dim, heads)
        self.affinity = CrossModalAffinity(dim, dropout, variant, affinity_init)
        queries: AnchorQueries | TextQueries
        if variant == "cma":
            queries = AnchorQueries(sizes.num_queries, dim, LEVELS, clean_anchors)
        else:
            queries = TextQueries(sizes.num_queries, dim)
        depths = (sizes.encoder_layers, sizes.decoder_layers)
        self.transformer = DeformableTransformer(
            dim, heads, LEVELS, sizes.points, *depths, forward, dropout, queries, checkpointing
        )
        self.pixel_decoder = CrossModalFPN(backbone.channels[0], dim, heads, forward, dropout, checkpointing)
        self.mask_head = DynamicMaskHead(dim)
        self.score_heads = nn.ModuleList(score_head(dim, 1) for _ in range(sizes.decoder_layers))
        self.controller = MLP(dim, dim, dim, self.mask_head.num_parameters)
        self.criterion = SetCriterion()
        if affinity_init == "similarity":  # which needs features that the fusion lets pass
            self.fusion.start_near_identity()
        self._initialise_controller()
        self._freeze(freeze_backbone, freeze_text)

    def _initialise_controller(self) -> None:
        for linear in self.controller.linears:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def _freeze(self, backbone: bool, text: bool) -> None:
        """Freeze what is asked for, and what exists in checkpoints but has no part in the output."""
        unused: list[nn.Module] = []
        queries = self.transformer.queries
        if isinstance(queries, AnchorQueries):  # anchors do not look at the sentence
            unused.append(self.text.pooler)
            if len(self.transformer.decoder) == 1:  # the scale starts at the second layer
                unused.append(queries.scale)
        for module in [self.backbone] * backbone + [self.text] * text + unused:
            module.requires_grad_(False)
        self.text_is_frozen = text

    # ------------------------------------------------------------------------------------------------ the two questions

    def encode_supports(self, supports: ClipBatch, shots: int) -> CMAState:
        """Fused support levels and masks of `(B * K)` support clips; only frames that have an effect are encoded."""
        counted, masks = frames_that_count(supports, self.variant, self.support_frames)
        _, *projected = self.frame_features(counted)
        levels = self.fused_levels(projected, self.encode_text(supports.expressions), support=True)
        shots_apart = tuple(rearrange(x, "(b k) s c h w -> b k s c h w", k=shots) for x in levels)
        extents, firsts = own_extents(supports), range(0, len(masks), shots)
        return CMAState(
            shots_apart,
            tuple(tuple(masks[i : i + shots]) for i in firsts),
            tuple(tuple(extents[i : i + shots]) for i in firsts),
        )

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Segment `N` query clips against the `N` references of `state`."""
        state.check(len(queries))
        words, supports = state.words, require_supports(state.supports, self.name)
        # stride 4: (N*T, C_0, h, w); strides 8 to 64: (N*T, C, h, w)
        fine, *levels = queries.for_each_clip(self.frame_features(queries))
        fused = self.fused_levels(levels, words)  # (N, T, C, h, w)
        related = self.apply_affinity(fused, supports)
        paddings = [resize_padding(queries.padding, _size(x)) for x in (fine, *fused)]  # (N, h, w)
        positions = [sine_2d(p, fused[0].shape[2]) for p in paddings]  # (N, C, h, w)
        t = queries.frames.shape[1]
        decoded = self.transformer(
            [x.flatten(0, 1) for x in related],
            [p.repeat_interleave(t, 0) for p in paddings[1:]],
            [p.repeat_interleave(t, 0) for p in positions[1:]],
            words.sentence.repeat_interleave(t, 0),
        )
        pyramid = [fine, *decoded.memory[:3]]  # the raw feature at stride 4, the memory below; stride 64 ends here
        features = self.pixel_decoder(pyramid, paddings[:LEVELS], positions[:LEVELS], words)
        sizes = queries.sizes.repeat_interleave(t, 0)
        layers = self.predict(decoded.states, decoded.boxes, features, sizes, clips=len(queries))
        return Prediction(
            layers[-1].masks, layers[-1].scores, layers[-1].boxes, self.mask_head.stride, tuple(layers[:-1])
        )

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Set losses of the final and the earlier decoder layers."""
        return self.criterion(prediction, queries, num_frames)

    # ------------------------------------------------------------------------------------------------ the steps

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """The backbone's map at stride 4 `(n, C_0, h, w)`, and four levels `(n, C, h, w)` that know no words.

        `n` is the number of frames, N * T, or less where clips share them.
        """
        if clips.features:
            return clips.features
        fine, *coarse = self.backbone(clips.frames.flatten(0, 1))
        return (fine, *self.level_projection(coarse))

    def encode_text(self, expressions: Sequence[str | None]) -> Words:
        """Words of `N` expressions; a missing one reads as the empty text."""
        return self.text_projection(*self.text(expressions))

    def fused_levels(self, levels: Sequence[Tensor], words: Words, support: bool = False) -> list[Tensor]:
        """Four levels `(N*T, C, h, w)` as levels `(N, T, C, h, w)` that know the words.

        Support levels 0 to 2 first pass a signed log-power curve; the last level and the query do not. Released
        weights were trained so.
        """
        clips = words.features.shape[0]
        fused = []
        for index, level in enumerate(levels):
            if support and index < LEVELS - 1:
                level = signed_log_power(level)
            tokens = rearrange(level, "(n t) c h w -> n (t h w) c", n=clips)
            h, w = _size(level)
            fused.append(rearrange(self.fusion(tokens, words), "n (t h w) c -> n t c h w", h=h, w=w))
        return fused

    def apply_affinity(self, levels: Sequence[Tensor], state: CMAState) -> list[Tensor]:
        """Query levels `(N, T, C, h, w)` related to the supports, level by level with the same weights."""
        return [self.affinity(x, at_query_grid(state, index, _size(x))) for index, x in enumerate(levels)]

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

    # ------------------------------------------------------------------------------------------------ training

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups as in the released training, and the affinity's convolutions if `train_affinity`."""
        rates = {"main": lr, "backbone": lr * self.backbone_lr, "text": lr * self.text_lr, "offsets": lr}
        if self.train_affinity:
            rates["affinity"] = lr
        return learning_groups(self.named_parameters(), rates, part_of)

    def kept_gradients(self) -> dict[str, nn.Parameter]:
        """The affinity's convolutions where they are not trained.

        The released loop clears gradients through its optimiser, which does not hold them: theirs add up from step to
        step and enter the clipping norm.
        """
        if self.train_affinity:
            return {}
        return {k: p for k, p in self.named_parameters() if p.requires_grad and part_of(k) == "affinity"}

    def warmup_losses(
        self, supports: ClipBatch | None, queries: ClipBatch, shots: int, num_frames: float | None = None
    ) -> Losses:
        """Prototype loss where the affinity compares query and support at stride 8 (PANet, ICCV 2019)."""
        supports = require_supports(supports, self.name)
        clips = ((queries, False), (supports, True))
        query, support = (
            self.fused_levels(x.for_each_clip(self.frame_features(x)[1:]), self.encode_text(x.expressions), side)[0]
            for x, side in clips
        )
        query, support = self.affinity.embed(query, support)
        return prototype_warmup(support, query, supports, queries, shots, num_frames)


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]


def part_of(name: str) -> str:
    """The optimiser group of a parameter by its name."""
    first = name.split(".")[0]
    if first in ("backbone", "text"):
        return first
    if first == "affinity" and ".norm." not in name:
        return "affinity"
    return "offsets" if "sampling_offsets" in name or "reference_points" in name else "main"

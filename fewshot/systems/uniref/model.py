"""UniRef++: one network for objects that are referred to by language, by a mask in other images, or by both.

Wu et al., UniRef++: Segment Every Reference Object in Spatial and Temporal Spaces, arXiv 2312.15715, 2023 (UniRef:
ICCV 2023).
Deformable DETR with dynamic masks, whose features are fused with the reference before the encoder; read `forward` from
top to bottom. Frames are seen one by one.

Legend: B episodes, K shots, S support frames, N query clips (B * expressions), T frames, n = N * T, C width, Q queries,
D decoder layers; levels are (h, w) maps at strides 8, 16, 32 and 64.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.losses.masks import visible_frames
from fewshot.nn.backbones import Backbone
from fewshot.nn.deformable_transformer import Decoded, DeformableTransformer
from fewshot.nn.fusion import Words
from fewshot.nn.mask_head import DynamicMaskHead, aligned_bilinear
from fewshot.nn.masks import padded_masks
from fewshot.nn.mlp import MLP
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.padding import level_paddings
from fewshot.nn.positions import sine_2d
from fewshot.nn.projection import LevelProjection
from fewshot.nn.proposals import ProposalQueries, score_head
from fewshot.nn.small_fpn import SmallFPN
from fewshot.nn.text import TextEncoder, TextProjection
from fewshot.nn.unifusion import FusionReference, UniFusion
from fewshot.systems.base import ReferenceState, System, learning_groups
from fewshot.systems.uniref.detection import Detection, best_queries
from fewshot.systems.uniref.fusing import all_or_none, encode_words, fuse_level
from fewshot.systems.uniref.losses import UniRefCriterion, weights_of
from fewshot.systems.uniref.start import reference_warmup, start_as_readout
from fewshot.systems.uniref.state import UniRefState, mask_reference
from fewshot.systems.uniref.targets import targets_of
from fewshot.systems.uniref.weak_masks import WeakMasks, similarity_of

LEVELS = 4
MASK_CHANNELS = 8
WARMUP_LEVELS = 2  # strides 8 and 16
FREEZE, FUSION_INITS, STRIDES = ("all", "stem", "none"), ("zero", "similarity"), (4, 1)
TEXT_DROPOUT = 0.1  # of the projection of the words


@dataclass(frozen=True)
class Sizes:
    """Numbers of the network; the defaults are those of the released models."""

    hidden_dim: int = 256
    heads: int = 8
    encoder_layers: int = 6
    decoder_layers: int = 6
    feedforward_dim: int = 2048
    num_queries: int = 300
    points: int = 4
    dropout: float = 0.0
    fusion_heads: int = 8
    fusion_head_dim: int = 256
    fusion_dropout: float = 0.1
    num_classes: int = 1


class UniRef(System):
    """The main model of UniRef++.

    Args:
        backbone: four taps at strides 4, 8, 16 and 32.
        text: text encoder with its tokenizer; None: expressions are refused.
        value_encoder: encoder of support frames with their masks (`fewshot.nn.value_encoder`); None: supports are
            refused.
        sizes: widths and depths.
        freeze_backbone: `all`, `stem` (the stem and the first stage) or `none`.
        freeze_text: keep the text encoder as it is.
        text_dropout: keep the dropout of a frozen text encoder in training, as the official code does.
        text_projection_dropout: dropout of the projected words in training.
        bf16_attention: attend in bfloat16 in the fusion, as the released weights were trained.
        fusion_init: `zero`: the fusion starts as the identity; `similarity`: it starts as attention by feature
            similarity, and the masks as what it retrieves, for training from scratch (`fewshot.systems.uniref.start`).
        word_positions: places ask the words with their position, so that what is `left` can be read where it is said,
            and the warm-up teaches it; not in the released models.
        mask_stride: network pixels per mask cell of predictions and losses, 4, or 1 for video object segmentation.
        word_stride: network pixels per mask cell in the losses of masks that words refer to: 4, as released, or 1.
        mask_aux: add the auxiliary mask losses of the video stage.
        empty_masks: the best query learns an empty mask where nothing is to be found; not in the released models.
        box_weight: factor on the weights of the box losses; below 1 for training from scratch, where boxes that are
            still far off would drown the masks.
        box_supervision: learn masks from boxes, as in pretraining.
        exchange_red_and_blue: compare colours with red and blue exchanged where masks are learnt from boxes.
        backbone_lr: factor on the learning rate of the rest.
        text_lr_absolute: learning rate of the text encoder; None: that of the rest.
        checkpointing: trade time for memory in training.
    """

    name = "uniref"
    accepts = frozenset({"support", "expression"})
    needs = frozenset()
    pad_multiple = 32
    mask_calls: Tensor  # mask losses computed so far, only with `box_supervision`

    def __init__(
        self,
        backbone: Backbone,
        text: TextEncoder | None,
        value_encoder: nn.Module | None,
        sizes: Sizes = Sizes(),
        *,
        freeze_backbone: str = "all",
        freeze_text: bool = False,
        text_dropout: bool = False,
        text_projection_dropout: float = TEXT_DROPOUT,
        bf16_attention: bool = False,
        fusion_init: str = "zero",
        word_positions: bool = False,
        mask_stride: int = 4,
        word_stride: int = 4,
        mask_aux: bool = False,
        empty_masks: bool = False,
        box_weight: float = 1.0,
        box_supervision: bool = False,
        exchange_red_and_blue: bool = False,
        backbone_lr: float = 0.1,
        text_lr_absolute: float | None = 1e-5,
        checkpointing: bool = False,
    ) -> None:
        super().__init__()
        choices: dict[str, tuple[object, tuple[object, ...]]] = {
            "freeze_backbone": (freeze_backbone, FREEZE),
            "mask_stride": (mask_stride, STRIDES),
            "word_stride": (word_stride, STRIDES),
            "fusion_init": (fusion_init, FUSION_INITS),
        }
        for name, (value, valid) in choices.items():
            if value not in valid:
                raise ValueError(f"{name} must be one of {', '.join(map(str, valid))}, got {value!r}")
        dim, classes, layers = sizes.hidden_dim, sizes.num_classes, sizes.decoder_layers
        self.num_classes, self.text_dropout = classes, text_dropout
        self.mask_stride, self.word_stride, self.word_positions = mask_stride, word_stride, word_positions
        self.backbone_lr, self.text_lr_absolute = backbone_lr, text_lr_absolute
        self.backbone, self.text, self.value_encoder = backbone, text, value_encoder
        self.text_projection = text and TextProjection(text.dim, dim, text_projection_dropout, pool="mean")
        self.level_projection = LevelProjection(backbone.channels[1:], dim)
        self.fusion = self._fusion(sizes, bf16_attention, fusion_init) if text or value_encoder else None
        queries = ProposalQueries(sizes.num_queries, dim, classes)
        widths = (dim, sizes.heads, LEVELS, sizes.points, sizes.encoder_layers, layers, sizes.feedforward_dim)
        self.transformer = DeformableTransformer(*widths, sizes.dropout, queries, checkpointing, True)
        self.score_heads = nn.ModuleList(score_head(dim, classes) for _ in range(layers))
        self.pixel_decoder = SmallFPN(backbone.channels[0], dim, MASK_CHANNELS)
        self.mask_head = DynamicMaskHead(MASK_CHANNELS, coordinates_first=True)
        self.controller = MLP(dim, dim, dim, self.mask_head.num_parameters)
        for linear in self.controller.linears:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        self.criterion = UniRefCriterion(mask_aux, empty_masks, weights_of(box_weight))
        self.box_supervision, self.exchange_red_and_blue = box_supervision, exchange_red_and_blue
        if box_supervision:
            # how many mask losses were computed: a term grows with it. In the checkpoint, so that a run that goes on
            # does so with the weight at which it stopped
            self.register_buffer("mask_calls", torch.zeros((), dtype=torch.long))
        self.accepts = frozenset(k for k, part in (("support", value_encoder), ("expression", text)) if part)
        if fusion_init == "similarity":
            start_as_readout(self.pixel_decoder, self.controller, MASK_CHANNELS)
        self._freeze(freeze_backbone, freeze_text)

    @staticmethod
    def _fusion(sizes: Sizes, bf16: bool, start: str) -> UniFusion:
        widths = (sizes.hidden_dim, sizes.fusion_heads, sizes.fusion_head_dim)
        fusion = UniFusion(*widths, sizes.fusion_dropout, bf16=bf16)
        if start == "similarity":
            fusion.start_as_similarity()
        return fusion

    def _freeze(self, backbone: str, text: bool) -> None:
        """Freeze what is asked for, and the text encoder's pooler, which has no part in the output."""
        parts: dict[str, list[nn.Module]] = {"all": [self.backbone], "stem": self.backbone.stages()[:1], "none": []}
        frozen = parts[backbone]
        if self.text is not None:
            frozen.append(self.text if text else self.text.pooler)
        for module in frozen:
            module.requires_grad_(False)
        self.text_is_frozen = text

    # ------------------------------------------------------------------------------------------------ the two questions

    def encode_supports(self, supports: ClipBatch, shots: int) -> UniRefState:
        """Keys and values of `(B * K)` support clips at every level.

        All frames of the `K` clips of an episode become one sequence of tokens.

        Raises:
            ValueError: there is no value encoder, or a support has no mask.
        """
        if self.value_encoder is None:
            raise ValueError(
                "this UniRef was built without a value encoder (value_encoder=None) and takes no supports: give it "
                "expressions, or build it with one"
            )
        masks = padded_masks(supports).flatten(0, 1)
        keys = supports.for_each_clip(self.frame_features(supports)[1:])
        values = self.value_encoder(supports.frames.flatten(0, 1), masks, keys)
        paddings = frames_of(level_paddings(supports.padding, [_size(x) for x in keys]), supports.frames.shape[1])
        episodes = len(supports) // shots
        levels = (mask_reference(*level, episodes) for level in zip(keys, values, paddings, strict=True))
        return UniRefState(tuple(levels), images=len(masks) // episodes)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Detection:
        """Find the object of each of `N` query clips, by its expression, by its reference in `state`, or by both.

        With neither, objects are detected without a reference, as in pretraining.

        Raises:
            ValueError: another number of references than of clips, or frames that are too small for the number of
                queries.
        """
        state.check(len(queries))
        t = queries.frames.shape[1]
        fine, *levels = self.frame_features(queries)  # stride 4: (n, C_0, h, w); strides 8 to 64: (n, C, h, w)
        (fine,) = queries.for_each_clip((fine,))
        paddings = level_paddings(queries.padding, [_size(x) for x in levels])  # (N, h, w)
        positions = [sine_2d(p, levels[0].shape[1]) for p in paddings]  # (N, C, h, w)
        fused = self.fuse(levels, state.words, state.supports, queries, positions if self.word_positions else ())
        decoded = self.transformer(fused, frames_of(paddings, t), frames_of(positions, t), None)
        features = self.pixel_decoder(fine, decoded.memory[:3])
        return self.detection(decoded, features, queries)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Set losses of all decoder layers and of the proposals, each divided by the number of its own matched pairs.

        Masks that words refer to are learnt at `word_stride`, the others at `mask_stride`. `num_frames` weighs the
        batch among those of its step, by the frames that show the object.
        """
        if not isinstance(prediction, Detection):
            raise TypeError(f"the losses of UniRef are those of its own predictions, got {type(prediction).__name__}")
        stride = self.mask_stride if all_or_none(queries.expressions) is None else self.word_stride
        losses = self.criterion(
            list(zip(prediction.class_logits, prediction.all_boxes, strict=True)),
            (prediction.proposal_logits, prediction.proposal_boxes),
            targets_of(queries),
            partial(self.masks_of, prediction, stride=stride),
            stride,
            self._weak_masks(queries, stride),
        )
        return losses if num_frames is None else losses.times(visible_frames(queries) / num_frames)

    def _weak_masks(self, queries: ClipBatch, stride: int) -> WeakMasks | None:
        """Substitute for masks in the losses of this batch; None where masks are learnt from masks."""
        if not self.box_supervision:
            return None
        if not queries.objects:
            raise ValueError(
                "box_supervision learns from the boxes of all objects of an image: give it such a data set"
            )
        calls = int(self.mask_calls)
        self.mask_calls += len(self.score_heads)
        return WeakMasks(similarity_of(queries, stride, self.exchange_red_and_blue), calls)

    # ------------------------------------------------------------------------------------------------ the steps

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """The backbone's map at stride 4 `(n, C_0, h, w)`, and the four levels `(n, C, h, w)` before any fusion."""
        if clips.features:
            return clips.features
        fine, *coarse = self.backbone(clips.frames.flatten(0, 1))
        return (fine, *self.level_projection(coarse))

    def encode_text(self, expressions: Sequence[str | None]) -> Words | None:
        """Words of `N` expressions; None where no clip has one."""
        return encode_words(expressions, self.text, self.text_projection, "UniRef")

    def fuse(
        self,
        levels: Sequence[Tensor],
        words: Words | None,
        state: UniRefState | None,
        queries: ClipBatch,
        positions: Sequence[Tensor] = (),
    ) -> list[Tensor]:
        """Levels `(n, C, h, w)` that know the reference; the same ones where there is none. Words serve every level.

        Args:
            levels: of the frames, once where clips share them (`ClipBatch.copies`).
            positions: codes `(N, C, h, w)` of each level, for places that ask the words with them.
        """
        if self.fusion is None or (words is None and state is None):
            return list(queries.for_each_clip(levels))
        clips = len(queries) // queries.copies
        none: list[None] = [None] * len(levels)
        masks: Sequence[FusionReference | None] = none if state is None else state.for_clips(queries.copies)
        places: Sequence[Tensor | None] = [codes[:: queries.copies] for codes in positions] or none
        fused = [
            fuse_level(self.fusion, level, words, mask, clips, codes)
            for level, mask, codes in zip(levels, masks, places, strict=True)
        ]
        shared = len(fused[0]) < len(queries) * queries.frames.shape[1]  # nothing in them was a clip's own
        return list(queries.for_each_clip(fused)) if shared else fused

    def detection(self, decoded: Decoded, features: Tensor, queries: ClipBatch) -> Detection:
        """Scores and boxes of every decoder layer, and the mask of the best query of the last one."""
        if decoded.proposals is None:
            raise TypeError("UniRef decodes from proposals")
        clips, t = queries.frames.shape[:2]
        logits = torch.stack([head(x) for head, x in zip(self.score_heads, decoded.states, strict=True)])
        winner = best_queries(logits[-1])
        frames = torch.arange(len(winner), device=winner.device)
        anchor_boxes, sizes = torch.stack(decoded.references), queries.sizes.repeat_interleave(t, 0)
        with torch.set_grad_enabled(torch.is_grad_enabled() and not self.training):
            mask = self._masks(features, decoded.states[-1], anchor_boxes[-1], sizes, frames, winner, self.mask_stride)
        scores, boxes = logits[-1].max(-1).values[frames, winner], decoded.boxes[-1][frames, winner]
        return Detection(
            masks=mask.unflatten(0, (clips, t))[:, :, None],
            scores=scores.view(clips, t, 1),
            boxes=boxes.view(clips, t, 1, 4),
            stride=self.mask_stride,
            class_logits=logits,
            all_boxes=decoded.boxes,
            anchor_boxes=anchor_boxes,
            states=decoded.states,
            mask_features=features,
            frame_sizes=sizes,
            memory=decoded.memory,
            proposal_logits=decoded.proposals.logits,
            proposal_boxes=decoded.proposals.boxes.sigmoid(),
            chosen=decoded.proposals.chosen,
            winner=winner,
        )

    def masks_of(
        self, detection: Detection, layer: int, frame_index: Tensor, query_index: Tensor, stride: int | None = None
    ) -> Tensor:
        """Mask logits `(M, h, w)` of chosen queries, with gradient.

        Args:
            layer: decoder layer, -1 for the last.
            frame_index: `(M,)` which of the `n` frames; query_index: `(M,)` which of its queries.
            stride: network pixels per mask cell, 4 or 1; None: `detection.stride`.
        """
        at, state = detection.anchor_boxes[layer], detection.states[layer]
        stride = stride or detection.stride
        return self._masks(detection.mask_features, state, at, detection.frame_sizes, frame_index, query_index, stride)

    def _masks(
        self, features: Tensor, states: Tensor, at: Tensor, sizes: Tensor, frames: Tensor, queries: Tensor, stride: int
    ) -> Tensor:
        parameters = self.controller(states[frames, queries])[:, None]
        points = at[frames, queries][:, None, :2]
        masks = self.mask_head(features[frames], parameters, points, sizes[frames])
        return aligned_bilinear(masks, self.mask_head.stride // stride)[:, 0]

    # ------------------------------------------------------------------------------------------------ training

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups as in the released training, see `learning_groups`."""
        text = lr if self.text_lr_absolute is None else self.text_lr_absolute
        rates = {"main": lr, "backbone": lr * self.backbone_lr, "text": text, "offsets": lr * 0.1}
        return learning_groups(self.named_parameters(), rates)

    def warmup_losses(
        self,
        supports: ClipBatch | None,
        queries: ClipBatch,
        shots: int,
        num_frames: float | None = None,
        words: Any | None = None,
    ) -> Losses:
        """Losses of simple read-outs of the references at strides 8 and 16, see `reference_warmup`."""
        if supports is None or self.fusion is None:
            raise ValueError(
                "the warm-up needs supports, and these episodes have none: train with train.prototype_fraction=0 and "
                "train.prototype_weight=0"
            )
        support, query = (self.frame_features(clips)[1 : 1 + WARMUP_LEVELS] for clips in (supports, queries))
        if self.word_positions:
            words = words or self.encode_text(queries.expressions)
        said = words if self.word_positions else None
        return reference_warmup(self.fusion, support, query, supports, queries, shots, num_frames, said)


def frames_of(clips: Sequence[Tensor], frames: int) -> list[Tensor]:
    """Maps of `N` clips repeated for their frames: each `(N, ...)` to `(N * frames, ...)`."""
    return [x.repeat_interleave(frames, 0) for x in clips]


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]

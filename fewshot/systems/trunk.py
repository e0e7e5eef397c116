"""Trunk of ReferFormer and of the systems that stand on it: from frames and words to decoded queries.

Wu et al., Language as Queries for Referring Video Object Segmentation, CVPR 2022, section 3; the relation to masked
supports is that of CMA (Li et al., ICCV 2023, section 3).

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
from fewshot.losses.warmup import prototype_warmup
from fewshot.nn.affinity import CrossModalAffinity, signed_log_power
from fewshot.nn.backbones import Backbone
from fewshot.nn.deformable_transformer import Decoded, DeformableTransformer
from fewshot.nn.fusion import VisionLanguageFusion, Words
from fewshot.nn.mlp import MLP
from fewshot.nn.outputs import Losses
from fewshot.nn.padding import resize_padding
from fewshot.nn.positions import sine_2d
from fewshot.nn.projection import LevelProjection
from fewshot.nn.proposals import score_head
from fewshot.nn.queries import AnchorQueries, Encoded, QueryScheme, TextQueries
from fewshot.nn.text import TextEncoder, TextProjection
from fewshot.systems.base import ReferenceState, System, learning_groups, require_supports
from fewshot.systems.trunk_supports import AffinityState, at_query_grid, frames_that_count, own_extents

LEVELS = 4
RELEASED_PADDING = dict.fromkeys(("a2d", "jhmdb", "refcoco", "refcoco_plus", "refcocog"), 32)
SUPPORT_FRAMES = ("middle", "all")


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


RELEASED = Sizes()


@dataclass(frozen=True)
class Relation:
    """How a query is related to its masked supports.

    Attributes:
        variant: of `CrossModalAffinity`.
        support_frames: `middle` or `all`: which frames of each support the cross affinity sees.
        initialisation: `default` or `similarity`, see `CrossModalAffinity`.
    """

    variant: str = "cma"
    support_frames: str = "middle"
    initialisation: str = "default"

    def __post_init__(self) -> None:
        if self.support_frames not in SUPPORT_FRAMES:
            raise ValueError(f"support_frames must be 'middle' or 'all', got {self.support_frames!r}")


@dataclass(frozen=True)
class Decoding:
    """What the decoder makes of query clips, and what masks are made of.

    Attributes:
        decoded: of the transformer.
        paddings: `(N, h, w)` of stride 4 and of the four levels.
        positions: `(N, C, h, w)` sine codes of the same.
    """

    decoded: Decoded
    paddings: list[Tensor]
    positions: list[Tensor]


class Trunk(System):
    """A system of the ReferFormer family without its masks: a subclass makes these of the decoded queries.

    Args:
        backbone: four taps at strides 4, 8, 16 and 32.
        text: text encoder with its tokenizer.
        sizes: widths and depths.
        sentence: `pool` of `TextProjection`.
        relation: how supports count; None: the system takes no supports.
        anchors: queries that are anchor boxes, `released` or `clean` (`AnchorQueries`); None: queries that start as the
            sentence (`TextQueries`).
        pad_multiple: of the network input at test time; None: as in the released tests of each data set.
        clean_positions: see `sine_2d`.
        freeze_backbone: `all`, `stem` (the stem and the first stage) or `none`.
        freeze_text: keep the text encoder as it is.
        train_pooler: a frozen text encoder's pooler learns all the same.
        text_dropout: keep the dropout of a frozen text encoder in training, as the released code does.
        fresh_scores: score heads start anew where a training starts from other weights, as in the released fine-tuning.
        backbone_lr, text_lr: their learning rates, as a factor on the learning rate of the rest.
        checkpointing: trade time for memory in training.
        word_positions: places ask the words with their position, so that what is `left` can be read where it is said,
            not only where it is decoded, and the warm-up teaches it; not for released weights.
        box_weight: factor on the weights of the box losses, see `weights_of`.
        absent_boxes, masks_per_clip: see `SetCriterion`.
        pass_features: the fusion with the words starts with letting the visual features pass, for training from
            scratch.
    """

    accepts = needs = frozenset({"expression"})

    def __init__(
        self,
        backbone: Backbone,
        text: TextEncoder,
        sizes: Sizes,
        *,
        sentence: str = "state",
        relation: Relation | None = None,
        anchors: str | None = None,
        pad_multiple: int | None = None,
        clean_positions: bool = False,
        freeze_backbone: str = "none",
        freeze_text: bool = True,
        train_pooler: bool = False,
        text_dropout: bool = False,
        fresh_scores: bool = False,
        backbone_lr: float = 0.5,
        text_lr: float = 0.1,
        checkpointing: bool = False,
        word_positions: bool = False,
        box_weight: float = 1.0,
        absent_boxes: bool = True,
        masks_per_clip: bool = True,
        pass_features: bool = False,
    ) -> None:
        super().__init__()
        self.word_positions, self.box_weight = word_positions, box_weight
        self.absent_boxes, self.masks_per_clip = absent_boxes, masks_per_clip
        dim, heads, dropout = sizes.hidden_dim, sizes.heads, sizes.dropout
        self.relation, self.clean_positions = relation, clean_positions
        if pad_multiple is not None:
            self.pad_multiple, self.data_pad_multiples = pad_multiple, {}
        if fresh_scores:
            self.starts_anew = ("score_heads.",)
        if relation is not None:
            self.accepts = self.needs = frozenset({"support", "expression"})
        self.backbone_lr, self.text_lr, self.text_dropout = backbone_lr, text_lr, text_dropout
        self.backbone, self.text = backbone, text
        self.text_projection = TextProjection(text.dim, dim, dropout, sentence)
        self.level_projection = LevelProjection(backbone.channels[1:], dim)
        self.fusion = VisionLanguageFusion(dim, heads)
        self.affinity: CrossModalAffinity | None = None
        if relation is not None:
            self.affinity = CrossModalAffinity(dim, dropout, relation.variant, relation.initialisation)
        self.transformer = _transformer(sizes, _queries(sizes, anchors), checkpointing)
        self._freeze(freeze_backbone, freeze_text, train_pooler)
        self._starts_passing = pass_features

    def add_heads(self, decoder_layers: int, dim: int, numbers: int) -> None:
        """The heads of scores and, of `numbers` outputs, of what each query brings to its masks."""
        self.score_heads = nn.ModuleList(score_head(dim, 1) for _ in range(decoder_layers))
        self.controller = MLP(dim, dim, dim, numbers)
        if self._starts_passing:
            self.fusion.start_near_identity()
        for linear in self.controller.linears:
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)

    def _freeze(self, backbone: str, text: bool, pooler: bool) -> None:
        """Freeze what is asked for, and what exists in checkpoints but has no part in the output."""
        parts: dict[str, list[nn.Module]] = {"all": [self.backbone], "stem": self.backbone.stages()[:1], "none": []}
        if backbone not in parts:
            raise ValueError(f"unknown freeze_backbone {backbone!r}: choose one of {', '.join(parts)}")
        for module in parts[backbone] + [self.text] * text:
            module.requires_grad_(False)
        self.text_is_frozen = text
        queries = self.transformer.queries
        if pooler:
            self.text.pooler.requires_grad_(True)
        if isinstance(queries, AnchorQueries) or self.text_projection.pool == "mean":  # the pooled state is not read
            self.text.pooler.requires_grad_(False)
        if isinstance(queries, AnchorQueries) and len(self.transformer.decoder) == 1:  # it starts at the second layer
            queries.scale.requires_grad_(False)

    # ------------------------------------------------------------------------------------------------ what is read

    def encode_supports(self, supports: ClipBatch, shots: int) -> AffinityState:
        """Fused support levels and masks of `(B * K)` support clips; only frames that have an effect are encoded.

        Raises:
            ValueError: this system is built without a relation to supports.
        """
        if self.relation is None:
            raise ValueError(f"system {self.name!r} as it is built takes no supports: give it system.affinity=cma")
        counted, masks = frames_that_count(supports, self.relation.variant, self.relation.support_frames)
        projected = self.frame_features(counted)[-LEVELS:]
        words = self.encode_text(supports.expressions)
        levels = self.fused_levels(projected, words, True, counted.padding)
        shots_apart = tuple(rearrange(x, "(b k) s c h w -> b k s c h w", k=shots) for x in levels)
        extents, firsts = own_extents(supports), range(0, len(masks), shots)
        return AffinityState(
            shots_apart,
            tuple(tuple(masks[i : i + shots]) for i in firsts),
            tuple(tuple(extents[i : i + shots]) for i in firsts),
        )

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """The backbone's map at stride 4 `(n, C_0, h, w)`, and four levels `(n, C, h, w)` that know no words.

        `n` is the number of frames, N * T, or less where clips share them.
        """
        if clips.features:
            return clips.features
        fine, *coarse = self.backbone.encode_clips(clips.frames)
        return (fine, *self.level_projection(coarse))

    def seen(self, queries: ClipBatch) -> ClipBatch:
        """Clips with their visual features; where one frame is asked for, that frame alone, after all have been seen.

        Everything that comes after the backbone then looks at one frame, as released models do it on A2D-Sentences.
        """
        seen = queries if queries.features else self.with_features(queries)
        return seen.one_frame(queries.asked) if queries.asked else seen

    def encode_text(self, expressions: Sequence[str | None]) -> Words:
        """Words of `N` expressions; a missing one reads as the empty text."""
        return self.text_projection(*self.text(expressions))

    def fused_levels(
        self, levels: Sequence[Tensor], words: Words, support: bool = False, padding: Tensor | None = None
    ) -> list[Tensor]:
        """Four levels `(N*T, C, h, w)` as levels `(N, T, C, h, w)` that know the words.

        `padding` `(N, H, W)` of the frames, for places that ask the words with their position. It may be that of fewer
        clips than there are texts, which then share them (`VisionLanguageFusion`).

        Support levels 0 to 2 first pass a signed log-power curve; the last level and the query do not. Released
        weights of CMA were trained so.
        """
        clips = len(words.features if padding is None else padding)
        fused = []
        for index, level in enumerate(levels):
            if support and index < LEVELS - 1:
                level = signed_log_power(level)
            tokens = rearrange(level, "(n t) c h w -> n (t h w) c", n=clips)
            h, w = size_of(level)
            places = None if padding is None or not self.word_positions else self.places(padding, (h, w), tokens)
            known = self.fusion(tokens, words, places)
            fused.append(rearrange(known, "n (t h w) c -> n t c h w", h=h, w=w))
        return fused

    def places(self, padding: Tensor, size: tuple[int, int], tokens: Tensor) -> Tensor:
        """Sine codes of a level's places, like its tokens `(N, T*h*w, C)`; `padding` `(N, H, W)` of the frames."""
        codes = sine_2d(resize_padding(padding, size), tokens.shape[-1], clean=self.clean_positions)
        return codes.flatten(2).transpose(1, 2).repeat(1, tokens.shape[1] // (size[0] * size[1]), 1)

    def apply_affinity(self, levels: Sequence[Tensor], state: AffinityState) -> list[Tensor]:
        """Query levels `(N, T, C, h, w)` related to the supports, level by level with the same weights."""
        assert self.affinity is not None
        return [self.affinity(x, at_query_grid(state, index, size_of(x))) for index, x in enumerate(levels)]

    def decode(self, fine: Tensor, fused: Sequence[Tensor], queries: ClipBatch, state: ReferenceState) -> Decoding:
        """Levels `(N, T, C, h, w)` that know the words, related to the supports, encoded and decoded.

        Args:
            fine: `(N*T, C_0, h, w)` the backbone's map at stride 4.
            fused: the levels; or those of fewer clips, each of them for as many queries in a row (`for_each_query`).
        """
        each = len(queries) // len(fused[0])
        if self.affinity is not None:
            related = self.apply_affinity(fused, require_supports(state.supports, self.name).every(each))
        elif state.supports is None:
            related = list(fused)
        else:
            raise ValueError(f"system {self.name!r} as it is built takes no supports: give it system.affinity=cma")
        paddings = [resize_padding(queries.padding, size_of(x)) for x in (fine, *fused)]  # (N, h, w)
        positions = [sine_2d(p, fused[0].shape[2], clean=self.clean_positions) for p in paddings]  # (N, C, h, w)
        t = queries.frames.shape[1]
        decoded = self.transformer(
            [x.flatten(0, 1) for x in related],
            [p[::each].repeat_interleave(t, 0) for p in paddings[1:]],
            [p[::each].repeat_interleave(t, 0) for p in positions[1:]],
            state.words.sentence.repeat_interleave(t, 0),
            lambda encoded: self.for_each_query(encoded, state.words, positions[1:], each),
        )
        return Decoding(decoded, paddings, positions)

    def for_each_query(self, encoded: Encoded, words: Words, positions: Sequence[Tensor], each: int) -> Encoded:
        """What was encoded, for each query; a system that encodes for several together tells them apart here.

        Args:
            words: of the N queries; positions: `(N, C, h, w)` sine codes of the levels.
            each: so many queries in a row share what was encoded.
        """
        return encoded

    # ------------------------------------------------------------------------------------------------ training

    def rates(self, lr: float) -> dict[str, float]:
        """Learning rate of each part, by the names of `part_of`."""
        rates = {"main": lr, "backbone": lr * self.backbone_lr, "text": lr * self.text_lr, "offsets": lr}
        return rates if self.affinity is None else {**rates, "affinity": lr}

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups as in the released training, and the affinity's convolutions."""
        return learning_groups(self.named_parameters(), self.rates(lr), part_of)

    @property
    def has_warmup(self) -> bool:
        """True where query and supports are compared."""
        return self.affinity is not None

    def warmup_losses(
        self,
        supports: ClipBatch | None,
        queries: ClipBatch,
        shots: int,
        num_frames: float | None = None,
        words: Any | None = None,
    ) -> Losses:
        """Prototype loss where the affinity compares query and support at stride 8 (PANet, ICCV 2019).

        Where places ask the words with their position, also the loss of how well they agree with them: which of two
        alike is on the left is otherwise learnt late, and with some seeds not at all.
        """
        if self.affinity is None:
            return super().warmup_losses(supports, queries, shots, num_frames, words)
        supports = require_supports(supports, self.name)
        levels = queries.for_each_clip(self.frame_features(queries)[-LEVELS:])
        words = words or self.encode_text(queries.expressions)
        query = self.fused_levels(levels, words, False, queries.padding)[0]
        said = self.places_meant(levels[0], words, queries) if self.word_positions else None
        levels = supports.for_each_clip(self.frame_features(supports)[-LEVELS:])
        support = self.fused_levels(levels, self.encode_text(supports.expressions), True, supports.padding)[0]
        query, support = self.affinity.embed(query, support)
        return prototype_warmup(support, query, supports, queries, shots, num_frames, said)

    def places_meant(self, level: Tensor, words: Words, queries: ClipBatch) -> Tensor:
        """Logits `(N, T, h, w)` of how well places of a level `(N*T, C, h, w)` agree with the words of their clip."""
        tokens = rearrange(level, "(n t) c h w -> n (t h w) c", n=len(queries))
        h, w = size_of(level)
        agreed = self.fusion.agreement(tokens, words, self.places(queries.padding, (h, w), tokens))
        return rearrange(agreed, "n (t h w) -> n t h w", h=h, w=w)


def size_of(x: Tensor) -> tuple[int, int]:
    """Height and width of maps."""
    return x.shape[-2], x.shape[-1]


def part_of(name: str) -> str:
    """The optimiser group of a parameter by its name."""
    first = name.split(".")[0]
    if first in ("backbone", "text"):
        return first
    if first == "affinity" and ".norm." not in name:
        return "affinity"
    return "offsets" if "sampling_offsets" in name or "reference_points" in name else "main"


def _queries(sizes: Sizes, anchors: str | None) -> QueryScheme:
    if anchors is None:
        return TextQueries(sizes.num_queries, sizes.hidden_dim)
    return AnchorQueries(sizes.num_queries, sizes.hidden_dim, LEVELS, anchors == "clean")


def _transformer(sizes: Sizes, queries: QueryScheme, checkpointing: bool) -> DeformableTransformer:
    widths = (sizes.hidden_dim, sizes.heads, LEVELS, sizes.points)
    depths = (sizes.encoder_layers, sizes.decoder_layers)
    return DeformableTransformer(*widths, *depths, sizes.feedforward_dim, sizes.dropout, queries, checkpointing)

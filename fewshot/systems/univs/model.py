"""UniVS: one network for what is named by classes, shown by masks, or described by expressions.

Li et al., UniVS: Unified and Universal Video Segmentation with Prompts as Queries, CVPR 2024. A Mask2Former whose
queries are of two kinds: learnable ones find everything that there is, prompt queries each its own target. Read
`segment` from top to bottom for the network, and `encode_supports` and `forward` for episodes, in which the masks of
support images are prompts for other videos.

Legend: B episodes, K shots, S support frames, N query clips, T frames, n = N * T, P prompts, R tokens of a prompt, L
words, C width, D width of the text; levels are maps at strides 32, 16 and 8.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor, nn

from episodes.batch import ClipBatch, EpisodeBatch
from episodes.seeding import derive
from fewshot.losses.masks import visible_frames
from fewshot.nn.backbones import Backbone
from fewshot.nn.masks import padded_masks, pixels_of
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System, learning_groups, require_supports
from fewshot.systems.univs import prompts
from fewshot.systems.univs.batches import lesson_of
from fewshot.systems.univs.concepts import Concepts, class_embeddings
from fewshot.systems.univs.decoder import LONGEST, TASKS, Found, Prompts, Scenes, UniVSDecoder
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.episodes import UniVSState, UniVSWords, episode_losses, warmup
from fewshot.systems.univs.network import RELEASED, Sizes
from fewshot.systems.univs.parameters import start_linears, without_decay
from fewshot.systems.univs.partners import QUERIES
from fewshot.systems.univs.pixel_decoder import PixelDecoder
from fewshot.systems.univs.prior import MAPS, SCALE, PriorMaps
from fewshot.systems.univs.school import School, in_short
from fewshot.systems.univs.text_prompts import TextPrompts
from fewshot.systems.univs.text_tower import TextTower
from fewshot.systems.univs.visual_prompts import VisualPrompts, box_of_masks, mask_prompts, relative, scene_of

STARTS, STRIDES = ("released", "scratch"), (4, 1)


class UniVS(System):
    """The network of UniVS.

    Args:
        backbone: four taps at strides 4, 8, 16 and 32.
        text: tower that reads names and expressions; None: expressions are refused.
        sizes: widths and depths.
        separation: of the self-attention (`fewshot.systems.univs.decoder_layers.who_may_not_meet`).
        text_to_image: words look at the frames before they are prompts.
        object_queries: whose answers follow a given object (`fewshot.systems.univs.partners.answers_of`).
        freeze_backbone: keep the backbone; the output norms of a Swin learn all the same, as released.
        freeze_text: keep the text tower.
        backbone_lr: factor on the learning rate of the rest.
        weights_of: which weights of an official file are read, those of the `student` or of the `teacher`.
        concepts: class embeddings from a file; None: the text tower makes them.
        school: how it learns from clips with all of their objects.
        decay_norms: weight decay on norms and embeddings too; False: not, as released.
        prior: masks of supports start from maps of how like them each place is; not in the released models.
        start: of what learns: as `released`, or from `scratch`.
        mask_stride: pixels per mask cell of episodes, 4 as released, or 1: cells lie where the backbone has them.
        background: where objects are given, the rest of the frame is asked for too; not in the released models.

    Raises:
        ValueError: another start or stride, or other queries.
    """

    name = "univs"
    accepts = frozenset({"support", "expression"})
    needs = frozenset()
    video_kinds = frozenset(("vos", "pvos", "rvos", "vis", "vss", "vps"))
    parts = {"head": ("decoder.heads",), "fusion": ("text_prompts", "decoder.prompt_attention")}
    pad_multiple = 32

    def __init__(
        self,
        backbone: Backbone,
        text: TextTower | None,
        sizes: Sizes = RELEASED,
        *,
        separation: str = "sep",
        text_to_image: bool = True,
        object_queries: str = "prompt",
        freeze_backbone: bool = False,
        freeze_text: bool = True,
        backbone_lr: float = 0.1,
        weights_of: str = "student",
        concepts: Concepts | None = None,
        prior: bool = False,
        start: str = "released",
        mask_stride: int = 4,
        background: bool = False,
        school: School | None = None,
        decay_norms: bool = True,
    ) -> None:
        super().__init__()
        dim, heads = sizes.hidden_dim, sizes.heads
        self.backbone, self.text, self.sizes = backbone, text, sizes
        self.backbone_lr, self.weights_of, self.concepts = backbone_lr, weights_of, concepts
        self.mask_stride, self.object_queries, self.background = mask_stride, object_queries, background
        self.school, self.decay_norms = school or School(), decay_norms
        encoder = (sizes.encoder_layers, sizes.pixel_feedforward_dim)
        self.pixel_decoder = PixelDecoder(backbone.channels, dim, heads, *encoder)
        rounds = (sizes.decoder_layers, sizes.feedforward_dim, sizes.num_queries)
        self.prior = PriorMaps(dim, sizes.text_dim, backbone.patches) if prior else None
        self.decoder = UniVSDecoder(dim, heads, *rounds, sizes.text_dim, separation, MAPS if prior else 0)
        self.text_prompts = TextPrompts(sizes.text_dim, dim, heads, text_to_image)
        self.tasks = nn.ModuleDict({task: nn.Embedding(1, dim) for task in TASKS})
        choices: dict[str, tuple[object, tuple[object, ...]]] = {
            "start": (start, STARTS),
            "mask_stride": (mask_stride, STRIDES),
            "object_queries": (object_queries, QUERIES),
        }
        for name, (value, valid) in choices.items():
            if value not in valid:
                raise ValueError(f"{name} must be one of {', '.join(map(str, valid))}, got {value!r}")
        for part in (self.decoder, self.text_prompts):
            start_linears(part, narrow=start == "released")
        if start == "scratch":
            for embedding in (self.decoder.level_embed, *self.tasks.values()):
                nn.init.zeros_(embedding.get_parameter("weight"))
        if self.decoder.heads.of_maps is not None:
            nn.init.constant_(self.decoder.heads.of_maps.bias, SCALE)
        self._freeze(freeze_backbone, freeze_text)

    def _freeze(self, backbone: bool, text: bool) -> None:
        if backbone:
            self.backbone.freeze()
            for name, parameter in self.backbone.body.named_parameters():
                parameter.requires_grad_(name.split(".")[0] in ("norm0", "norm1", "norm2", "norm3"))
        self.text_is_frozen = text
        if text and self.text is not None:
            self.text.requires_grad_(False)
        if self.text is None:
            self.accepts, self.video_kinds = frozenset({"support"}), self.video_kinds - {"rvos"}

    # ------------------------------------------------------------------------------------------------- the network

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """The three levels `(n, C, h, w)` and the mask features `(n, C, H, W)` at stride 4."""
        return clips.features or self.encode_frames(clips.frames.flatten(0, 1))

    def encode_frames(self, frames: Tensor) -> tuple[Tensor, ...]:
        """Frames `(n, 3, H, W)`, padded to a multiple of 32, to the same."""
        levels, mask_features = self.pixel_decoder(self.backbone(frames))
        return (*levels, mask_features)

    def scenes(self, features: Sequence[Tensor], frames: Tensor) -> Scenes:
        """Features of `frame_features` as the decoder sees them.

        Args:
            frames: `(B, T)` index of each frame in its video, also of one that is longer than those of training.
        """
        *levels, mask_features = features
        moments = (frames / LONGEST).to(mask_features.device)
        return self.decoder.scenes(levels, mask_features, moments)

    def segment(self, scenes: Scenes, asked: Prompts | None, **options: Any) -> list[Found]:
        """Answers of all queries before the first round of the decoder and after each (`UniVSDecoder.forward`)."""
        answers: list[Found] = self.decoder(scenes, asked, **options)
        return answers

    # ------------------------------------------------------------------------------------------------- the prompts

    def show(
        self,
        scenes: Scenes,
        frame: int,
        masks: Tensor,
        draws: Draws,
        boxes: Tensor | None = None,
        points: int | None = None,
        touched: bool = False,
    ) -> VisualPrompts:
        """Visual prompts from masks `(P, H, W)` in 0..1 on the padded frame `frame` of `scenes` (of all its videos).

        Args:
            boxes: `(P, 4)` x0, y0, x1, y1 in 0..1; None: those of the masks.
            points: R; None: as the network was built.
            touched: see `mask_prompts`.
        """
        if boxes is None:
            boxes = relative(box_of_masks(masks > 0.5), (masks.shape[-2], masks.shape[-1]))
        count = points or self.sizes.dense_points
        return mask_prompts(scene_of(scenes, frame), masks, boxes, count, draws, touched=touched)

    def task(self, name: str) -> Tensor:
        """Embedding `(C,)` of a task, which the prompt queries of that task start with."""
        embedding = self.tasks[name]
        assert isinstance(embedding, nn.Embedding)
        return embedding.weight[0]

    def embed_classes(self, names: Sequence[str], data: str | None = None) -> Tensor:
        """Embeddings `(N, D)` of classes by their names, from the file of the settings or by the text tower.

        Args:
            names: of the classes; with the official file those of `data`, all of them, in its own order.
            data: the data set (`fewshot.systems.univs.concepts.ROWS`); an official file has no names of its own.

        Raises:
            ValueError: there are none of some of them; the message names these and how to make them.
        """
        embeddings = class_embeddings(names, self.text, self.concepts, data)
        return embeddings.to(self.decoder.content.weight)

    def name_classes(self, scenes: Scenes, concepts: Tensor) -> Prompts:
        """Classes `(N, D)` as prompts of every video."""
        texts = concepts.expand(scenes.moments.shape[0], -1, -1)[:, :, None]
        return prompts.classes(self.text_prompts(texts, scenes), self.task("detection"))

    def describe(self, scenes: Scenes, words: Tensor, sentences: Tensor) -> Prompts:
        """Expressions as prompts: words `(B, P, L, D)` and sentences `(B, P, D)`."""
        texts = torch.cat([sentences[:, :, None], words], 2)
        return prompts.expressions(self.text_prompts(texts, scenes), sentences, self.task("grounding"))

    # ------------------------------------------------------------------------------------------------ the episodes

    def encode_supports(self, supports: ClipBatch, shots: int) -> UniVSState:
        """Masked frames of the `K` support clips of an episode as one prompt.

        Raises:
            ValueError: a support has no mask.
        """
        masks = padded_masks(supports).flatten(0, 1)
        features = supports.for_each_clip(self.frame_features(supports))
        shown = None if self.prior is None else self.prior.show(features[-2], features[-1], supports, shots)
        scenes = self.scenes(features, torch.zeros(len(masks), 1))
        # each frame for itself, so that an episode does not depend on the others of its batch
        looks = [self.show(scenes, n, masks[n : n + 1], Draws.seeded(0)).tokens for n in range(len(masks))]
        tokens = torch.cat(looks).unflatten(0, (len(supports) // shots, -1))  # (B, K S, R, C)
        return UniVSState(tokens.flatten(1, 2), shown=shown)

    def encode_text(self, expressions: Sequence[str | None]) -> UniVSWords | None:
        """Words of `N` expressions; None where no clip has one.

        Raises:
            ValueError: some have one and others none, or there is no text tower.
        """
        given = [text for text in expressions if text is not None]
        if not given:
            return None
        if len(given) < len(expressions):
            raise ValueError("some clips have an expression and others none: ask with one kind of reference at a time")
        if self.text is None:
            raise ValueError(
                "this UniVS has no text tower and reads no expressions: give it that of a CLIP (system.text=clip "
                "system.text_weights=FOLDER), or build it with system.text=small"
            )
        return UniVSWords(*self.text(given))

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Find the object of each of `N` query clips by its supports, by its expression, or by both.

        Raises:
            ValueError: another number of references than of clips, or no reference at all.
        """
        state.check(len(queries))
        queries = self.with_features(queries, queries.copies)
        features = queries.for_each_clip(queries.features)
        n, t = queries.frames.shape[:2]
        scenes = self.scenes(features, torch.arange(t).expand(n, -1))
        asked = self.prompts_of(scenes, state)
        maps = None if state.supports is None else self.maps_of(state.supports, state.words, queries)
        if maps is not None:
            asked = replace(asked, maps=maps[:, None])
        found = self.segment(scenes, asked, learnable=False)
        layers = [self.prediction(answer.masks.transpose(1, 2), queries) for answer in found]
        return replace(layers[-1], layers=tuple(layers[:-1]))

    def prediction(self, masks: Tensor, queries: ClipBatch) -> Prediction:
        """Masks `(N, T, P, H, W)` at stride 4, or brought to the pixels where that is asked for."""
        if self.mask_stride == 4:
            return Prediction(masks=masks, stride=4)
        size = (queries.frames.shape[-2], queries.frames.shape[-1])
        pixels = pixels_of(masks.flatten(0, 1), 4, size, self.backbone.patches)
        return Prediction(masks=pixels.unflatten(0, masks.shape[:2]), stride=1)

    def maps_of(self, shown: UniVSState, said: UniVSWords | None, queries: ClipBatch) -> Tensor | None:
        """From what the masks of `N` query clips start, `(N, T, 3, H, W)`; None without prior maps.

        The first two say how like the supports each place is, the third how well it agrees with the words.
        """
        if self.prior is None or shown.shown is None:
            return None
        *_, level, fine = self.frame_features(queries)
        if shown.repeats == queries.copies:  # all clips that share frames share their supports
            alike = self.prior(shown.shown, level, fine).repeat_interleave(queries.copies, 0)
        else:
            alike = self.prior(shown.shown.rows(len(queries)), *queries.for_each_clip((level, fine)))
        if said is None:
            return torch.cat([alike, torch.zeros_like(alike[:, :, :1])], 2)
        own = queries.for_each_clip((level, fine))
        return torch.cat([alike, self.prior.meant(said.sentences, *own)], 2)

    def prompts_of(self, scenes: Scenes, state: ReferenceState) -> Prompts:
        """What each query clip is asked with: one prompt.

        Raises:
            ValueError: there is neither a support nor an expression.
        """
        shown: UniVSState | None = state.supports
        said: UniVSWords | None = state.words
        if said is None and shown is None:
            raise ValueError("UniVS finds what is shown or said, and there is neither: give supports or expressions")
        frames = scenes.moments.shape[1]
        looks = None
        if shown is not None:
            looks = prompts.without_place(shown.for_clips()[:, None, None], self.task("sot"))
            looks = prompts.for_frames(looks, frames)
        if said is None:
            assert looks is not None
            return looks
        words = self.describe(scenes, said.words[:, None], said.sentences[:, None])
        return replace(words, sentences=None) if looks is None else prompts.together(looks, words)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Cross entropy and dice of the masks of all heads against the masks of the query clips."""
        return episode_losses(prediction, queries, num_frames)

    @property
    def has_warmup(self) -> bool:
        """Only the prior maps can warm up."""
        return self.prior is not None

    def warmup_losses(
        self,
        supports: ClipBatch | None,
        queries: ClipBatch,
        shots: int,
        num_frames: float | None = None,
        words: Any | None = None,
    ) -> Losses:
        """Losses of the prior maps themselves, of the third one where the others leave open what is meant.

        Raises:
            ValueError: there are no supports, or this UniVS has no such maps.
        """
        supports = require_supports(supports, self.name)
        state = self.encode_supports(supports, shots)
        words = words or (None if self.text is None else self.encode_text(queries.expressions))
        maps = self.maps_of(state.repeat(len(queries) * shots // len(supports)), words, queries)
        if maps is None:
            raise ValueError(
                "the warm-up needs the prior maps: train with system.prior=true, or without it "
                "(train.prototype_fraction=0 train.prototype_weight=0)"
            )
        return warmup(maps, words is not None, queries, num_frames)

    def batch_losses(self, batch: EpisodeBatch, num_frames: float) -> Losses | None:
        """Losses of clips with all of their objects, or with expressions; their terms are means over the heads.

        Few-shot episodes, which have supports, are asked by these.
        """
        lesson = lesson_of(self, batch)
        if lesson is None:
            return None
        spec = batch.specs[0]
        losses = self.school.losses(self, lesson, Draws.seeded(derive("lesson", spec.benchmark, spec.seed, spec.index)))
        share = visible_frames(batch.queries) / num_frames  # of this batch in its step
        return in_short(losses, self.sizes.decoder_layers + 1).times(share)

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Optimiser groups: the backbone learns more slowly, as released."""
        rates = {"main": lr, "backbone": lr * self.backbone_lr, "text": lr, "offsets": lr}
        groups = learning_groups(self.named_parameters(), rates)
        return groups if self.decay_norms else without_decay(groups, self)

"""SgMg: spectrum-guided fusion with the words, and masks that are refined after the object has been chosen.

Miao et al., Spectrum-guided Multi-granularity Referring Video Object Segmentation, ICCV 2023; read `forward` from top
to bottom.

Legend: N query clips, T frames, C width, Q candidates, D decoder layers, P = 16 mask pixels of a cell; (h, w) a map.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.losses.matching import MatchCosts
from fewshot.nn.backbones import Backbone
from fewshot.nn.fusion import VisionLanguageFusion, Words
from fewshot.nn.mask_head import DynamicMaskHead
from fewshot.nn.mask_optimiser import MultiScaleOptimiser, as_pixels
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.queries import Encoded
from fewshot.nn.spectral import SpectralFilter, damping_chain
from fewshot.nn.text import TextEncoder
from fewshot.systems.base import ReferenceState
from fewshot.systems.sgmg.losses import RefinedCriterion, refined_weights
from fewshot.systems.trunk import LEVELS, RELEASED, RELEASED_PADDING, Decoding, Sizes, Trunk, size_of

SIDE, STRIDE = 4, 8  # mask pixels along a side of a cell, and network pixels of the cell
LEAST_CELLS = 3  # a side of the map at stride 64, for the gates of the spectral filters


@dataclass(frozen=True)
class PatchPrediction(Prediction):
    """Prediction in training: masks of all candidates at stride 2, to be refined where they are matched.

    Attributes:
        fine, coarse: `(N, T, C, h, w)` raw backbone features at strides 4 and 8, for the refinement.
    """

    fine: Tensor | None = None
    coarse: Tensor | None = None


class SgMg(Trunk):
    """The trunk with spectral filters before and after the fusion, patches of masks at stride 8, and their refinement.

    Args:
        backbone, text, sizes: see `Trunk`.
        refine: `best` or `all`: candidates whose masks are refined outside training.
        gate_padding: see `SpectralFilter`.
        fast: queries that share their frames (`ClipBatch.copies`) are fused with their words and encoded together, and
            told apart afterwards (the paper's Fast SgMg): masks then depend on what else is asked.
        options: see `Trunk`.
    """

    name = "sgmg"
    pad_multiple = 16  # the masks depend on it everywhere
    data_pad_multiples = RELEASED_PADDING

    def __init__(
        self,
        backbone: Backbone,
        text: TextEncoder,
        sizes: Sizes = RELEASED,
        *,
        refine: str = "best",
        gate_padding: int = 0,
        fast: bool = False,
        **options: Any,
    ) -> None:
        super().__init__(backbone, text, sizes, **{"sentence": "apart", **options})
        if refine not in ("best", "all"):
            raise ValueError(f"refine must be 'best' or 'all', got {refine!r}")
        self.refine, self.gate_padding, self.answers_together = refine, gate_padding, fast
        dim = sizes.hidden_dim
        self.filters_before, self.filters_after = (
            nn.ModuleList(SpectralFilter(dim, gate_padding) for _ in range(LEVELS)) for _ in range(2)
        )
        self.decoupling = VisionLanguageFusion(dim, sizes.heads) if fast else None
        if self.decoupling is not None and options.get("pass_features"):
            self.decoupling.start_near_identity()
        self.mask_head = DynamicMaskHead(dim, SIDE**2, STRIDE, STRIDE, layers=2, outputs=SIDE**2)
        self.optimiser = MultiScaleOptimiser(backbone.channels[0], backbone.channels[1], SIDE)
        self.add_heads(sizes.decoder_layers, dim, self.mask_head.num_parameters)
        costs = MatchCosts(visible_scores=True, visible_boxes=not self.absent_boxes)
        weights = refined_weights(self.box_weight)
        self.criterion = RefinedCriterion(weights, costs, self.absent_boxes, self.masks_per_clip)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Segment `N` query clips against the `N` references of `state`.

        In training, masks of all candidates at stride 2 (`PatchPrediction`); else refined ones at stride 1, of the best
        candidate or of all. Where one frame of each clip is asked for, all candidates of that frame.

        Raises:
            ValueError: frames that are too small, or another number of references.
        """
        state.check(len(queries))
        every = self.refine == "all" or bool(queries.asked)  # which is where candidates are ranked
        queries = self.seen(queries)
        # raw maps at strides 4 and 8, and four filtered levels at strides 8 to 64, all (N*T, C_i, h, w)
        fine, coarse, *levels = queries.for_each_clip(queries.features)
        shared = 1 if self.decoupling is None else queries.copies
        if shared > 1:
            levels = list(queries.features[-LEVELS:])
        fused = self.fused_levels(levels, state.words, padding=queries.padding[::shared])
        found = self.decode(fine, fused, queries, state)
        features = mask_features(found.decoded.memory)
        sizes = queries.sizes.repeat_interleave(queries.frames.shape[1], 0)
        layers = range(len(self.score_heads)) if self.training else [len(self.score_heads) - 1]
        predicted = [self.predict(found, features, sizes, layer, clips=len(queries)) for layer in layers]
        fine, coarse = (x.unflatten(0, (len(queries), -1)) for x in (fine, coarse))
        if not self.training:
            return self.refined(predicted[-1], fine, coarse, every, queries.answers)
        *earlier, last = predicted
        return PatchPrediction(
            last.masks, last.scores, last.boxes, last.stride, tuple(earlier), fine=fine, coarse=coarse
        )

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Set losses of the final and the earlier decoder layers, the matched masks of each refined.

        Raises:
            ValueError: the prediction was not made in training mode.
        """
        if not isinstance(prediction, PatchPrediction) or prediction.fine is None or prediction.coarse is None:
            raise ValueError("SgMg learns from predictions that are made in training mode: call train() first")
        fine, coarse = prediction.fine, prediction.coarse
        size = (SIDE * fine.shape[-2], SIDE * fine.shape[-1])
        asked = queries.one_frame(queries.asked) if queries.asked else queries
        return self.criterion.refined(
            prediction, asked, num_frames, lambda masks: self.refine_masks(masks, fine, coarse), size
        )

    # ------------------------------------------------------------------------------------------------ the steps

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """The backbone's maps at strides 4 and 8, and four levels `(n, C, h, w)` that are filtered and know no words.

        `n` is the number of frames, N * T, or less where clips share them.

        Raises:
            ValueError: frames that are too small.
        """
        if clips.features:
            return clips.features
        self.check_size(*clips.frames.shape[-2:])
        fine, *coarse = self.backbone.encode_clips(clips.frames)
        return (fine, coarse[0], *self.filtered(self.level_projection(coarse), self.filters_before))

    def check_size(self, height: int, width: int) -> None:
        """Refuse padded frames whose map at stride 64 the gates cannot take."""
        if self.gate_padding == 0 and min(-(-side // 64) for side in (height, width)) < LEAST_CELLS:
            least = 64 * (LEAST_CELLS - 1) + 1
            raise ValueError(
                f"frames of {width}x{height} pixels (width x height) are too small for SgMg: each side must have at "
                f"least {least} pixels; enlarge them, or train with system.gate_padding=1"
            )

    def filtered(self, levels: Sequence[Tensor], filters: nn.ModuleList) -> list[Tensor]:
        """Levels `(n, C, h, w)` through the spectral filter of each."""
        # the filters before and after the fusion of a level have one size, and so one damping
        chain = damping_chain([size_of(x) for x in levels], levels[0].device)
        return [level_filter(x, damping) for level_filter, x, damping in zip(filters, levels, chain, strict=True)]

    def fused_levels(
        self, levels: Sequence[Tensor], words: Words, support: bool = False, padding: Tensor | None = None
    ) -> list[Tensor]:
        """Four filtered levels `(N*T, C, h, w)` as levels `(N, T, C, h, w)` that know the words, filtered once more."""
        fused = super().fused_levels(levels, words, support, padding)
        after = self.filtered([x.flatten(0, 1) for x in fused], self.filters_after)
        return [y.view_as(x) for x, y in zip(fused, after, strict=True)]

    def for_each_query(self, encoded: Encoded, words: Words, positions: Sequence[Tensor], each: int) -> Encoded:
        """In the fast way, what was encoded for several queries together, as what it reads from the words of each."""
        if self.decoupling is None:
            return encoded
        clips = len(words.features)
        t = len(encoded.tokens) * each // clips
        tokens, padding, ratios = (
            x.unflatten(0, (-1, t)).repeat_interleave(each, 0)
            for x in (encoded.tokens, encoded.padding, encoded.ratios)
        )
        places = None
        if self.word_positions:
            places = torch.cat([x.flatten(2) for x in positions], -1).transpose(1, 2).repeat(1, t, 1)
        apart = self.decoupling(tokens.flatten(1, 2), words, places).view_as(tokens)
        return Encoded(apart.flatten(0, 1), encoded.shapes, padding.flatten(0, 1), ratios.flatten(0, 1))

    def predict(self, found: Decoding, features: Tensor, sizes: Tensor, layer: int, clips: int) -> Prediction:
        """Scores, boxes and unrefined masks at stride 2 of a decoder layer, for all candidates.

        Args:
            features: `(N*T, C, h, w)`; sizes: `(N*T, 2)`.
        """
        state, box = found.decoded.states[layer], found.decoded.boxes[layer]
        # the reference of a layer's masks is its own refined centre, cut off from the gradient
        patches = self.mask_head(features, self.controller(state), box[..., :2].detach(), sizes)
        parts = (as_pixels(patches, SIDE), self.score_heads[layer](state)[..., 0], box)
        masks, scores, box = (x.unflatten(0, (clips, -1)) for x in parts)
        return Prediction(masks, scores, box, STRIDE // SIDE)

    def refined(
        self, prediction: Prediction, fine: Tensor, coarse: Tensor, every: bool, answers: Sequence[int] = ()
    ) -> Prediction:
        """The prediction with refined masks at stride 1, of all candidates, or of the best or the wanted one alone."""
        masks, scores, boxes = prediction.masks, prediction.scores, prediction.boxes
        assert scores is not None and boxes is not None
        if not every:
            # candidates are tracked: the best one is the same in all frames
            best = torch.tensor(answers, device=masks.device) if answers else prediction.best()[:, 0]
            clips = torch.arange(len(best), device=best.device)
            masks, scores, boxes = (x[clips, :, best].unsqueeze(2) for x in (masks, scores, boxes))
        refined = [self.refine_masks(masks[:, :, q], fine, coarse) for q in range(masks.shape[2])]
        return Prediction(torch.stack(refined, 2), scores, boxes, 1, all_scores=prediction.scores)

    def refine_masks(self, masks: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Masks `(N, T, h, w)` at stride 2 and features `(N, T, C, h, w)` to masks at stride 1, `(N, T, H, W)`."""
        patches = F.pixel_unshuffle(masks[:, :, None].flatten(0, 1), SIDE)
        with torch.autocast(masks.device.type, enabled=False):
            flat = (x.flatten(0, 1).float() for x in (fine, coarse))
            return self.optimiser(patches.float(), *flat).unflatten(0, masks.shape[:2])


def mask_features(memory: Sequence[Tensor]) -> Tensor:
    """Sum of the memory at strides 8, 16 and 32, resized bicubically: `(n, C, h, w)` at stride 8.

    Nothing is normalised, and what the bicubic resize overshoots stays: released weights were trained so.
    """
    finest, *others = memory[:3]
    size = size_of(finest)
    return sum((F.interpolate(x, size, mode="bicubic", align_corners=False) for x in others), finest)

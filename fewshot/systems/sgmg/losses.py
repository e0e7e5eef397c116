"""The set criterion of SgMg: candidates are matched by their coarse masks, and the matched ones are refined.

Legend: N clips, T frames, (h, w) mask resolution.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.losses.criterion import SetCriterion, make_targets, weights_of
from fewshot.losses.masks import visible_frames
from fewshot.losses.matching import MatchCosts, Targets, match
from fewshot.nn.outputs import Losses, Prediction

LOW = "_low"  # ends the names of the terms of masks before the refinement
Refine = Callable[[Tensor], Tensor]


def refined_weights(boxes: float = 1.0) -> dict[str, float]:
    """The weights of the released training, those of the box losses times `boxes`."""
    weights = weights_of(boxes)
    return {**weights, **{f"{name}{LOW}": weights[name] for name in ("loss_mask", "loss_dice")}}


@dataclass(frozen=True)
class RefinedCriterion(SetCriterion):
    """`SetCriterion` with mask terms before and after the refinement."""

    weights: dict[str, float] = field(default_factory=refined_weights)
    costs: MatchCosts = MatchCosts(visible_scores=True)

    def refined(
        self,
        prediction: Prediction,
        queries: ClipBatch,
        num_frames: float | None,
        refine: Refine,
        size: tuple[int, int],
    ) -> Losses:
        """Losses of a prediction of unrefined masks.

        Args:
            num_frames: as in `System.losses`.
            refine: masks `(N, T, h, w)` to masks `(N, T, *size)` at stride 1.
        """
        count = visible_frames(queries) if num_frames is None else float(num_frames)
        coarse = (prediction.masks.shape[-2], prediction.masks.shape[-1])
        low, full = make_targets(queries, coarse, prediction.stride), make_targets(queries, size, 1)
        layers = (prediction, *prediction.layers)
        return self.summed([self.refined_layer(x, low, full, count, refine) for x in layers])

    def refined_layer(
        self, prediction: Prediction, low: Targets, full: Targets, num_frames: float, refine: Refine
    ) -> dict[str, Tensor]:
        """The unweighted terms of one layer, see `SetCriterion.layer`."""
        chosen = match(prediction, low, self.costs)
        masks = prediction.masks[torch.arange(len(chosen), device=chosen.device), :, chosen]
        return {
            **self.candidate_terms(prediction, chosen, low, num_frames),
            **self.mask_terms(refine(masks), full, num_frames),
            **self.mask_terms(masks, low, num_frames, LOW),
        }

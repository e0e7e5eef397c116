"""The set criterion of ReferFormer and CMA: match, then score, box and mask losses, on every decoder layer.

Legend: N clips, T frames, Q candidates, (h, w) mask resolution.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.losses.boxes import generalised_iou
from fewshot.losses.masks import target_masks, visible_frames
from fewshot.losses.matching import MatchCosts, Targets, match
from fewshot.losses.segmentation import dice_loss, focal_loss
from fewshot.nn.outputs import Losses, Prediction

WEIGHTS = {"loss_ce": 2.0, "loss_bbox": 5.0, "loss_giou": 2.0, "loss_mask": 2.0, "loss_dice": 5.0}


@dataclass(frozen=True)
class SetCriterion:
    """Weighted losses of the final layer and of each earlier one; every layer is matched on its own.

    Attributes:
        weights: of the terms in the total.
        costs: of the matching.
    """

    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))
    costs: MatchCosts = MatchCosts()

    def __call__(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Losses of a prediction; `num_frames` as in `System.losses`. Terms of earlier layers end in `_0`, `_1`, ..."""
        count = visible_frames(queries) if num_frames is None else float(num_frames)
        targets = make_targets(queries, (prediction.masks.shape[-2], prediction.masks.shape[-1]), prediction.stride)
        terms = self.layer(prediction, targets, count)
        total = self.weighted(terms)
        for k, layer in enumerate(prediction.layers):
            auxiliary = self.layer(layer, targets, count)
            total = total + self.weighted(auxiliary)
            terms.update({f"{name}_{k}": value for name, value in auxiliary.items()})
        return Losses(total=total, terms=terms)

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms of one layer."""
        first, *others = (self.weights[name] * value for name, value in terms.items())
        return sum(others, first)

    def layer(self, prediction: Prediction, targets: Targets, num_frames: float) -> dict[str, Tensor]:
        """The unweighted terms of one layer.

        Score losses sum over frames and candidates; box losses over all frames, where the object is absent towards an
        empty box; mask losses are one term per clip. All are divided by the number of visible frames: released
        models were trained so.
        """
        scores, boxes, masks = prediction.scores, prediction.boxes, prediction.masks
        if scores is None or boxes is None:
            raise ValueError("the set criterion needs scores and boxes in the prediction")
        chosen = match(prediction, targets, self.costs)
        clips = torch.arange(len(chosen), device=chosen.device)
        referred = F.one_hot(chosen, scores.shape[-1])[:, None] * targets.valid[..., None]
        box, mask = boxes[clips, :, chosen].float(), masks[clips, :, chosen].float()
        mask, truth = mask.flatten(1), targets.masks.flatten(1)
        sums = {
            "loss_ce": focal_loss(scores.float(), referred.float()).sum(),
            "loss_bbox": F.l1_loss(box, targets.boxes, reduction="sum"),
            "loss_giou": (1 - generalised_iou(box, targets.boxes)).sum(),
            "loss_mask": focal_loss(mask, truth).mean(1).sum(),
            "loss_dice": dice_loss(mask, truth).sum(),
        }
        return {name: value / num_frames for name, value in sums.items()}


def make_targets(queries: ClipBatch, size: tuple[int, int], stride: int) -> Targets:
    """Targets at mask resolution: masks padded to `stride * size` and sampled at the middle of each cell.

    Raises:
        ValueError: if the clips carry no targets, or masks of another size than their frames.
    """
    if queries.boxes is None or queries.valid is None:
        raise ValueError("the query clips carry no boxes or visibility: they were not made for training")
    height, width = stride * size[0], stride * size[1]
    masks = []
    for mask in target_masks(queries):
        padded = F.pad(mask, (0, width - mask.shape[-1], 0, height - mask.shape[-2]))
        masks.append(padded[:, stride // 2 :: stride, stride // 2 :: stride])
    return Targets(queries.boxes.float(), queries.valid.bool(), torch.stack(masks).float())

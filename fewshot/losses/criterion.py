"""The set criterion of ReferFormer and CMA: match, then score, box and mask losses, on every decoder layer.

Legend: N clips, T frames, Q candidates, (h, w) mask resolution.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
BOX_TERMS = ("loss_bbox", "loss_giou")


def weights_of(boxes: float = 1.0) -> dict[str, float]:
    """The weights of the released training, those of the box losses times `boxes`."""
    return {name: weight * boxes if name in BOX_TERMS else weight for name, weight in WEIGHTS.items()}


@dataclass(frozen=True)
class SetCriterion:
    """Weighted losses of the final layer and of each earlier one; every layer is matched on its own.

    Attributes:
        weights: of the terms in the total.
        costs: of the matching.
        absent_boxes: frames without the object count in the box losses, towards an empty box, as released models were
            trained; False: visible frames alone.
        masks_per_clip: a mask term is the mean over a clip, divided by the visible frames once more, as released models
            were trained; False: it counts once for each visible frame of its clip (for one without any, once).
    """

    weights: dict[str, float] = field(default_factory=weights_of)
    costs: MatchCosts = MatchCosts()
    absent_boxes: bool = True
    masks_per_clip: bool = True

    def __call__(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """Losses of a prediction; `num_frames` as in `System.losses`. Terms of earlier layers end in `_0`, `_1`, ..."""
        count = visible_frames(queries) if num_frames is None else float(num_frames)
        targets = make_targets(queries, (prediction.masks.shape[-2], prediction.masks.shape[-1]), prediction.stride)
        return self.summed([self.layer(x, targets, count) for x in (prediction, *prediction.layers)])

    def summed(self, layers: Sequence[Mapping[str, Tensor]]) -> Losses:
        """Losses of the terms of all layers: the final one first, then the earlier ones, the first of them first."""
        first, *others = (self.weighted(terms) for terms in layers)
        names = ("", *(f"_{k}" for k in range(len(others))))
        terms = {f"{k}{name}": x for name, layer in zip(names, layers, strict=True) for k, x in layer.items()}
        return Losses(total=sum(others, first), terms=terms)

    def weighted(self, terms: Mapping[str, Tensor]) -> Tensor:
        """The weighted sum of the terms of one layer."""
        first, *others = (self.weights[name] * value for name, value in terms.items())
        return sum(others, first)

    def layer(self, prediction: Prediction, targets: Targets, num_frames: float) -> dict[str, Tensor]:
        """The unweighted terms of one layer.

        Score losses sum over frames and candidates, box losses over frames, mask losses over clips, see the attributes.
        All are divided by the number of visible frames.
        """
        chosen = match(prediction, targets, self.costs)
        clips = torch.arange(len(chosen), device=chosen.device)
        return {
            **self.candidate_terms(prediction, chosen, targets, num_frames),
            **self.mask_terms(prediction.masks[clips, :, chosen], targets, num_frames),
        }

    def candidate_terms(
        self, prediction: Prediction, chosen: Tensor, targets: Targets, num_frames: float
    ) -> dict[str, Tensor]:
        """The terms of scores and boxes, for the candidates `chosen` `(N,)`."""
        scores, boxes = prediction.scores, prediction.boxes
        if scores is None or boxes is None:
            raise ValueError("the set criterion needs scores and boxes in the prediction")
        clips = torch.arange(len(chosen), device=chosen.device)
        referred = F.one_hot(chosen, scores.shape[-1])[:, None] * targets.valid[..., None]
        box, wanted = boxes[clips, :, chosen].float(), targets.boxes
        if not self.absent_boxes:
            box, wanted = box[targets.valid], wanted[targets.valid]
        sums = {
            "loss_ce": focal_loss(scores.float(), referred.float()).sum(),
            "loss_bbox": F.l1_loss(box, wanted, reduction="sum"),
            "loss_giou": (1 - generalised_iou(box, wanted)).sum(),
        }
        return {name: value / num_frames for name, value in sums.items()}

    def mask_terms(self, masks: Tensor, targets: Targets, num_frames: float, suffix: str = "") -> dict[str, Tensor]:
        """Focal and dice terms of one mask per clip, `(N, T, h, w)` logits; their names end in `suffix`."""
        masks, truth = masks.float().flatten(1), targets.masks.flatten(1)
        clips = {"loss_mask": focal_loss(masks, truth).mean(1), "loss_dice": dice_loss(masks, truth)}
        if not self.masks_per_clip:
            frames = targets.valid.sum(1).clamp(min=1)
            clips = {name: value * frames for name, value in clips.items()}
        return {f"{name}{suffix}": value.sum() / num_frames for name, value in clips.items()}


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

"""Matching of query trajectories and targets: the cheapest assignment (DETR, Carion et al., ECCV 2020, eq. 1).

Legend: N clips, T frames, Q candidates, M targets, (h, w) mask resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fewshot.losses.boxes import generalised_iou
from fewshot.losses.segmentation import dice_overlap, focal_cost, score_cost
from fewshot.nn.outputs import Prediction


@dataclass(frozen=True)
class Targets:
    """Targets of a prediction, one object per clip.

    Attributes:
        boxes: `(N, T, 4)` `cx, cy, w, h` as fractions, zeros where the object is absent.
        valid: `(N, T)` bool, True where it is visible.
        masks: `(N, T, h, w)` float, 0 or 1, at the resolution of the predicted masks.
    """

    boxes: Tensor
    valid: Tensor
    masks: Tensor


@dataclass(frozen=True)
class MatchCosts:
    """Weights of the matching costs, and what counts in the frames that show the object alone.

    Attributes:
        visible_scores: scores do.
        visible_boxes: boxes do; False: towards an empty box where the object is absent.
    """

    score: float = 2.0
    box: float = 5.0
    giou: float = 2.0
    mask: float = 2.0
    dice: float = 5.0
    visible_scores: bool = False
    visible_boxes: bool = False


@torch.no_grad()
def trajectory_costs(prediction: Prediction, targets: Targets, costs: MatchCosts) -> Tensor:
    """Cost of each candidate as the target of its clip: `(N, Q, 1)`.

    All frames count, also those without the object; but see `MatchCosts`.
    """
    if prediction.scores is None or prediction.boxes is None:
        raise ValueError("matching needs scores and boxes in the prediction")
    scores, boxes = prediction.scores.float(), prediction.boxes.float()
    wanted = targets.boxes[:, :, None]
    masks = prediction.masks.float().transpose(1, 2).flatten(2)
    truth = targets.masks.flatten(1)[:, None]
    seen = targets.valid if costs.visible_boxes else None
    cost = costs.score * _over_frames(score_cost(scores), targets.valid if costs.visible_scores else None)
    cost = cost + costs.box * _over_frames((boxes - wanted).abs().sum(-1), seen)
    cost = cost - costs.giou * _over_frames(generalised_iou(boxes, wanted), seen)
    return cost[..., None] + costs.mask * focal_cost(masks, truth) - costs.dice * dice_overlap(masks, truth)


def _over_frames(cost: Tensor, counted: Tensor | None) -> Tensor:
    """Mean of a cost `(N, T, Q)` over the frames, or over those that are `counted` `(N, T)`: `(N, Q)`."""
    if counted is None:
        return cost.mean(1)
    weights = counted.to(cost.dtype)[..., None]
    return (cost * weights).sum(1) / weights.sum(1).clamp(min=1)


def assign(cost: Tensor) -> tuple[list[int], list[int]]:
    """Cheapest one-to-one assignment for a cost matrix `(Q, M)`: candidate indices and target indices, by target.

    With one target this is the cheapest candidate, the lowest index among equals. A cost that is not a number counts
    as the highest, so that a diverged model fails where its loss is looked at, not here.
    """
    finite = cost.detach().double().nan_to_num(nan=1e30, posinf=1e30, neginf=-1e30).cpu().numpy()
    candidates, targets = linear_sum_assignment(finite)
    order = targets.argsort()
    return candidates[order].tolist(), targets[order].tolist()


def match(prediction: Prediction, targets: Targets, costs: MatchCosts) -> Tensor:
    """Index of the matched candidate of every clip: `(N,)`."""
    chosen = [assign(cost)[0][0] for cost in trajectory_costs(prediction, targets, costs)]
    return torch.tensor(chosen, device=targets.boxes.device)

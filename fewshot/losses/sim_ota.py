"""SimOTA: how many queries learn from one object is decided by how well they fit it.

Ge et al., YOLOX, 2021, section 2.1, as UniRef++ uses it on the queries of a decoder layer. One object may train several
queries, a query at most one object. Legend: Q queries, K classes, M objects.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torchvision.ops import box_iou, generalized_box_iou

from fewshot.losses.boxes import to_corners
from fewshot.losses.segmentation import score_cost

GIOU, MISPLACED, HOPELESS, TAKEN = 3.0, 100.0, 10_000.0, 100_000.0  # weights of the costs
RADIUS = 2.5 / 32  # half the side of the square around the centre of an object, as a fraction of the image
CANDIDATES = 10  # queries whose IoUs with an object are added up


@torch.no_grad()
def sim_ota(logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Match queries of an image with its objects.

    Args:
        logits: `(Q, K)` class logits.
        boxes: `(Q, 4)` `cx, cy, w, h` as fractions of the image.
        labels: `(M,)` int64 classes of the objects; targets: `(M, 4)` their boxes.

    Returns:
        Indices of queries, rising, and the object of each: two int64 tensors of one length, empty if M is 0.
    """
    if len(labels) == 0:
        return labels.new_zeros(0), labels.new_zeros(0)
    if len(labels) == len(logits) == 1:  # nothing to choose between
        return labels.new_zeros(1), labels.new_zeros(1)
    logits, boxes = logits.float(), boxes.float()
    ious = box_iou(to_corners(boxes), to_corners(targets))
    claims = dynamic_claims(pair_costs(logits, boxes, labels, targets), ious)
    queries = claims.any(1).nonzero()[:, 0]
    return queries, claims[queries].int().argmax(1)  # of several objects the first


def pair_costs(logits: Tensor, boxes: Tensor, labels: Tensor, targets: Tensor) -> Tensor:
    """Costs of query q standing for object m: `(Q, M)`; see `sim_ota` for the arguments."""
    inside_box, inside_square = near(boxes[:, None, :2], targets)
    cost = score_cost(logits)[:, labels] - GIOU * generalized_box_iou(to_corners(boxes), to_corners(targets))
    cost = cost + MISPLACED * ~(inside_box & inside_square)
    hopeful = (inside_box | inside_square).any(1)
    return cost + HOPELESS * ~hopeful[:, None]


def near(points: Tensor, targets: Tensor) -> tuple[Tensor, Tensor]:
    """Membership of points `(Q, 1, 2)` in the boxes `(M, 4)` and in the squares at their centres: `(Q, M)` bool."""
    low, high = to_corners(targets).split(2, -1)
    centres = targets[:, :2]
    inside_box = (points > low) & (points < high)
    inside_square = (points > centres - RADIUS) & (points < centres + RADIUS)
    return inside_box.all(-1), inside_square.all(-1)


def dynamic_claims(cost: Tensor, ious: Tensor) -> Tensor:
    """Claims of objects on queries: `(Q, M)` costs and IoUs to `(Q, M)` bool.

    An object takes as many of its cheapest queries as its ten largest IoUs add up to, at least one. A query that
    several objects claim goes to the cheapest.

    An object that is left with nothing then takes its cheapest query, those that have an object last. Conflicts are
    settled again, but only on queries that were contested before: released weights were trained so. Two objects may
    thus share a query in the end.
    """
    sums = ious.topk(min(CANDIDATES, len(ious)), dim=0).values.sum(0).int().clamp(min=1)
    claims = torch.zeros_like(cost, dtype=torch.bool)
    for m, count in enumerate(sums.tolist()):
        claims[cost[:, m].topk(min(count, len(cost)), largest=False).indices, m] = True
    contested = claims.sum(1) > 1
    _settle(claims, cost, contested)
    while not claims.any(0).all():
        before, cost = claims.clone(), cost + TAKEN * claims.any(1)[:, None]
        for m in (~claims.any(0)).nonzero()[:, 0].tolist():
            claims[cost[:, m].argmin(), m] = True
        if (claims.sum(1) > 1).any():
            _settle(claims, cost, contested)
        if claims.any(1).all() and torch.equal(claims, before):  # more objects than queries: some stay without
            break
    return claims


def _settle(claims: Tensor, cost: Tensor, contested: Tensor) -> None:
    """Leaves each contested query to its cheapest object, whoever claims it, in place."""
    winners = cost[contested].argmin(1)
    claims[contested] = torch.nn.functional.one_hot(winners, cost.shape[1]).bool()

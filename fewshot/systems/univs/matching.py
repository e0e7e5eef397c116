"""Which learnable query stands for which object of a clip (Li et al., 2024, section 3.5, after Mask2Former).

Legend: Q queries, N objects, T frames, K points, C classes of the data set, (h, w) mask resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.losses.matching import assign
from fewshot.losses.segmentation import dice_overlap
from fewshot.systems.univs.points import at_points
from fewshot.systems.univs.targets import Targets

CLASS_COST, MASK_COST, DICE_COST = 3.0, 5.0, 5.0
SHARPNESS = 5.0  # of the softmax over the sigmoids of the classes

Matches = tuple[Tensor, Tensor]  # queries and their objects, each `(n,)` int64, by query


@torch.no_grad()
def match(masks: Tensor, logits: Tensor | None, targets: Targets, points: Tensor) -> Matches:
    """The cheapest assignment of a clip, one for all of its frames.

    Args:
        masks: logits `(Q, T, h, w)`.
        logits: of the classes `(Q, C)`; None: classes play no part.
        points: `(K, 2)` x, y in 0..1, the same for all masks and frames.
    """
    cost = MASK_COST * mask_costs(*(values_at(x, points) for x in (masks, targets.masks)))
    cost = cost - DICE_COST * dice_overlap(*(values_at(x, points) for x in (masks, targets.masks)))
    if logits is not None:
        likely = (SHARPNESS * logits.sigmoid()).softmax(-1)
        cost = cost - CLASS_COST * likely[:, targets.labels]
    queries, objects = (torch.tensor(x, dtype=torch.int64, device=masks.device) for x in assign(cost))
    by_query = queries.argsort()
    return queries[by_query], objects[by_query]


def values_at(masks: Tensor, points: Tensor) -> Tensor:
    """Values of masks `(n, T, h, w)` at points `(K, 2)` of all frames: `(n, T * K)` float32."""
    n, t = masks.shape[:2]
    flat = masks.flatten(0, 1).float()
    return at_points(flat, points.to(flat).expand(n * t, -1, -1)).unflatten(0, (n, t)).flatten(1)


def mask_costs(logits: Tensor, truth: Tensor) -> Tensor:
    """Mean cross entropy of every mask `(Q, P)` with every truth `(N, P)`: `(Q, N)`."""
    return (F.softplus(-logits) @ truth.T + F.softplus(logits) @ (1 - truth).T) / logits.shape[1]

"""Which learnable query stands for which object of a clip (Li et al., 2024, section 3.5, after Mask2Former).

Legend: Q queries, N objects, T frames, K points, C classes of the data set, (h, w) mask resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.losses.matching import assign
from fewshot.losses.segmentation import dice_overlap
from fewshot.nn.portions import rows_at_once
from fewshot.systems.univs.points import at_points
from fewshot.systems.univs.targets import UNKNOWN, Targets

CLASS_COST, MASK_COST, DICE_COST = 3.0, 5.0, 5.0
SHARPNESS = 5.0  # of the softmax over the sigmoids of the classes
CACHED = 1 << 20  # values at points that a CPU compares at once: less would look for the corners of points too often

Matches = tuple[Tensor, Tensor]  # queries and their objects, each `(n,)` int64, by query


@torch.no_grad()
def match(masks: Tensor, logits: Tensor | None, targets: Targets, points: Tensor) -> Matches:
    """The cheapest assignment of a clip, one for all of its frames.

    Args:
        masks: logits `(Q, T, h, w)`.
        logits: of the classes `(Q, C)`; None: classes play no part.
        points: `(K, 2)` x, y in 0..1, the same for all masks and frames.
    """
    truth = values_at(targets.masks, points)
    at_once = rows_at_once(truth.shape[1], masks.device, CACHED)
    cost = torch.cat([mask_costs(values_at(portion, points), truth) for portion in masks.split(at_once)])
    if logits is not None:
        likely = (SHARPNESS * logits.sigmoid()).softmax(-1)
        known = targets.labels != UNKNOWN
        cost = cost - CLASS_COST * likely[:, targets.labels.clamp(min=0)] * known
    queries, objects = (torch.tensor(x, dtype=torch.int64, device=masks.device) for x in assign(cost))
    by_query = queries.argsort()
    return queries[by_query], objects[by_query]


def values_at(masks: Tensor, points: Tensor) -> Tensor:
    """Values of masks `(n, T, h, w)` at points `(K, 2)` of all frames: `(n, T * K)` float32."""
    frames = masks.transpose(0, 1).float()
    return at_points(frames, points.to(frames).expand(len(frames), -1, -1)).transpose(0, 1).flatten(1)


def mask_costs(logits: Tensor, truth: Tensor) -> Tensor:
    """Weighed mean cross entropy, less the overlap, of every mask `(Q, P)` with every truth `(N, P)`: `(Q, N)`."""
    entropy = (F.softplus(logits).sum(1, keepdim=True) - logits @ truth.T) / logits.shape[1]
    return MASK_COST * entropy - DICE_COST * dice_overlap(logits, truth)

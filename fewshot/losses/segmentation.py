"""Focal and dice terms on flattened masks, for losses (per pair) and for matching (all pairs).

Focal loss: Lin et al., ICCV 2017; dice: Milletari et al., 3DV 2016. Legend: Q predictions, M targets, P pixels.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

ALPHA, GAMMA = 0.25, 2.0


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Element-wise sigmoid focal loss, targets 0 or 1: `(...) -> (...)`."""
    return sigmoid_focal_loss(logits, targets, alpha=ALPHA, gamma=GAMMA)


def dice_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """`1 - (2 sum(p t) + 1) / (sum p + sum t + 1)` over the last axis: `(..., P) -> (...)`."""
    p = logits.sigmoid()
    return 1 - (2 * (p * targets).sum(-1) + 1) / (p.sum(-1) + targets.sum(-1) + 1)


def two_way_logits(logits: Tensor) -> Tensor:
    """Logits of background and foreground for a softmax, from probabilities cut at 1e-7: `(P, x) -> (P, 2, x)`.

    As if one object were aggregated with the background (Cheng et al., STCN, NeurIPS 2021, after STM).
    """
    p = logits.sigmoid()
    return torch.stack([1 - p, p], 1).clamp(1e-7, 1 - 1e-7).logit()


def hard_pixel_loss(two_way: Tensor, targets: Tensor, fraction: float = 0.4) -> Tensor:
    """Cross entropy of the hardest `fraction` of each mask's pixels: `(P, 2, x), (P, x) 0 or 1 -> (P,)`."""
    loss = F.cross_entropy(two_way, targets.long(), reduction="none")
    return loss.topk(max(1, int(fraction * loss.shape[-1])), dim=-1, sorted=False).values.mean(-1)


def soft_iou_loss(two_way: Tensor, targets: Tensor) -> Tensor:
    """One minus the soft IoU, `sum min(p, t) / sum max(p, t)`: `(P, 2, x), (P, x) 0 or 1 -> (P,)`."""
    p = two_way.softmax(1)[:, 1]
    inter, union = torch.minimum(p, targets).sum(-1), torch.maximum(p, targets).sum(-1)
    return 1 - (inter + 1e-7) / (union + 1e-7)


def focal_cost(logits: Tensor, targets: Tensor) -> Tensor:
    """Mean focal loss of every prediction with every target: `(..., Q, P), (..., M, P) -> (..., Q, M)`."""
    p = logits.sigmoid()
    positive = ALPHA * (1 - p) ** GAMMA * F.softplus(-logits)
    negative = (1 - ALPHA) * p**GAMMA * F.softplus(logits)
    targets = targets.transpose(-1, -2)
    return (positive @ targets + negative @ (1 - targets)) / logits.shape[-1]


def dice_overlap(logits: Tensor, targets: Tensor) -> Tensor:
    """Soft dice of every prediction with every target: `(..., Q, P), (..., M, P) -> (..., Q, M)`, 1 if equal."""
    p = logits.sigmoid()
    sums = p.sum(-1)[..., :, None] + targets.sum(-1)[..., None, :]
    return (2 * (p @ targets.transpose(-1, -2)) + 1) / (sums + 1)


def score_cost(scores: Tensor) -> Tensor:
    """Focal cost of calling a candidate the referred one, less that of not doing so: `(...) -> (...)`."""
    p = scores.sigmoid()
    positive = -ALPHA * (1 - p) ** GAMMA * (p + 1e-8).log()
    negative = -(1 - ALPHA) * p**GAMMA * (1 - p + 1e-8).log()
    return positive - negative

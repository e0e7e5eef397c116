"""How UniVS tells that two things are one: by embeddings over time, by boxes and by masks.

Legend: N stored targets, M candidates, S stored slots, T frames of a clip, C width, (H, W) a mask.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

RECENCY = 5.0  # how much more the last slots count


def recency(slots: int) -> Tensor:
    """Weights of stored slots, the last one the largest, with sum 1: `(S,)`."""
    return (RECENCY * (torch.arange(slots) + 1) / slots).softmax(0)


def likeness(stored: Tensor, new: Tensor) -> Tensor:
    """Mean cosine of stored embeddings `(N, S, C)` with new ones `(M, T, C)`, recent slots first: `(N, M)`.

    Slots without an embedding (all zeros) do not count.
    """
    there = (stored != 0).any(-1)
    weights = recency(stored.shape[1]).to(stored) * there
    weights = weights / weights.sum(1, keepdim=True).clamp(min=1e-6)
    cosines = torch.einsum("nsc,mtc->nsm", F.normalize(stored, dim=-1), F.normalize(new, dim=-1)) / new.shape[1]
    return torch.einsum("ns,nsm->nm", weights, cosines)


def consistency(stored: Tensor, new: Tensor) -> Tensor:
    """Likeness of each target `(N, S, C)` to its own next embeddings `(N, T, C)`: `(N,)`."""
    return likeness(stored, new).diagonal()


def both_ways(stored: Tensor, new: Tensor) -> Tensor:
    """Bi-softmax (Pang et al., CVPR 2021, equation 6) of stored `(N, S, C)` and new `(M, T, C)` embeddings: `(N, M)`.

    Its size depends on the numbers of targets and of candidates; released thresholds were set so.
    """
    products = torch.einsum("nsc,mtc->nms", stored, new) / (new.shape[1] * new.shape[2] ** 0.5)
    return (products.softmax(0) + products.softmax(1)).mean(2) / 2


def both_ways_by_frame(stored: Tensor, new: Tensor) -> Tensor:
    """`both_ways` of every pair of a slot and a frame, without a scale, and then the mean: `(N, M)`.

    Released models know entities again among candidates by this one.
    """
    products = torch.einsum("nsc,mtc->nmst", stored, new).flatten(2)
    return (products.softmax(0) + products.softmax(1)).mean(2) / 2


def quality(masks: Tensor) -> Tensor:
    """How sure masks are of themselves, 0..1: cells well inside, of those that may be; logits `(N, ...) -> (N,)`."""
    inside, maybe = ((masks > limit).flatten(1).sum(1) for limit in (1, -1))
    return inside / maybe.clamp(min=1)


def box_overlaps(boxes: Tensor, others: Tensor) -> Tensor:
    """IoU of boxes `(N, T, 4)` and `(M, T, 4)`, x0, y0, x1, y1, in every frame: `(N, M, T)`."""
    a, b = boxes[:, None], others[None]
    shared = (torch.minimum(a[..., 2:], b[..., 2:]) - torch.maximum(a[..., :2], b[..., :2])).clamp(min=0).prod(-1)
    areas = [(x[..., 2:] - x[..., :2]).prod(-1) for x in (a, b)]
    return shared / (areas[0] + areas[1] - shared + 1e-6)


def mask_overlaps(masks: Tensor, others: Tensor) -> Tensor:
    """IoU of masks `(N, T, H, W)` and `(M, T, H, W)` bool in every frame: `(N, M, T)`."""
    a, b = (x.flatten(2).float() for x in (masks, others))
    shared = torch.einsum("ntp,mtp->nmt", a, b)
    return shared / (a.sum(2)[:, None] + b.sum(2)[None] - shared).clamp(min=1)


def not_beaten(scores: Tensor, overlaps: Tensor, limit: float) -> Tensor:
    """Candidates that overlap no higher-scored one by more than `limit`, be that one dropped itself: `(M,)` bool.

    Not the usual greedy suppression, as released.

    Args:
        scores: `(M,)`; overlaps: `(M, M)`.
    """
    higher = scores[None] > scores[:, None]
    return ~((overlaps > limit) & higher).any(1)


def full_size(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks `(N, T, h, w)` at the padded size of the frames, bilinearly."""
    if not len(masks):
        return masks.new_zeros(*masks.shape[:2], *size)
    return F.interpolate(masks, size, mode="bilinear", align_corners=False)

"""Output of UniRef for query frames: the best candidate's mask, and all that its losses and its masks need.

Legend: n frames (N clips of T), D decoder layers, Q queries, K classes, C width, s tokens, (h, w) at stride 4.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torchvision.ops import batched_nms, box_convert

from fewshot.nn.outputs import Prediction

OVERLAP = 0.7  # of boxes of one class, above which only the better one is kept


@dataclass(frozen=True, kw_only=True)
class Detection(Prediction):
    """A prediction with one candidate per frame, the best query, which may be another one in every frame.

    Masks of other queries are computed when they are asked for (`UniRef.masks_of`): three hundred would be too many.

    Attributes:
        class_logits: `(D, n, Q, K)`.
        all_boxes: `(D, n, Q, 4)` cx, cy, w, h as fractions of the unpadded frame.
        anchor_boxes: `(D, n, Q, 4)` boxes that entered each decoder layer, same units.
        states: `(D, n, Q, C)` queries after each decoder layer.
        mask_features: `(n, channels, h, w)`.
        frame_sizes: `(n, 2)` unpadded height and width of each frame, in pixels.
        memory: encoded levels at strides 8, 16, 32 and 64, each `(n, C, h_l, w_l)`.
        proposal_logits: `(n, s, K)`; proposal_boxes: `(n, s, 4)`, units as above; of every token of the memory.
        chosen: `(n, Q)` tokens that became queries, best first.
        winner: `(n,)` query of the highest score in the last layer.
    """

    tracked: bool = False
    class_logits: Tensor
    all_boxes: Tensor
    anchor_boxes: Tensor
    states: Tensor
    mask_features: Tensor
    frame_sizes: Tensor
    memory: tuple[Tensor, ...]
    proposal_logits: Tensor
    proposal_boxes: Tensor
    chosen: Tensor
    winner: Tensor


def best_queries(class_logits: Tensor) -> Tensor:
    """The query with the highest logit of any class: `(n, Q, K) -> (n,)`, ties to the lowest.

    Suppression of overlapping boxes never removes it, so that none is needed for the best one.
    """
    return class_logits.max(-1).values.argmax(-1)


def detect(logits: Tensor, boxes: Tensor, keep: int = 100, overlap: float = OVERLAP) -> tuple[Tensor, Tensor, Tensor]:
    """The `keep` best (query, class) pairs of a frame after non-maximum suppression within classes.

    Args:
        logits: `(Q, K)`; boxes: `(Q, 4)` cx, cy, w, h.

    Returns:
        Queries, classes and probabilities, each `(found,)`, best first; fewer than `keep` where fewer remain.
    """
    probabilities = logits.float().sigmoid()
    best, labels = probabilities.max(-1)
    left = batched_nms(box_convert(boxes.float(), "cxcywh", "xyxy"), best, labels, overlap)
    scores, pairs = probabilities[left].flatten().topk(min(keep, left.numel() * logits.shape[-1]))
    classes = logits.shape[-1]
    return left[torch.div(pairs, classes, rounding_mode="floor")], pairs % classes, scores

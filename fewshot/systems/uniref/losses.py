"""The losses of UniRef++ (Wu et al., UniRef++: Segment Every Reference Object in Spatial and Temporal Spaces, 2023).

Every decoder layer is matched by SimOTA and has score, box and mask losses; the encoder's proposals are matched one to
one and have score and box losses. Each sum is divided by the number of matched pairs of its own layer.

Legend: n images (all frames of all clips), D decoder layers, Q queries, S proposals, K classes, P matched pairs,
(h, w) mask resolution.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import generalized_box_iou_loss

from fewshot.losses.boxes import generalised_iou, to_corners
from fewshot.losses.matching import assign
from fewshot.losses.segmentation import (
    dice_loss,
    focal_loss,
    hard_pixel_loss,
    score_cost,
    soft_iou_loss,
    two_way_logits,
)
from fewshot.losses.sim_ota import sim_ota
from fewshot.nn.outputs import Losses
from fewshot.systems.uniref.detection import best_queries
from fewshot.systems.uniref.targets import ImageTargets, at_stride
from fewshot.systems.uniref.weak_masks import WeakMasks

WEIGHTS = {
    "loss_ce": 2.0,
    "loss_bbox": 5.0,
    "loss_giou": 2.0,
    "loss_mask": 2.0,
    "loss_dice": 5.0,
    "loss_mask_cls": 1.0,
    "loss_mask_iou": 1.0,
    "loss_prj": 1.0,
    "loss_pairwise": 1.0,
}
BOX_TERMS = ("loss_bbox", "loss_giou")
PROPOSAL_COSTS = {"score": 2.0, "box": 5.0, "giou": 2.0}

TERM = re.compile(r"_(\d+|enc)$")  # the layer at the end of a name

Pairs = tuple[Tensor, Tensor, Tensor]  # image, query and object of each matched pair, three int64 tensors `(P,)`
MasksOf = Callable[[int, Tensor, Tensor], Tensor]  # layer, images `(P,)`, queries `(P,)` -> mask logits `(P, h, w)`


def weights_of(boxes: float) -> dict[str, float]:
    """The weights of the released training, those of the box losses times `boxes`."""
    return {name: weight * boxes if name in BOX_TERMS else weight for name, weight in WEIGHTS.items()}


@dataclass(frozen=True)
class UniRefCriterion:
    """Weighted losses of all decoder layers and of the proposals.

    Attributes:
        mask_aux: add the two auxiliary mask losses of the video stage.
        empty_masks: where an image shows nothing that is meant, the best query of each layer learns an empty mask; not
            in the released models, whose training always shows something.
        weights: of the terms in the total.
    """

    mask_aux: bool = False
    empty_masks: bool = False
    weights: dict[str, float] = field(default_factory=lambda: dict(WEIGHTS))

    def __call__(
        self,
        layers: Sequence[tuple[Tensor, Tensor]],
        proposals: tuple[Tensor, Tensor],
        targets: Sequence[ImageTargets],
        masks_of: MasksOf,
        stride: int,
        weak: WeakMasks | None = None,
    ) -> Losses:
        """Losses of one batch. Terms of earlier layers end in `_0`, `_1`, ..., those of the proposals in `_enc`.

        Args:
            layers: class logits `(n, Q, K)` and boxes `(n, Q, 4)` of every decoder layer, first layer first.
            proposals: class logits `(n, S, K)` and boxes `(n, S, 4)` of every token of the encoder.
            targets: the objects of each image.
            masks_of: mask logits of matched pairs; only these are computed.
            stride: network pixels per cell of these masks.
            weak: what replaces the mask losses where only boxes are known; None: masks are known.
        """
        last = len(layers) - 1
        terms: dict[str, Tensor] = {}
        for call, index in enumerate((last, *range(last)), start=1):  # the order counts for the warm-up of `weak`
            scores, boxes = layers[index]
            pairs = match_layer(scores, boxes, targets)
            found = score_and_box_terms(scores, boxes, targets, pairs)
            images, queries, truth = self._masks_to_learn(scores, targets, pairs)
            truth = at_stride(truth, stride)
            logits = masks_of(index, images, queries) if len(truth) else truth
            if weak is None:
                found.update(mask_terms(logits, truth, self.mask_aux))
            else:
                found.update(weak.terms(logits, truth, images, call))
            ending = "" if index == last else f"_{index}"
            terms.update({name + ending: value for name, value in found.items()})
        objects = [ImageTargets(torch.zeros_like(t.labels), t.boxes, t.masks) for t in targets]
        found = score_and_box_terms(*proposals, objects, match_proposals(*proposals, objects))
        terms.update({f"{name}_enc": value for name, value in found.items()})
        return Losses(total=self.total(terms), terms=terms)

    def _masks_to_learn(self, scores: Tensor, targets: Sequence[ImageTargets], pairs: Pairs) -> Pairs:
        """Image and query of each mask that is learnt, two tensors `(P,)`, and what it shall be, `(P, H, W)`."""
        truth = _of_pairs([t.masks for t in targets], pairs)
        empty = [n for n, t in enumerate(targets) if len(t) == 0] if self.empty_masks else []
        if not empty:
            return pairs[0], pairs[1], truth
        images = torch.tensor(empty, device=scores.device)
        queries = best_queries(scores.detach()[images])
        nothing = truth.new_zeros(len(empty), *truth.shape[1:])
        return torch.cat([pairs[0], images]), torch.cat([pairs[1], queries]), torch.cat([truth, nothing])

    def total(self, terms: dict[str, Tensor]) -> Tensor:
        """The weighted sum; a term of an earlier layer weighs as much as that of the last one."""
        return torch.stack([self.weights[TERM.sub("", name)] * value for name, value in terms.items()]).sum()


def match_layer(logits: Tensor, boxes: Tensor, targets: Sequence[ImageTargets]) -> Pairs:
    """Pairs of a decoder layer, `(n, Q, K)` and `(n, Q, 4)`, by SimOTA."""
    found = [sim_ota(x, b, t.labels, t.boxes) for x, b, t in zip(logits, boxes, targets, strict=True)]
    return _joined(found, logits.device)


@torch.no_grad()
def match_proposals(logits: Tensor, boxes: Tensor, targets: Sequence[ImageTargets]) -> Pairs:
    """Pairs of the proposals, `(n, S, K)` and `(n, S, 4)`: the cheapest one-to-one assignment."""
    counts = [len(t.labels) for t in targets]
    image = torch.arange(len(targets), device=logits.device).repeat_interleave(
        torch.tensor(counts, device=logits.device)
    )
    labels, wanted = torch.cat([t.labels for t in targets]), torch.cat([t.boxes for t in targets])[:, None]
    guesses = boxes.float()[image]  # of every object, the proposals of its image: (objects, S, 4)
    cost = PROPOSAL_COSTS["score"] * score_cost(logits.float())[image, :, labels]
    cost = cost + PROPOSAL_COSTS["box"] * (guesses - wanted).abs().sum(-1)
    cost = cost - PROPOSAL_COSTS["giou"] * generalised_iou(guesses, wanted, smooth=0.0)
    found = [torch.tensor(assign(each.T), device=logits.device, dtype=torch.long) for each in cost.cpu().split(counts)]
    return _joined([(queries, objects) for queries, objects in found], logits.device)


def _joined(found: Sequence[tuple[Tensor, Tensor]], device: torch.device) -> Pairs:
    """Pairs of each image, one after the other."""
    images = [torch.full((len(queries),), n, dtype=torch.long) for n, (queries, _) in enumerate(found)]
    queries, objects = zip(*found, strict=True)
    return torch.cat(images).to(device), torch.cat(queries), torch.cat(objects)


def score_and_box_terms(
    logits: Tensor, boxes: Tensor, targets: Sequence[ImageTargets], pairs: Pairs
) -> dict[str, Tensor]:
    """Focal loss of all classes of all queries, L1 and GIoU loss of the matched boxes, each per matched pair.

    Args:
        logits: `(n, Q, K)`; boxes: `(n, Q, 4)`.
    """
    images, queries, _ = pairs
    count = max(len(images), 1)
    if len(images) == 0:  # nothing to find: every part keeps its place in the graph
        zero = logits.sum() * 0.0
        return {"loss_ce": zero, "loss_bbox": zero, "loss_giou": zero}
    wanted = torch.zeros_like(logits)
    wanted[images, queries, _of_pairs([t.labels for t in targets], pairs)] = 1.0
    box, truth = boxes[images, queries], _of_pairs([t.boxes for t in targets], pairs)
    return {
        "loss_ce": focal_loss(logits, wanted).sum() / count,
        "loss_bbox": F.l1_loss(box, truth, reduction="sum") / count,
        "loss_giou": generalized_box_iou_loss(to_corners(box), to_corners(truth), reduction="sum") / count,
    }


def mask_terms(logits: Tensor, truth: Tensor, auxiliary: bool) -> dict[str, Tensor]:
    """Focal and dice loss of masks of matched pairs, both `(P, h, w)`, and the two auxiliary ones where asked for."""
    names = ("loss_mask", "loss_dice", "loss_mask_cls", "loss_mask_iou")[: 4 if auxiliary else 2]
    if len(logits) == 0:
        return {name: logits.sum() * 0.0 for name in names}
    logits, truth = logits.flatten(1), truth.flatten(1)
    terms = [focal_loss(logits, truth).mean(1), dice_loss(logits, truth)]
    if auxiliary:
        two_way = two_way_logits(logits)
        terms += [hard_pixel_loss(two_way, truth), soft_iou_loss(two_way, truth)]
    return {name: term.sum() / len(logits) for name, term in zip(names, terms, strict=True)}


def _of_pairs(parts: Sequence[Tensor], pairs: Pairs) -> Tensor:
    """Values of the object of each pair, from `(M, ...)` per image to `(P, ...)`."""
    starts = torch.tensor([0, *(len(part) for part in parts[:-1])], device=pairs[0].device).cumsum(0)
    return torch.cat(list(parts))[starts[pairs[0]] + pairs[2]]

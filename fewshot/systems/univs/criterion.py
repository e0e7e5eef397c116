"""Losses of UniVS: of the learnable queries, which are matched, and of the prompt queries, whose targets are known.

Li et al., UniVS, CVPR 2024, section 3.5.

Legend: B clips, T frames, Q learnable queries, P prompts, n matched queries, K classes of the data set, (h, w) mask
resolution.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import sigmoid_focal_loss

from fewshot.losses.segmentation import dice_loss
from fewshot.nn.outputs import Losses
from fewshot.systems.univs.decoder import Found
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.likeness import Entries, contrast
from fewshot.systems.univs.matching import Matches, match
from fewshot.systems.univs.points import PointSampling, at_points
from fewshot.systems.univs.targets import UNKNOWN, Asked, Targets

CLASS_WEIGHT, MASK_WEIGHT, DICE_WEIGHT = 5.0, 5.0, 5.0
ALPHA, GAMMA = 0.5, 2.0  # of the focal loss
Terms = dict[str, Tensor]


@dataclass(frozen=True)
class HeadOutput:
    """Float32 outputs of the heads after one round, of the classes of one data set.

    Attributes:
        masks: `(B, Q + P, T, h, w)`.
        embeddings: `(B, Q + P, T, C)`.
        logits: `(B, Q + P, K)`; None where classes play no part.
    """

    masks: Tensor
    embeddings: Tensor
    logits: Tensor | None

    @classmethod
    def of(cls, found: Found, classes: bool) -> HeadOutput:
        """Those of an answer; whether the `classes` of its logits play a part."""
        logits = found.logits.float() if classes and found.logits is not None else None
        return cls(found.masks.float(), found.embeddings.float(), logits)

    def rows(self, rows: slice) -> HeadOutput:
        """Some of the queries."""
        return HeadOutput(
            self.masks[:, rows], self.embeddings[:, rows], None if self.logits is None else self.logits[:, rows]
        )


@dataclass(frozen=True)
class Criterion:
    """Losses of the heads, and their weights.

    Attributes:
        sampling: points at which masks are compared.
        likeness: weight of each loss of re-identification.
        count_absent: losses of prompts are divided by the number of all prompts, those for nothing that is there among
            them, as released; else by that of the others.
    """

    sampling: PointSampling = PointSampling()
    likeness: float = 0.5
    count_absent: bool = False

    def of_head(
        self, head: HeadOutput, learnable: int, targets: Sequence[Targets], asked: Sequence[Asked] | None, draws: Draws
    ) -> tuple[Terms, list[Matches]]:
        """The unweighted terms of one head, and its matching. What both kinds of queries have is their mean."""
        own = head.rows(slice(learnable))
        points = draws.points(1, self.sampling.count)[0]
        logits = [None] * len(targets) if own.logits is None else list(own.logits)
        matches = [match(*x, points) for x in zip(own.masks, logits, targets, strict=True)]
        terms = learnable_terms(own, targets, matches, self.sampling, draws)
        if asked is not None and any((a.ids != UNKNOWN).any() for a in asked):
            shown = head.rows(slice(learnable, None))
            others = prompt_terms(shown, asked, self.sampling, draws, self.count_absent)
            both = terms.keys() & others.keys()
            terms = {**terms, **others, **{name: (terms[name] + others[name]) / 2 for name in both}}
            terms.update(cross_terms(own, shown, targets, matches, asked, draws))
        return terms, matches

    def weighted(self, terms: Terms) -> Losses:
        """The total of terms by their names."""
        total = torch.stack([self.weight(name) * value for name, value in terms.items()]).sum()
        return Losses(total, terms)

    def weight(self, name: str) -> float:
        """Weight of a term."""
        fixed = {"loss_ce": CLASS_WEIGHT, "loss_mask": MASK_WEIGHT, "loss_dice": DICE_WEIGHT}
        head, _, number = name.rpartition("_")
        return fixed.get(head if number.isdigit() else name, self.likeness)


def learnable_terms(
    head: HeadOutput, targets: Sequence[Targets], matches: Sequence[Matches], sampling: PointSampling, draws: Draws
) -> Terms:
    """Terms of the learnable queries."""
    terms: Terms = {}
    if head.logits is not None:
        parts = [
            class_loss(logits, queries, target.labels[objects])
            for logits, target, (queries, objects) in zip(head.logits, targets, matches, strict=True)
        ]
        count = sum(len(queries) for queries, _ in matches)
        terms["loss_ce"] = torch.stack(parts).sum() / max(count, 1)
    masks = torch.cat([x[queries] for x, (queries, _) in zip(head.masks, matches, strict=True)])
    truth = torch.cat([target.masks[objects] for target, (_, objects) in zip(targets, matches, strict=True)])
    count = max(sum(map(len, targets)), 1)
    terms.update(mask_terms(masks, truth, count * masks.shape[1], sampling, draws))
    entries = matched_entries(head, [t.ids for t in targets], matches)
    return {**terms, **likeness_terms(contrast(entries, entries, draws), "loss_reid", masks)}


def prompt_terms(
    head: HeadOutput, asked: Sequence[Asked], sampling: PointSampling, draws: Draws, count_absent: bool
) -> Terms:
    """Terms of the prompt queries. Those that ask for nothing that is there count in the normalisers alone, or not."""
    terms: Terms = {}
    there = [(a.ids != UNKNOWN).nonzero()[:, 0] for a in asked]
    count = max(sum(map(len, asked if count_absent else there)), 1)
    if head.logits is not None:
        parts = [
            class_loss(logits[rows], torch.arange(len(rows), device=rows.device), a.labels[rows])
            for logits, a, rows in zip(head.logits, asked, there, strict=True)
        ]
        terms["loss_ce"] = torch.stack(parts).sum() / count
    masks = torch.cat([x[rows] for x, rows in zip(head.masks, there, strict=True)])
    truth = torch.cat([a.masks[rows] for a, rows in zip(asked, there, strict=True)])
    terms.update(mask_terms(masks, truth, count * masks.shape[1], sampling, draws))
    segments = [a.segments for a in asked if a.segments is not None]
    if segments:
        terms["loss_mask"] = terms["loss_mask"] + segment_loss(head.masks, torch.stack(segments), sampling, draws)
    entries = prompt_entries(head, [a.ids[:, None].expand(-1, masks.shape[1]) for a in asked], there)
    return {**terms, **likeness_terms(contrast(entries, entries, draws), "loss_reid", masks)}


def cross_terms(
    own: HeadOutput,
    shown: HeadOutput,
    targets: Sequence[Targets],
    matches: Sequence[Matches],
    asked: Sequence[Asked],
    draws: Draws,
) -> Terms:
    """Likeness of learnable queries and prompts of the same thing or, where prompts name classes, of the same class."""
    by_class = asked[0].segments is not None
    frames = own.masks.shape[2]
    there = [(a.ids != UNKNOWN).nonzero()[:, 0] for a in asked]
    rows = matched_entries(own, [t.ids for t in targets], matches)
    if by_class:
        rows = matched_entries(own, [class_where_seen(t) for t in targets], matches)
        columns = prompt_entries(shown, [a.labels[:, None].expand(-1, frames) for a in asked], there)
    else:
        columns = prompt_entries(shown, [a.numbers for a in asked], there)
    terms = likeness_terms(contrast(rows, columns, draws), "loss_reid_l2p", own.masks)
    return {"loss_reid_l2p": terms["loss_reid_l2p"]} if by_class else terms


def class_where_seen(targets: Targets) -> Tensor:
    """Class of each object in the frames that show it, `UNKNOWN` elsewhere: `(N, T)`."""
    return torch.where(targets.ids == UNKNOWN, UNKNOWN, targets.labels[:, None])


def class_loss(logits: Tensor, rows: Tensor, labels: Tensor) -> Tensor:
    """Focal loss of all queries `(Q, K)`, summed, and cross entropy of those of objects, summed.

    Args:
        rows: `(n,)` queries of objects; labels: `(n,)` their classes, `UNKNOWN` where they have none.
    """
    rows, labels = rows[labels != UNKNOWN], labels[labels != UNKNOWN]
    wanted = torch.zeros_like(logits)
    wanted[rows, labels] = 1
    focal = sigmoid_focal_loss(logits, wanted, alpha=ALPHA, gamma=GAMMA, reduction="sum")
    return focal + F.cross_entropy(logits[rows], labels, reduction="sum")


def mask_terms(masks: Tensor, truth: Tensor, count: int, sampling: PointSampling, draws: Draws) -> Terms:
    """Cross entropy and dice at points of masks `(n, T, h, w)` and `(n, T, H, W)` bool, divided by `count`."""
    logits, wanted = masks.flatten(0, 1), truth.flatten(0, 1).float()
    with torch.no_grad():
        points = sampling.uncertain(logits, draws)
        wanted = at_points(wanted, points)
    logits = at_points(logits, points)
    entropy = F.binary_cross_entropy_with_logits(logits, wanted, reduction="none").mean(1).sum()
    return {"loss_mask": entropy / count, "loss_dice": dice_loss(logits, wanted).sum() / count}


def segment_loss(masks: Tensor, segments: Tensor, sampling: PointSampling, draws: Draws) -> Tensor:
    """Cross entropy over the prompts `(B, P, T, h, w)` at points of each frame that a prompt asks for.

    Args:
        segments: `(B, T, H, W)` number of the prompt that asks for a pixel, or `UNKNOWN`.
    """
    frames = masks.transpose(1, 2).flatten(0, 1)  # (B T, P, h, w)
    with torch.no_grad():
        points = sampling.uncertain(frames.amax(1), draws)
        labels = at_points(segments.flatten(0, 1).float(), points, "nearest").long()
    values = at_points(frames, points)
    inside = (labels != UNKNOWN).sum().clamp(min=1)
    return F.cross_entropy(values, labels, ignore_index=UNKNOWN, reduction="sum") / inside


def likeness_terms(pair: tuple[Tensor, Tensor] | None, name: str, like: Tensor) -> Terms:
    """The two terms of `contrast` by name; zeros where there was nothing to compare."""
    first, second = (like.new_zeros(()),) * 2 if pair is None else pair
    return {name: first, f"{name}_aux": second}


def matched_entries(head: HeadOutput, ids: Sequence[Tensor], matches: Sequence[Matches]) -> Entries:
    """Embeddings of matched queries in the frames that show their objects, by the objects' `ids` `(N, T)`."""
    rows = [queries for queries, _ in matches]
    return entries_of(head, [x[objects] for x, (_, objects) in zip(ids, matches, strict=True)], rows)


def prompt_entries(head: HeadOutput, ids: Sequence[Tensor], rows: Sequence[Tensor]) -> Entries:
    """Embeddings of some prompts in the frames in which they have an id, by `ids` `(P, T)`."""
    return entries_of(head, [x[own] for x, own in zip(ids, rows, strict=True)], rows)


def entries_of(head: HeadOutput, ids: Sequence[Tensor], rows: Sequence[Tensor]) -> Entries:
    """Embeddings of the queries `rows` of each clip in the frames in which their `ids` `(n, T)` are known."""
    parts = []
    for clip, (own, kept) in enumerate(zip(ids, rows, strict=True)):
        known = own != UNKNOWN
        numbers = own[known]
        parts.append(Entries(head.embeddings[clip, kept][known], numbers, torch.full_like(numbers, clip)))
    return Entries.joined(parts)

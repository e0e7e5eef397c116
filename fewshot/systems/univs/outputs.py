"""What is written of a video: instances with scores, panoptic segments, or one class for each pixel.

Legend: N entities, F frames, K classes, Q queries, (h, w) a map at stride 4, (H, W) the padded frame.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.systems.univs.answers import Candidates
from fewshot.systems.univs.entities import EntityState
from fewshot.systems.univs.tracking import full_size, quality

Size = tuple[int, int]
LEAST_SCORE, LIKELY_SCORE = 0.005, 0.05  # of an instance that is written, and that counts for how many are
MORE_THAN_LIKELY, LEAST_RESULTS = 1.5, 35
STUFF_SCORE = 0.75  # factor on the score of stuff, so that things win


def on_frames(logits: Tensor, unpadded: Size, size: Size) -> Tensor:
    """Logits `(N, F, H, W)` of padded frames on frames of the size of the files, bilinearly: `(N, F, *size)`."""
    return full_size(logits[..., : unpadded[0], : unpadded[1]], size)


@dataclass(frozen=True)
class Instance:
    """One row of the results of VIS: a class for an entity, with its masks `(F, height, width)` bool."""

    entity: int
    label: int
    score: float
    masks: Tensor


def instances(state: EntityState, size: Size) -> list[Instance]:
    """Every likely class of every entity, entity by entity: `label` counts from 0 in the data set.

    The score is the mean of the history times the quality, divided by a whole number above the best one, as released.
    """
    if not len(state):
        return []
    means = state.logits / state.occurrence.clamp(min=1)[..., None, None]
    masks = on_frames(means, state.unpadded, size) > 0
    best = int(state.quality.max()) + 1
    scores = state.scores.mean(1) * (state.quality / best)[:, None]
    likely = int(MORE_THAN_LIKELY * int((scores > LIKELY_SCORE).sum()))
    ranked = scores.flatten().sort(descending=True).values
    least = float(ranked[min(max(likely, LEAST_RESULTS), len(ranked) - 1)])
    rows = (scores >= max(LEAST_SCORE, least)).nonzero().tolist()
    return [Instance(n, label, float(scores[n, label]), masks[n]) for n, label in rows]


@dataclass(frozen=True)
class Segment:
    """One segment of a panoptic video: number from 1, label from 0 in the data set, and the entity it began as."""

    number: int
    label: int
    thing: bool
    entity: int


def panoptic(
    state: EntityState, size: Size, things: int, share: float = 0.6, known: tuple[Segment, ...] = ()
) -> tuple[Tensor, tuple[Segment, ...]]:
    """Numbers of the segments `(F, height, width)`, 0 for none, and the segments; those that are `known` keep theirs.

    Args:
        things: number of classes of things, which come first.
        share: of its own pixels that a thing must win; half of it for a thing that is known.
    """
    numbers = torch.zeros(state.logits.shape[1], *size, dtype=torch.long)
    if not len(state):
        return numbers, known
    segments = list(known)
    logits = on_frames(state.logits, state.unpadded, size)
    best, labels = state.scores.mean(1).max(1)
    old = {s.entity for s in known if s.thing}
    seen = torch.tensor([entity in old for entity in state.ids.tolist()])
    thing = labels < things
    scores = best * quality(logits) * torch.where(thing | seen, 1.0, STUFF_SCORE)
    winner = (scores[:, None, None, None] * logits).argmax(0)
    sure = logits.sigmoid() >= 0.5
    for n in range(len(state)):
        won = (winner == n) & sure[n]
        own, kept = int(sure[n].sum()), int(won.sum())
        is_thing = bool(thing[n] | seen[n])
        if kept == 0 or (is_thing and kept / own < (share / 2 if bool(seen[n]) else share)):
            continue
        entity, label = int(state.ids[n]), int(labels[n])
        same = (s for s in segments if (s.entity == entity if is_thing else s.label == label) and s.thing == is_thing)
        segment = next(same, None)
        if segment is None:
            segment = Segment(len(segments) + 1, label, is_thing, entity)
            segments.append(segment)
        numbers[won] = segment.number
    return numbers, tuple(segments)


def semantic(found: Candidates, unpadded: Size, padded: Size, size: Size) -> Tensor:
    """The class of each pixel of a clip `(T, height, width)`, counted from 0, from the answers of all queries."""
    assert found.logits is not None
    inside = full_size(found.masks, padded)[..., : unpadded[0], : unpadded[1]]
    masks = F.interpolate(inside, size, mode="nearest")
    weights = found.logits.sigmoid() * quality(masks)[:, None]
    return torch.einsum("qk,qthw->kthw", weights, masks.sigmoid()).argmax(0)

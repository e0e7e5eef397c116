"""Learnable queries as further answers about objects that are given: alone, or blended with those of the prompts.

Li et al., 2024, section 3.4. Released models are tested with the answers of the prompts alone.

Legend: N objects, Q learnable queries, S slots, T frames of a clip, C width, (h, w) a map at stride 4.
"""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from fewshot.systems.univs.answers import Candidates
from fewshot.systems.univs.tracking import both_ways, consistency

QUERIES = ("prompt", "learn", "prompt+learn")
LEAST = 0.1  # likeness both ways from which a learnable query stands for an object
SAME = 0.5  # overlap of two answers from which they are of one thing


def answers_of(learnable: Candidates, asked: Candidates, stored: Tensor, queries: str) -> Candidates:
    """What is read of an answer about objects that were seen before: one candidate each, without class logits.

    An object that no learnable query stands for keeps the answer of its prompt.

    Args:
        learnable: answers of the learnable queries; asked: those of the prompts, one for each object.
        stored: `(N, S, C)` embeddings of the objects.
        queries: `prompt`; `learn`: of the learnable query that stands for the object; `prompt+learn`: the mean of both,
            each weighted by its likeness to the past of the object, or of the prompt alone where their masks overlap
            less than by one half.
    """
    if queries == "prompt":
        return asked
    partner, known = partners(stored, learnable.embeddings)
    masks, embeddings = learnable.masks[partner], learnable.embeddings[partner]
    weight = known.to(masks.dtype)
    if queries == "prompt+learn":
        alike = [consistency(stored, x).clamp(min=0) for x in (asked.embeddings, embeddings)]
        same = overlap(asked.masks > 0, masks > 0) >= SAME
        weight = weight * same * alike[1] / (alike[0] + alike[1]).clamp(min=1e-6)
    return Candidates(
        torch.lerp(asked.masks, masks, weight[:, None, None, None]),
        torch.lerp(asked.embeddings, embeddings, weight[:, None, None]),
    )


def partners(stored: Tensor, found: Tensor) -> tuple[Tensor, Tensor]:
    """The learnable query that stands for each object, one for one, and whether there is one: `(N,)` int64 and bool.

    Args:
        stored: `(N, S, C)`; found: `(Q, T, C)`.
    """
    alike = both_ways(stored, found)
    alike = torch.where(alike < LEAST, 0.0, alike)
    rows, columns = (torch.from_numpy(x).to(alike.device) for x in linear_sum_assignment(-alike.cpu().numpy()))
    partner = torch.zeros(len(stored), dtype=torch.int64, device=alike.device)
    known = torch.zeros(len(stored), dtype=torch.bool, device=alike.device)
    partner[rows], known[rows] = columns, alike[rows, columns] > 0
    return partner, known


def overlap(masks: Tensor, others: Tensor) -> Tensor:
    """IoU of masks `(N, ...)` bool one by one, over all of their pixels: `(N,)`."""
    both, either = ((masks & others), (masks | others))
    return both.flatten(1).sum(1) / either.flatten(1).sum(1).clamp(min=1)

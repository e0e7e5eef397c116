"""UniVS: answers of learnable queries about given objects, alone or blended with those of the prompts."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from fewshot.systems.univs.answers import Answer, Candidates
from fewshot.systems.univs.objects import ObjectState, ObjectTracker
from fewshot.systems.univs.partners import answers_of, partners

SIZE, WIDTH = (8, 8), 16
DIRECTIONS = 6 * torch.eye(WIDTH)


def answers(directions: list[Tensor], *columns: int) -> Candidates:
    """Of one frame; the mask of each lies left of a column."""
    masks = torch.full((len(directions), 1, 8, 8), -2.0)
    for mask, column in zip(masks, columns, strict=True):
        mask[..., :column] = 4.0
    return Candidates(masks, torch.stack(directions)[:, None])


STORED = DIRECTIONS[:3, None]
# the opposite of the third object, the second, the first
LEARNABLE = answers(
    [-DIRECTIONS[2], DIRECTIONS[1], DIRECTIONS[0]], 1, 8, 4
)  # unlike the third object; the second, the first
ASKED = answers([DIRECTIONS[0] + DIRECTIONS[7], DIRECTIONS[1], DIRECTIONS[2]], 5, 3, 2)


def test_a_learnable_query_stands_for_one_object_and_an_object_may_have_none() -> None:
    partner, known = partners(STORED, LEARNABLE.embeddings)
    assert partner[:2].tolist() == [2, 1] and known.tolist() == [True, True, False]


def test_answers_of_prompts_of_learnable_queries_and_of_both() -> None:
    assert answers_of(LEARNABLE, ASKED, STORED, "prompt") is ASKED
    learnt = answers_of(LEARNABLE, ASKED, STORED, "learn")
    assert torch.equal(learnt.masks[:2], LEARNABLE.masks[[2, 1]]) and torch.equal(learnt.masks[2], ASKED.masks[2])
    both = answers_of(LEARNABLE, ASKED, STORED, "prompt+learn")
    share = 1 / (1 + 0.5**0.5)  # the prompt of the first object is at 45 degrees to its past
    torch.testing.assert_close(both.masks[0], (1 - share) * ASKED.masks[0] + share * LEARNABLE.masks[2])
    torch.testing.assert_close(both.embeddings[0], (1 - share) * ASKED.embeddings[0] + share * LEARNABLE.embeddings[2])
    assert torch.equal(both.masks[1:], ASKED.masks[1:])  # masks that hardly overlap, and no partner


@pytest.mark.parametrize(("queries", "columns"), [("prompt", 20), ("learn", 16)])
def test_an_object_that_was_given_is_followed_by_them(queries: str, columns: int) -> None:
    """In the frame after the one that gives it."""
    tracker = ObjectTracker(threshold=0.1, queries=queries)
    state = ObjectState.start((1,), (32, 32), (32, 32), WIDTH)
    given = torch.zeros(32, 32, dtype=torch.bool)
    given[:, :20] = True
    asked = answers([DIRECTIONS[0]], 5)
    for start in (0, 1):
        state = tracker.advance(state, start, 1, {0: {1: given}})
        state = tracker.take(state, Answer(LEARNABLE, asked), start)
    found = state.masks[0, -1].any(0).sum()
    assert abs(int(found) - columns) <= 2

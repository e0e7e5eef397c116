"""References: supports and expressions that fit together, and those that do not."""

from __future__ import annotations

import pytest
import torch

from episodes.batch import ClipBatch, EpisodeBatch, References


def clips(count: int, expressions: tuple[str | None, ...] | None = None) -> ClipBatch:
    return ClipBatch(
        frames=torch.zeros(count, 1, 3, 4, 4),
        padding=torch.zeros(count, 4, 4, dtype=torch.bool),
        sizes=torch.tensor([[4, 4]] * count),
        expressions=expressions or (None,) * count,
        masks=(torch.ones(1, 4, 4, dtype=torch.bool),) * count,
    )


@pytest.mark.parametrize(
    ("supports", "shots", "expressions", "each"),
    [
        (0, 0, (None,), 1),  # no reference at all, as in pretraining
        (0, 0, ("a dax", "a toma", None), 1),  # words alone
        (2, 1, (None, None), 1),
        (6, 3, ("a dax", "a toma"), 1),  # two episodes of three shots
        (4, 2, ("a", "b", "c", "d", "e", "f"), 3),  # two episodes with three queries each
    ],
)
def test_queries_share_the_supports_of_their_episode(
    supports: int, shots: int, expressions: tuple[str | None, ...], each: int
) -> None:
    references = References(clips(supports) if supports else None, shots, expressions)
    assert len(references) == len(expressions) and references.queries_per_episode == each


@pytest.mark.parametrize(
    ("supports", "shots", "expressions", "message"),
    [
        (0, 1, (None,), "0 support clips cannot be the supports of episodes with 1 shots"),
        (2, 0, (None,), "2 support clips cannot be the supports of episodes with 0 shots"),
        (3, 2, (None,), "3 support clips cannot be the supports of episodes with 2 shots"),
        (2, 1, ("a", "b", "c"), "3 queries cannot be shared by 2 episodes"),
        (1, 1, ("a", " "), "an expression is empty: give words, or None for no expression"),
        (0, 0, ("",), "an expression is empty"),
    ],
)
def test_references_that_do_not_fit_together_are_refused(
    supports: int, shots: int, expressions: tuple[str | None, ...], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        References(clips(supports) if supports else None, shots, expressions)


def test_a_batch_gives_its_supports_and_the_expressions_of_its_queries() -> None:
    supports, queries = clips(2, ("a support", None)), clips(4, ("a", "b", None, "d"))
    references = EpisodeBatch(supports, queries, 1, ()).references
    assert references.supports is supports and references.shots == 1
    assert references.expressions == ("a", "b", None, "d") and references.queries_per_episode == 2
    words = EpisodeBatch(None, queries, 0, ()).references
    assert words.supports is None and words.expressions == queries.expressions


def test_references_move_with_their_tensors() -> None:
    moved = References(clips(1), 1, ("a",)).to("meta")
    assert moved.supports is not None and moved.supports.frames.device.type == "meta" and moved.expressions == ("a",)
    words = References(expressions=("a",))
    assert words.to("meta") is words

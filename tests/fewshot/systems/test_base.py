"""The base of all systems: what a state holds, and how it is put together from supports and words."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import pytest

from episodes.batch import ClipBatch, References
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System, require_supports
from tests.fewshot.tiny import clips


@dataclass(frozen=True)
class Told:
    """Supports as the system was given them, for some queries."""

    clips: int
    shots: int
    queries: int = 1

    def repeat(self, expressions: int) -> Told:
        return Told(self.clips, self.shots, expressions)


class Telling(System):
    """A system that tells what it was asked to encode."""

    def encode_supports(self, supports: ClipBatch, shots: int) -> Told:
        return Told(len(supports), shots)

    def encode_text(self, expressions: Sequence[str | None]) -> tuple[str | None, ...]:
        return tuple(expressions)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        raise NotImplementedError

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        raise NotImplementedError


def test_a_state_is_for_as_many_clips_as_it_has_references() -> None:
    ReferenceState(2).check(2)
    for clips_given in (1, 3):
        message = f"{clips_given} query clips for 2 references: encode a reference for each query"
        with pytest.raises(ValueError, match=message):
            ReferenceState(2).check(clips_given)


def test_supports_are_repeated_for_the_queries_of_their_episode() -> None:
    supports = clips(4)
    one = Telling().encode_reference(References(supports, 2, ("a", "b")))
    assert one == ReferenceState(2, Told(4, 2), ("a", "b"))
    many = Telling().encode_reference(References(supports, 2, ("a", "b", "c", "d")))
    assert many == ReferenceState(4, Told(4, 2, queries=2), ("a", "b", "c", "d"))


def test_words_alone_are_a_reference() -> None:
    assert Telling().encode_reference(References(expressions=("a",))) == ReferenceState(1, None, ("a",))


def test_what_needs_supports_says_so() -> None:
    assert require_supports(1, "cma") == 1
    with pytest.raises(ValueError, match="system 'cma' segments what supports show, and there are none"):
        require_supports(None, "cma")

"""One look at a clip for everything that is asked about it.

The visual features of its frames are computed once, and so are the words and the supports; only what depends on both is
computed for each reference. References share a forward pass as far as memory allows.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

from episodes.batch import ClipBatch, References
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import ReferenceState, System

# The clips of a forward pass hold at most this many pixels: ten frames of 360x640 are asked by one reference at a time.
PIXELS_AT_ONCE = 2_500_000


@dataclass(frozen=True)
class SharedReferences:
    """`N` encoded references of one clip that share their supports.

    Attributes:
        count: `N`.
        supports: of one episode, as `System.encode_supports` gives them; None without supports.
        words: of the `N` references, as `System.encode_text` gives them; None without words.
    """

    count: int
    supports: Any = None
    words: Any = None

    def some(self, first: int, last: int) -> ReferenceState:
        """The state of the references `first` to `last - 1`."""
        count = last - first
        supports = self.supports if self.supports is None or count == 1 else self.supports.repeat(count)
        words = self.words if self.words is None or count == self.count else self.words[first:last]
        return ReferenceState(count, supports, words)


def read_references(system: System, expressions: Sequence[str | None], supports: Any = None) -> SharedReferences:
    """References of one clip, one for each expression (None: it has no words), which are read here.

    Args:
        supports: as `System.encode_supports` gives those of one episode.

    Raises:
        ValueError: an expression without words.
    """
    state = system.encode_reference(References(expressions=tuple(expressions)))
    return SharedReferences(state.count, supports, state.words)


def runs(count: int, most: int) -> Iterator[tuple[int, int]]:
    """First and last (exclusive) of consecutive runs of at most `most` of `count` things."""
    return ((first, min(first + most, count)) for first in range(0, count, most))


def at_once(clip: ClipBatch) -> int:
    """How many references may share a forward pass over this clip for the sake of memory."""
    _, frames, _, height, width = clip.frames.shape
    return max(1, PIXELS_AT_ONCE // (frames * height * width))


def answers(
    system: System, seen: ClipBatch, references: SharedReferences, wanted: Sequence[int] = ()
) -> Iterator[tuple[Prediction, ClipBatch]]:
    """Predictions for the references in their order, each with the clips that it is of, one for each reference.

    Args:
        seen: one clip with its visual features (`System.with_features`).
        wanted: the candidate that answers for each reference; empty: the best one.
    """
    most = references.count if system.answers_together else at_once(seen)
    for first, last in runs(references.count, most):
        clips = replace(seen.repeat(last - first), answers=tuple(wanted[first:last]))
        yield system(clips, references.some(first, last)), clips

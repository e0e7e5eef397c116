"""What the network says about one clip of one video, for the trackers.

Legend: Q learnable queries, P prompts, T frames of the clip, (h, w) a map at stride 4, N classes, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from fewshot.systems.univs.decoder import Found


@dataclass(frozen=True)
class Candidates:
    """Some queries of a clip.

    Attributes:
        masks: `(Q, T, h, w)` logits at stride 4.
        embeddings: `(Q, T, C)`.
        logits: `(Q, N)` of the classes of a data set; None where none were asked for.
    """

    masks: Tensor
    embeddings: Tensor
    logits: Tensor | None = None

    def __len__(self) -> int:
        return len(self.masks)

    def some(self, rows: Tensor) -> Candidates:
        """The queries `rows` `(n,)`."""
        logits = None if self.logits is None else self.logits[rows]
        return Candidates(self.masks[rows], self.embeddings[rows], logits)


@dataclass(frozen=True)
class Answer:
    """What was found in a clip: by the learnable queries, and by the prompts."""

    learnable: Candidates
    prompts: Candidates


def answer_of(found: Found, learnable: int, classes: slice = slice(None)) -> Answer:
    """The first `learnable` queries and the others, of a batch of one video.

    Args:
        classes: those of the data set among all classes.
    """

    def some(rows: slice) -> Candidates:
        logits = None if found.logits is None else found.logits[0, rows][:, classes]
        return Candidates(found.masks[0, rows], found.embeddings[0, rows], logits)

    return Answer(some(slice(learnable)), some(slice(learnable, None)))

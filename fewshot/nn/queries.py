"""Query schemes of the deformable decoder: what a query starts with, where it stands, and how it is updated.

Legend: n frames, Q queries, C channels, L feature levels.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn

from fewshot.nn.mlp import MLP
from fewshot.nn.positions import sine_box


def inverse_sigmoid(x: Tensor, eps: float = 1e-5) -> Tensor:
    """`log(x / (1 - x))` of values cut to 0..1, both sides at least `eps`."""
    x = x.clamp(0.0, 1.0)
    return torch.log(x.clamp(min=eps) / (1 - x).clamp(min=eps))


def scale_references(references: Tensor, ratios: Tensor) -> Tensor:
    """References of the valid image to each padded level: `(n, Q, 2 or 4), (n, L, 2) -> (n, Q, L, 2 or 4)`."""
    repeats = references.shape[-1] // 2
    return references[:, :, None] * ratios.repeat(1, 1, repeats)[:, None]


@dataclass(frozen=True)
class Encoded:
    """Output of the encoder, for a query scheme to look at.

    Attributes:
        tokens: `(n, s, C)` all levels, one after the other.
        shapes: `(h, w)` of each level.
        padding: `(n, s)` bool.
        ratios: `(n, L, 2)` fraction of each level's width and height that is not padding.
    """

    tokens: Tensor
    shapes: Sequence[tuple[int, int]]
    padding: Tensor
    ratios: Tensor


@dataclass(frozen=True)
class Proposals:
    """Every token's own box, from which a two-stage scheme takes its queries.

    Attributes:
        logits: `(n, s, K)` class logits; channel 0 ranks the tokens.
        boxes: `(n, s, 4)` cx, cy, w, h, logits of fractions of the unpadded frame; +inf for tokens without a box.
        chosen: `(n, Q)` tokens that became queries, best first.
    """

    logits: Tensor
    boxes: Tensor
    chosen: Tensor


class Start(NamedTuple):
    """Start of the queries: with this they enter the decoder.

    Attributes:
        content: `(n, Q, C)`.
        references: `(n, Q, 2)` points or `(n, Q, 4)` boxes in 0..1 of the unpadded frame.
        positions: `(n, Q, C)` query positions, where they are the same in every layer.
        proposals: where the queries were taken from, if from the encoded image.
    """

    content: Tensor
    references: Tensor
    positions: Tensor | None = None
    proposals: Proposals | None = None


class QueryScheme(nn.Module, ABC):
    """Interface between the decoder and its queries.

    Attributes:
        small_boxes: whether the first box head should start with small boxes; not where the references are boxes of
            a sensible size already.
    """

    small_boxes = True

    @abstractmethod
    def start(self, sentence: Tensor | None, encoded: Encoded | None = None) -> Start:
        """The queries of `n` frames, for sentences `(n, C)` or from what was encoded; a scheme uses one of them."""

    def positions(self, layer: int, content: Tensor, references: Tensor, start: Start) -> Tensor:
        """Query positions `(n, Q, C)` in decoder layer `layer`, for its content and references of every level."""
        if start.positions is None:
            raise NotImplementedError(f"{type(self).__name__} starts without positions: it has to define `positions`")
        return start.positions

    def references(self, layer: int, references: Tensor, ratios: Tensor) -> Tensor:
        """References of every level for decoder layer `layer`: `(n, Q, L, 2 or 4)`."""
        return scale_references(references, ratios)


class TextQueries(QueryScheme):
    """Queries that start as the sentence (ReferFormer, Wu et al. 2022): one content, `num_queries` learned codes."""

    def __init__(self, num_queries: int, dim: int) -> None:
        super().__init__()
        self.places = nn.Embedding(num_queries, dim)
        self.reference_points = nn.Linear(dim, 2)
        nn.init.xavier_uniform_(self.reference_points.weight)
        nn.init.zeros_(self.reference_points.bias)

    def start(self, sentence: Tensor | None, encoded: Encoded | None = None) -> Start:
        """Content `(n, Q, C)`, the sentence `Q` times, reference points `(n, Q, 2)`, and the learned codes."""
        if sentence is None:
            raise ValueError("text queries start as the sentence, and there is none")
        n, count = sentence.shape[0], self.places.num_embeddings
        with torch.autocast(sentence.device.type, enabled=False):  # coordinates stay in float32
            points = self.reference_points(self.places.weight).sigmoid()
        positions = self.places.weight.expand(n, -1, -1)
        return Start(sentence[:, None].expand(-1, count, -1), points.expand(n, -1, -1), positions)


class AnchorQueries(QueryScheme):
    """Queries that are anchor boxes (DAB-DETR, Liu et al. 2022); the sentence has no effect on them.

    Released CMA weights were trained with anchors that are broadcast over the wrong axis in the first decoder layer:
    there, the *level* picks the coordinate, so that level 0 sees the box (x, x, x, x), level 1 (y, y, y, y), and so on.
    That is reproduced; `clean_anchors` gives every level the whole box, for training from scratch.
    """

    def __init__(self, num_queries: int, dim: int, levels: int = 4, clean_anchors: bool = False) -> None:
        super().__init__()
        if not clean_anchors and levels != 4:
            raise ValueError(f"anchors as released need 4 levels (one per coordinate), got {levels}: use clean_anchors")
        self.content = nn.Embedding(num_queries, dim)
        self.anchors = nn.Embedding(num_queries, 4)
        self.place = MLP(2 * dim, dim, dim)
        self.scale = MLP(dim, dim, dim)
        self.clean_anchors = clean_anchors
        for linear in (*self.place.layers, *self.scale.layers):
            nn.init.xavier_uniform_(linear.weight)

    def start(self, sentence: Tensor | None, encoded: Encoded | None = None) -> Start:
        """Content `(n, Q, C)` and reference boxes `(n, Q, 4)`; of the sentences `(n, C)` only the number counts."""
        if sentence is None:
            raise ValueError("anchor queries need the sentences, to know their number")
        n = sentence.shape[0]
        return Start(self.content.weight.expand(n, -1, -1), self.anchors.weight.sigmoid().expand(n, -1, -1))

    def references(self, layer: int, references: Tensor, ratios: Tensor) -> Tensor:
        """References of every level for decoder layer `layer`: `(n, Q, L, 4)`."""
        if layer == 0 and not self.clean_anchors:
            return references[..., None] * ratios.repeat(1, 1, 2)[:, None]
        return scale_references(references, ratios)

    def positions(self, layer: int, content: Tensor, references: Tensor, start: Start) -> Tensor:
        """Query positions `(n, Q, C)`: a code of the box on level 0, from layer 1 on scaled by the content."""
        place = self.place(sine_box(references[:, :, 0], content.shape[-1] // 2))
        return place if layer == 0 else place * self.scale(content)

"""Deformable transformer with box refinement and a pluggable query scheme.

Zhu et al., Deformable DETR, ICLR 2021. Frames are batch entries: nothing here looks across time.
Legend: n frames, C channels, L levels, s tokens of all levels, Q queries, D decoder layers.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nn.attention import MultiheadAttention
from fewshot.nn.deformable_attention import DeformableAttention
from fewshot.nn.mlp import MLP, FeedForward
from fewshot.nn.padding import valid_ratios
from fewshot.nn.portions import rows_at_once
from fewshot.nn.queries import Encoded, Proposals, QueryScheme, Start, inverse_sigmoid
from fewshot.nn.recompute import run


@dataclass(frozen=True)
class Decoded:
    """Output of the transformer.

    Attributes:
        memory: the encoded levels, each `(n, C, h, w)`.
        states: `(D, n, Q, C)` queries after each decoder layer.
        boxes: `(D, n, Q, 4)` refined boxes cx, cy, w, h in 0..1 of the unpadded frame. Their values are the references
            of the next layer, which are cut off from the gradient.
        references: of each layer, the points or boxes `(n, Q, 2 or 4)` from which its boxes are refined, with gradient.
        proposals: boxes of the tokens, for schemes that take their queries from the memory.
    """

    memory: tuple[Tensor, ...]
    states: Tensor
    boxes: Tensor
    references: tuple[Tensor, ...] = ()
    proposals: Proposals | None = None


class EncoderLayer(nn.Module):
    """Deformable self-attention and feed-forward, each followed by a norm."""

    def __init__(self, dim: int, heads: int, levels: int, points: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.attention = DeformableAttention(dim, heads, levels, points)
        self.feedforward = FeedForward(dim, feedforward, dropout)
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.dropout = nn.Dropout(dropout)

    def forward(
        self, x: Tensor, positions: Tensor, references: Tensor, shapes: list[tuple[int, int]], padding: Tensor
    ) -> Tensor:
        """`(n, s, C) -> (n, s, C)`."""
        frames = rows_at_once(x[0].numel(), x.device)
        parts = zip(*(y.split(frames) for y in (x, positions, references, padding)), strict=True)
        return torch.cat([self._layer(a, b, c, d, shapes) for a, b, c, d in parts])

    def _layer(
        self, x: Tensor, positions: Tensor, references: Tensor, padding: Tensor, shapes: list[tuple[int, int]]
    ) -> Tensor:
        x = self.norm1(x + self.dropout(self.attention(x + positions, references, x, shapes, padding)))
        return self.norm2(x + self.dropout(self.feedforward(x)))


class DecoderLayer(nn.Module):
    """Self-attention over the queries of a frame, deformable attention to the memory, feed-forward."""

    def __init__(self, dim: int, heads: int, levels: int, points: int, feedforward: int, dropout: float) -> None:
        super().__init__()
        self.self_attention = MultiheadAttention(dim, heads, dropout)
        self.cross_attention = DeformableAttention(dim, heads, levels, points)
        self.feedforward = FeedForward(dim, feedforward, dropout)
        self.norm_self, self.norm_cross, self.norm_feedforward = (nn.LayerNorm(dim) for _ in range(3))
        self.dropout = nn.Dropout(dropout)

    def forward(
        self,
        x: Tensor,
        positions: Tensor,
        references: Tensor,
        memory: Tensor,
        shapes: list[tuple[int, int]],
        padding: Tensor,
    ) -> Tensor:
        """`(n, Q, C) -> (n, Q, C)`."""
        placed = x + positions
        x = self.norm_self(x + self.dropout(self.self_attention(placed, placed, x)))
        x = self.norm_cross(x + self.dropout(self.cross_attention(x + positions, references, memory, shapes, padding)))
        return self.norm_feedforward(x + self.dropout(self.feedforward(x)))


class DeformableTransformer(nn.Module):
    """Encoder over the feature levels and decoder over the queries, with one box head per decoder layer.

    Args:
        queries: the query scheme (`TextQueries`, `AnchorQueries` or `ProposalQueries`).
        checkpointing: recompute encoder layers in the backward pass instead of storing them.
        look_forward_twice: the boxes of a layer also train the layer before it (Zhang et al., DINO, ICLR 2023,
            section 3.5). The values are the same.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        levels: int,
        points: int,
        encoder_layers: int,
        decoder_layers: int,
        feedforward: int,
        dropout: float,
        queries: QueryScheme,
        checkpointing: bool = False,
        look_forward_twice: bool = False,
    ) -> None:
        super().__init__()
        self.look_forward_twice = look_forward_twice
        sizes = (dim, heads, levels, points, feedforward, dropout)
        self.level_embed = nn.Parameter(torch.randn(levels, dim))
        self.encoder = nn.ModuleList(EncoderLayer(*sizes) for _ in range(encoder_layers))
        self.decoder = nn.ModuleList(DecoderLayer(*sizes) for _ in range(decoder_layers))
        self.box_heads = nn.ModuleList(MLP(dim, dim, dim, 4) for _ in range(decoder_layers))
        self.queries, self.checkpointing = queries, checkpointing
        self._initialise()

    def _initialise(self) -> None:
        for layer in (*self.encoder, *self.decoder):
            for name, weight in layer.named_parameters():
                if weight.ndim > 1 and "sampling_offsets" not in name and "attention_weights" not in name:
                    nn.init.xavier_uniform_(weight)
        last = [head.linears[-1] for head in self.box_heads if isinstance(head, MLP)]
        for linear in last:  # boxes start at the reference
            nn.init.zeros_(linear.weight)
            nn.init.zeros_(linear.bias)
        if self.queries.small_boxes:
            nn.init.constant_(last[0].bias[2:].data, -2.0)  # ... and small

    def forward(
        self,
        levels: Sequence[Tensor],
        paddings: Sequence[Tensor],
        positions: Sequence[Tensor],
        sentence: Tensor | None,
        apart: Callable[[Encoded], Encoded] | None = None,
    ) -> Decoded:
        """Encode the levels `(n, C, h, w)` and decode the queries.

        Args:
            paddings: `(n, h, w)` bool per level; positions: `(n, C, h, w)` per level; sentence: `(n, C)`,
                for schemes whose queries come from it.
            apart: what was encoded for `n` frames to what is decoded, of as many frames as there are sentences.
        """
        shapes = [(level.shape[-2], level.shape[-1]) for level in levels]
        padding = torch.cat([p.flatten(1) for p in paddings], 1)
        ratios = valid_ratios(paddings)
        encoded = Encoded(self.encode(levels, positions, shapes, padding, ratios), shapes, padding, ratios)
        if apart is not None:
            encoded = apart(encoded)
        start = self.queries.start(sentence, encoded)
        states, boxes, references = self.decode(encoded, start)
        maps = encoded.tokens.transpose(1, 2).split([h * w for h, w in shapes], -1)
        memory = tuple(m.unflatten(-1, s) for m, s in zip(maps, shapes, strict=True))
        return Decoded(memory, states, boxes, references, start.proposals)

    def encode(
        self,
        levels: Sequence[Tensor],
        positions: Sequence[Tensor],
        shapes: list[tuple[int, int]],
        padding: Tensor,
        ratios: Tensor,
    ) -> Tensor:
        """All levels as one sequence, encoded: `(n, s, C)`."""
        x = torch.cat([level.flatten(2) for level in levels], -1).transpose(1, 2)
        placed = [p.flatten(2).transpose(1, 2) + e for p, e in zip(positions, self.level_embed, strict=True)]
        embedded = torch.cat(placed, 1)
        references = pixel_references(shapes, ratios)
        for layer in self.encoder:
            x = run(layer, x, embedded, references, shapes, padding, checkpointing=self.checkpointing)
        return x

    def decode(self, encoded: Encoded, start: Start) -> tuple[Tensor, Tensor, tuple[Tensor, ...]]:
        """Query states `(D, n, Q, C)` and boxes `(D, n, Q, 4)` after each decoder layer, and what entered each."""
        memory = (encoded.tokens, encoded.shapes, encoded.padding)
        x, reference = start.content, start.references
        states, boxes, entered = [], [], [reference]
        for k, (layer, head) in enumerate(zip(self.decoder, self.box_heads, strict=True)):
            references = self.queries.references(k, reference, encoded.ratios)
            x = layer(x, self.queries.positions(k, x, references, start), references, *memory)
            delta = head(x)
            refined = refine(delta, reference)
            states.append(x)
            boxes.append(refine(delta, entered[-1]) if self.look_forward_twice else refined)
            entered.append(refined)
            reference = refined.detach()
        return torch.stack(states), torch.stack(boxes), tuple(entered[:-1])


def refine(delta: Tensor, reference: Tensor) -> Tensor:
    """Boxes `(n, Q, 4)`, float32, moved from reference points (2) or boxes (4), in logit space."""
    missing = delta.shape[-1] - reference.shape[-1]
    return (delta.float() + F.pad(inverse_sigmoid(reference), (0, missing))).sigmoid()


def pixel_references(shapes: Sequence[tuple[int, int]], ratios: Tensor) -> Tensor:
    """Centre of every token on every level: `(n, s, L, 2)` in 0..1 of the padded levels."""
    points = []
    for level, (h, w) in enumerate(shapes):
        y = (torch.arange(h, device=ratios.device) + 0.5) / (ratios[:, level, 1, None] * h)
        x = (torch.arange(w, device=ratios.device) + 0.5) / (ratios[:, level, 0, None] * w)
        grid = torch.stack([x[:, None].expand(-1, h, -1), y[..., None].expand(-1, -1, w)], -1)
        points.append(grid.flatten(1, 2))
    return torch.cat(points, 1)[:, :, None] * ratios[:, None]

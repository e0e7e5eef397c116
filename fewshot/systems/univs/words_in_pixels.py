"""Pixel decoder that reads words before each of its layers (GLIP's fusion, Li et al., CVPR 2022, section 3.2).

The released code of UniVS holds this variant; no released configuration or checkpoint uses it, and neither does a
setting here.

Legend: n frames, s cells of all levels, L words, C width, D width of the text.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn

from fewshot.systems.univs.pixel_decoder import PixelDecoder

LIMIT = 50000.0  # of scores, for half precision
START_WEIGHT = 1 / 6  # of what each side reads from the other


class BothWaysAttention(nn.Module):
    """Cells read words and words read cells, by the same scores; both go on from their normed selves."""

    def __init__(self, dim: int, text_dim: int, inner: int = 1024, heads: int = 8, dropout: float = 0.1) -> None:
        super().__init__()
        self.heads, self.dropout = heads, nn.Dropout(dropout)
        self.norm_cells, self.norm_words = nn.LayerNorm(dim), nn.LayerNorm(text_dim)
        self.query, self.key = nn.Linear(dim, inner), nn.Linear(text_dim, inner)
        self.cell_values, self.word_values = nn.Linear(dim, inner), nn.Linear(text_dim, inner)
        self.cell_out, self.word_out = nn.Linear(inner, dim), nn.Linear(inner, text_dim)
        self.cell_weight = nn.Parameter(torch.full((dim,), START_WEIGHT))
        self.word_weight = nn.Parameter(torch.full((text_dim,), START_WEIGHT))

    def forward(self, cells: Tensor, words: Tensor) -> tuple[Tensor, Tensor]:
        """`(n, s, C), (n, L, D)` to the same."""
        cells, words = self.norm_cells(cells), self.norm_words(words)

        def split(x: Tensor) -> Tensor:
            return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (n, heads, tokens, d)

        query = split(self.query(cells))
        scores = (query * query.shape[-1] ** -0.5) @ split(self.key(words)).transpose(-1, -2)
        scores = scores.clamp(-LIMIT, LIMIT)
        back = scores.transpose(-1, -2)
        back = (back - back.amax(-1, keepdim=True)).clamp(-LIMIT, LIMIT)
        read = self.dropout(scores.softmax(-1)) @ split(self.word_values(words))
        told = self.dropout(back.softmax(-1)) @ split(self.cell_values(cells))
        cells = cells + self.cell_weight * self.cell_out(read.transpose(1, 2).flatten(2))
        return cells, words + self.word_weight * self.word_out(told.transpose(1, 2).flatten(2))


class ReadingPixelDecoder(PixelDecoder):
    """The pixel decoder with words of width `text_dim`; the other arguments as of `PixelDecoder`."""

    def __init__(self, channels: Sequence[int], dim: int, heads: int, layers: int, hidden: int, text_dim: int) -> None:
        super().__init__(channels, dim, heads, layers, hidden)
        self.reading = nn.ModuleList(BothWaysAttention(dim, text_dim) for _ in range(layers))

    def read(self, taps: Sequence[Tensor], words: Tensor) -> tuple[list[Tensor], Tensor, Tensor]:
        """Levels and mask features as of `PixelDecoder`, and the words `(n, L, D)` that saw the image."""
        said = [words]

        def before(attention: nn.Module) -> Any:
            def hook(layer: nn.Module, given: tuple[Tensor, ...]) -> tuple[Tensor, ...]:
                cells, said[0] = attention(given[0], said[0])
                return (cells, *given[1:])

            return hook

        pairs = zip(self.body.encoder.layers, self.reading, strict=True)
        hooks = [layer.register_forward_pre_hook(before(attention)) for layer, attention in pairs]
        try:
            levels, mask_features = self(taps)
        finally:
            for hook in hooks:
                hook.remove()
        return levels, mask_features, said[0]

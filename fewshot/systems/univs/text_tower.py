"""What reads names of classes and expressions for UniVS: CLIP's text tower, or a small one without files.

Legend: N texts, L tokens, D width.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nn.text import TextEncoder, WordHashTokenizer, mean_of_words, small_text_encoder

SMALL_CONTEXT = 24  # tokens of a text, with start and end, to which every one is padded


class TextTower(nn.Module):
    """Texts to features of their words and of themselves.

    Attributes:
        dim: D.
    """

    dim: int

    @abstractmethod
    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Words `(N, L, D)` and sentences `(N, D)` of `N` texts; L is always the same."""


class SmallTextTower(TextTower):
    """A small RoBERTa on hashed words: nothing is downloaded."""

    def __init__(self, dim: int, layers: int, dropout: float) -> None:
        super().__init__()
        small = small_text_encoder(dim, layers, dropout)
        self.dim, self.encoder = dim, TextEncoder(small.encoder, WordHashTokenizer(), SMALL_CONTEXT)

    def forward(self, texts: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Words, zeros where there are none, and their mean."""
        states, _, padding = self.encoder(list(texts))
        words = torch.masked_fill(states, padding[..., None], 0.0)
        return F.pad(words, (0, 0, 0, SMALL_CONTEXT - words.shape[1])), mean_of_words(states, padding)

"""Text prompts of UniVS: names of classes, and expressions with all their words (Li et al., 2024, section 3.2).

Legend: B videos, T frames, n = B * T, P prompts, K tokens of each, C width, D width of the text.
"""

from __future__ import annotations

import torch
from einops import rearrange
from torch import Tensor, nn

from fewshot.systems.univs.decoder import Scenes
from fewshot.systems.univs.decoder_layers import AttentionLayer


class TextPrompts(nn.Module):
    """Text features to tokens of the model's width, which may first look at the frames.

    Args:
        look: whether the tokens read the image before they are prompts.
    """

    def __init__(self, text_dim: int, dim: int, heads: int, look: bool = True) -> None:
        super().__init__()
        self.norm, self.linear = nn.LayerNorm(text_dim), nn.Linear(text_dim, dim)
        self.vision = AttentionLayer(dim, heads)
        self.look = look

    def forward(self, texts: Tensor, scenes: Scenes) -> Tensor:
        """Texts `(B, P, K, D)` to tokens of every frame `(B, P, T, K, C)`. Padding words are kept, as released."""
        b, t = scenes.moments.shape
        tokens = self.linear(self.norm(texts))
        tokens = tokens[:, :, None].expand(-1, -1, t, -1, -1)
        if not self.look:
            return tokens
        rows = rearrange(tokens, "b p t k c -> (b t) (p k) c")
        image = scenes.sequence
        seen: Tensor = self.vision(rows, None, image, image)
        return rearrange(seen, "(b t) (p k) c -> b p t k c", b=b, k=tokens.shape[3])


def words_and_sentence(states: Tensor, ends: Tensor) -> tuple[Tensor, Tensor]:
    """Features of one expression from those of its templates.

    Args:
        states: `(templates, length, D)` projected states of every token.
        ends: `(templates, D)` those of the end.

    Returns:
        The words of the first template `(length, D)`, and the mean of the ends `(D,)`, without normalisation.
    """
    return states[0], torch.mean(ends, 0)

"""Early fusion of vision and language: what each place reads from the words gates its own feature."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from fewshot.nn.attention import MultiheadAttention


@dataclass(frozen=True)
class Words:
    """A batch of texts as the models read them.

    Attributes:
        features: `(N, L, C)` word features.
        padding: `(N, L)` bool, True beyond a text's end.
        positions: `(N, L, C)` sine codes.
        sentence: `(N, C)` the whole text in one vector.
    """

    features: Tensor
    padding: Tensor
    positions: Tensor
    sentence: Tensor

    def __getitem__(self, texts: slice) -> Words:
        """Some of the texts."""
        return Words(self.features[texts], self.padding[texts], self.positions[texts], self.sentence[texts])


class VisionLanguageFusion(nn.Module):
    """`x * attention(x -> words)`, element by element: no residual, no norm (ReferFormer, Wu et al. 2022, sec. 3.2).

    Frames do not mix here: the words are the only keys.
    """

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention = MultiheadAttention(dim, heads)

    def start_near_identity(self) -> None:
        """Begin with what is read being about 1, so that the visual features pass, for training from scratch."""
        nn.init.normal_(self.attention.out_proj.weight, std=0.02)
        nn.init.ones_(self.attention.out_proj.bias)

    def forward(self, tokens: Tensor, words: Words, positions: Tensor | None = None) -> Tensor:
        """Visual tokens `(n, L_v, C)` to the same shape, for `N` texts: as many in a row for each entry.

        What an entry reads from several texts is averaged.

        Args:
            positions: codes of the places, like the tokens, with which they ask the words; None: without, as released.
        """
        asking = tokens if positions is None else tokens + positions
        each = len(words.features) // len(tokens)
        if each > 1:
            asking = asking.repeat_interleave(each, 0)
        read = self.attention(asking, words.features + words.positions, words.features, words.padding)
        return tokens * (read.unflatten(0, (-1, each)).mean(1) if each > 1 else read)

    def agreement(self, tokens: Tensor, words: Words, positions: Tensor) -> Tensor:
        """Logits with which `N` rows of places ask the words of their text, mean of words and heads: `(N, L_v)`.

        Args:
            tokens, positions: `(N, L_v, C)`, see `forward`.
        """
        return self.attention.agreement(tokens + positions, words.features + words.positions, words.padding)

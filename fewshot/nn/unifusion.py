"""UniFusion: image tokens take up a reference, in words or in masked images, before any object is looked for.

Wu et al., UniRef++, arXiv 2312.15715, section 3.2. The modulation by the reference's embedding is the adaptive layer
normalisation of Peebles & Xie, Scalable Diffusion Models with Transformers, ICCV 2023, section 3.2.

Legend: B references, L image tokens, S reference tokens, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.attention import attention

SHARPNESS = 10.0  # of the attention that starts as similarity: two equal features meet with this logit
OPEN_GATE = 1.0  # the gate of a module that does not start as the identity


@dataclass(frozen=True)
class FusionReference:
    """Tokens of a reference for the image to read. For words, keys and values are the same.

    Attributes:
        keys: `(B, S, C)` what is compared with the image.
        values: `(B, S, C)` what is brought back.
        padding: `(B, S)` bool, True where there is no token.
        embed: `(B, C)` the reference in one vector.
    """

    keys: Tensor
    values: Tensor
    padding: Tensor
    embed: Tensor


class UniFusion(nn.Module):
    """One module for all levels and for both kinds of reference; it knows no positions.

    What the tokens read is scaled, shifted and gated as the reference's embedding says, and added. It starts as the
    identity: the gate is 0.

    Args:
        dim: width C.
        heads: attention heads, each of width `head_dim`; together they may be wider than C.
        dropout: of the attention weights in training.
        bf16: attend in bfloat16, as the released weights were trained.
    """

    def __init__(
        self, dim: int = 256, heads: int = 8, head_dim: int = 256, dropout: float = 0.1, *, bf16: bool = False
    ) -> None:
        super().__init__()
        inner = heads * head_dim
        self.heads, self.dropout, self.bf16 = heads, dropout, bf16
        self.norm_tokens, self.norm_keys = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.query, self.key, self.value = (nn.Linear(dim, inner) for _ in range(3))
        self.out = nn.Linear(inner, dim)
        self.modulation = nn.Linear(dim, 3 * dim)
        for linear in (self.query, self.key, self.value, self.out):
            nn.init.xavier_uniform_(linear.weight)
            nn.init.zeros_(linear.bias)
        nn.init.zeros_(self.modulation.weight)
        nn.init.zeros_(self.modulation.bias)

    @torch.no_grad()
    def start_as_similarity(self) -> None:
        """Start as a read-out by feature similarity, for training from scratch; parity needs the default start.

        Gated by 0 the module learns only after its gate has, and attention between random projections finds nothing.
        So queries and keys of a head start as the same random orthogonal projection: tokens are layer-normed, their
        product is the cosine of the two features (within the projection), with `SHARPNESS` as its largest logit
        whatever the width of a head. Values and output start as each other's transpose, so that values come out as
        they went in, or, where the heads together are narrower than C, projected. The gate's bias starts at
        `OPEN_GATE`, whatever the embedding.
        """
        dim, width = self.query.in_features, self.query.out_features // self.heads
        scale = (SHARPNESS * width**0.5 / min(dim, width)) ** 0.5
        alike = torch.cat([nn.init.orthogonal_(torch.empty(width, dim)) for _ in range(self.heads)])
        through = nn.init.orthogonal_(torch.empty(self.heads * width, dim))
        self.query.weight.copy_(scale * alike)
        self.key.weight.copy_(scale * alike)
        self.value.weight.copy_(through)
        self.out.weight.copy_(through.T)
        self.modulation.bias[2 * dim :] = OPEN_GATE

    def forward(
        self,
        tokens: Tensor,
        language: FusionReference | None,
        mask: FusionReference | None,
        positions: Tensor | None = None,
    ) -> Tensor:
        """Image tokens `(B, L, C)` that know the reference; both kinds are read by the original tokens, in parallel.

        Images that are asked several times are given once: where there are `E` references in a row for each image, the
        result has `B * E` rows, and what an image reads from a reference of its own it reads once.

        Args:
            positions: `(B, L, C)` codes of the places, with which they ask the words; None: places ask by their looks
                alone, as published.
        """
        query = self.asking(tokens)
        about_words = query if positions is None else self.asking(tokens, positions)
        asked = [(q, r) for q, r in ((about_words, language), (query, mask)) if r is not None]
        rows = max([len(tokens), *(len(reference.keys) for _, reference in asked)])
        tokens = _repeated(tokens, rows)
        for query, reference in asked:
            tokens = tokens + _repeated(self.delta(query, reference), rows)
        return tokens

    def asking(self, tokens: Tensor, positions: Tensor | None = None) -> Tensor:
        """What tokens `(B, L, C)` ask a reference, with their positions `(B, L, C)` or without: `(B, heads, L, d)`."""
        normed = self.norm_tokens(tokens)
        return self._heads(self.query(normed if positions is None else normed + positions))

    def delta(self, query: Tensor, reference: FusionReference) -> Tensor:
        """Attend from queries `(B, heads, L, d)` to references, of which `E` in a row are for each: `(B * E, L, C)`."""
        keys, padding = reference.keys, reference.padding
        if len(query) == 1 and _alike(keys, padding):
            keys, padding = keys[:1], padding[:1]
        key, value = self._heads(self.key(self.norm_keys(keys))), self._heads(self.value(reference.values))
        dropout = self.dropout if self.training else 0.0
        read = attention(_repeated(query, len(key)), key, value, padding, dropout=dropout, bf16=self.bf16)
        read = self.out(rearrange(read, "b h l d -> b l (h d)"))
        shift, scale, gate = self.modulation(F.silu(reference.embed))[:, None].chunk(3, -1)
        return gate * (read * (1 + scale) + shift)

    def retrieve(self, tokens: Tensor, keys: Tensor, values: Tensor, padding: Tensor) -> Tensor:
        """Plain values that image tokens retrieve with the attention of this module, mean of the heads: `(B, L, c)`.

        Args:
            tokens: `(B, L, C)`; keys: `(B, S, C)`; values: `(B, S, c)`, not projected; padding: `(B, S)` bool.
        """
        query, key = self.asking(tokens), self._heads(self.key(self.norm_keys(keys)))
        value = values[:, None].expand(-1, self.heads, -1, -1).to(query.dtype)
        return attention(query, key, value.contiguous(), padding).mean(1)

    def agreement(self, tokens: Tensor, positions: Tensor, keys: Tensor, padding: Tensor) -> Tensor:
        """Logits of the attention of places to words, mean of the words and of the heads: `(N, L)`.

        Args:
            tokens: `(B, L, C)`; positions: `(B, L, C)`; keys: `(N, S, C)` words, `N / B` texts in a row for each image;
            padding: `(N, S)` bool.
        """
        there = (~padding)[:, None, :, None].to(keys.dtype)
        key = (self._heads(self.key(self.norm_keys(keys))) * there).sum(2) / there.sum(2).clamp(min=1)
        query = _repeated(self.asking(tokens, positions), len(keys))
        return torch.einsum("nhld,nhd->nhl", query, key).mean(1) / query.shape[-1] ** 0.5

    def _heads(self, x: Tensor) -> Tensor:
        return rearrange(x, "b l (h d) -> b h l d", h=self.heads)


def _alike(keys: Tensor, padding: Tensor) -> bool:
    """Whether references on a CPU have the same keys, as objects have that are remembered in the same frames.

    What differs are their values. Gradients go the plain way, and GPUs attend faster than this question is answered.
    """
    if torch.is_grad_enabled() or keys.device.type != "cpu" or len(keys) == 1:
        return False
    return all(torch.equal(x, x[:1].expand_as(x)) for x in (padding, keys))


def _repeated(x: Tensor, rows: int) -> Tensor:
    """Each of the rows of `x` several times in a row, so that there are `rows`."""
    return x if len(x) == rows else x.repeat_interleave(rows // len(x), 0)

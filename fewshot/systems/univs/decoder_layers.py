"""Layers of UniVS' decoder, each a residual with its norm behind it (Li et al., 2024, section 3.3).

Legend: N rows, L queries, S keys, B videos, P prompt queries, T frames, K tokens of a prompt, C width.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.attention import MultiheadAttention
from fewshot.nn.mlp import FeedForward

SEPARATIONS = ("sep", "sep-blocked", "sep-l2p", "none")


class AttentionLayer(nn.Module):
    """Queries read keys, and add what they found."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention, self.norm = MultiheadAttention(dim, heads), nn.LayerNorm(dim)

    def forward(
        self,
        x: Tensor,
        place: Tensor | None,
        keys: Tensor,
        values: Tensor,
        blocked: Tensor | None = None,
    ) -> Tensor:
        """Rows `(N, L, C)` with their positions, keys and values `(N, S, C)`, to `(N, L, C)`.

        Args:
            blocked: `(N, L, S)` or `(L, S)` bool, True where a query must not look; no row may be all True.
        """
        query = x if place is None else x + place
        return self.norm(x + self.attention(query, keys, values, blocked=blocked))


class PromptCrossAttention(nn.Module):
    """ProCA: every prompt query reads its own prompt in every frame (section 3.3, target-wise)."""

    def __init__(self, dim: int, heads: int) -> None:
        super().__init__()
        self.attention, self.norm = MultiheadAttention(dim, heads), nn.LayerNorm(dim)

    def forward(self, x: Tensor, place: Tensor, tokens: Tensor, positions: Tensor | None) -> Tensor:
        """Prompt queries `(B, P, T, C)` to the same.

        The keys of a query are itself and its tokens. Without positions of the tokens, as those of words, the query
        has none either.

        Args:
            place: `(B, P, T, C)` positions of the queries.
            tokens, positions: `(B, P, T, K, C)`, or `(B, P, 1, K, C)` where they serve every frame.
        """
        query = x if positions is None else x + place
        keys = tokens if positions is None else tokens + positions
        attention = self.attention
        weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)

        def project(kind: int, values: Tensor) -> Tensor:
            return F.linear(values, weights[kind], biases[kind]).unflatten(-1, (attention.heads, -1))

        q = project(0, query) * (x.shape[-1] // attention.heads) ** -0.5  # (B, P, T, heads, d)
        own_scores = (q * project(1, query)).sum(-1, keepdim=True)
        scores = torch.einsum("bpthd,bptkhd->bpthk", q, project(1, keys))
        weight = torch.cat([own_scores, scores], -1).softmax(-1)
        read = weight[..., :1] * project(2, x)
        read = read + torch.einsum("bpthk,bptkhd->bpthd", weight[..., 1:], project(2, tokens))
        return self.norm(x + attention.out_proj(read.flatten(-2)))


class FeedForwardLayer(nn.Module):
    """The feed-forward block of each query."""

    def __init__(self, dim: int, hidden: int) -> None:
        super().__init__()
        self.feedforward, self.norm = FeedForward(dim, hidden, 0.0), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, L, C)` to the same."""
        return self.norm(x + self.feedforward(x))


def who_may_not_meet(kind: str, learnable: int, prompts: int, frames: int) -> Tensor | None:
    """Separated self-attention: pairs of (query, frame) of one video that must not meet.

    Square `((Q + P) T, (Q + P) T)` bool, query-major, True where the row must not look at the column; None where all
    may meet.

    Args:
        kind: `sep`: learnable queries among themselves, prompts among themselves; `sep-blocked`: a prompt sees itself
            alone, in every frame; `sep-l2p`: prompts see everything; `none`.
        learnable: Q.
        prompts: P.
        frames: T.
    """
    if kind not in SEPARATIONS:
        raise ValueError(f"unknown separation {kind!r}: choose one of {', '.join(SEPARATIONS)}")
    if kind == "none":
        return None
    target = torch.arange(learnable + prompts) - learnable + 1
    target = target.clamp(min=0)  # 0: a learnable query; else the number of the prompt
    prompt = target > 0
    blocked = prompt[:, None] != prompt[None]
    if kind == "sep-blocked":
        blocked = target[:, None] != target[None]
    if kind == "sep-l2p":
        blocked = blocked & ~prompt[:, None]
    return blocked.repeat_interleave(frames, 0).repeat_interleave(frames, 1)


def cells_not_to_look_at(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masked attention: cells of a level outside a query's own mask (Cheng et al., CVPR 2022, equation 2).

    Args:
        masks: logits `(B, Q, T, h, w)`.
        size: height and width of the level.

    Returns:
        `(B * T, Q, cells)` bool, without gradient.
    """
    logits = rearrange(masks.detach(), "b q t h w -> (b t) q h w")
    resized = F.interpolate(logits.float(), size, mode="bilinear", align_corners=False)
    return (resized.sigmoid() < 0.5).flatten(2)


def unblocked(blocked: Tensor) -> Tensor:
    """The same `(..., S)`, where a row that is blocked everywhere looks everywhere."""
    return blocked & ~blocked.all(-1, keepdim=True)

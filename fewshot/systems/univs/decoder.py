"""Decoder of UniVS: learnable queries look for everything, prompt queries each for its own target.

Li et al., UniVS: Unified and Universal Video Segmentation with Prompts as Queries, CVPR 2024, section 3.3. A decoder of
Mask2Former in which every query exists once in every frame.

Legend: B videos, T frames, n = B * T, Q learnable queries, P prompt queries, K tokens of a prompt, C width, D width of
the text, N classes; levels are maps at strides 32, 16 and 8.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.mlp import MLP
from fewshot.nn.positions import sine_in_time
from fewshot.systems.univs.decoder_layers import (
    AttentionLayer,
    FeedForwardLayer,
    PromptCrossAttention,
    cells_not_to_look_at,
    unblocked,
    who_may_not_meet,
)

TASKS = ("detection", "sot", "grounding")
LEVELS = 3
LONGEST = 128  # frames: the moment of a frame is its index as a fraction of this
START_SCALE = math.log(1 / 0.07)  # of the class logits, as in CLIP
GROUNDING_SCALE = 256.0  # by which class logits of expressions are divided in training, where nothing supervises them


@dataclass(frozen=True)
class Scenes:
    """Frames as the decoder sees them.

    Attributes:
        levels: three maps `(n, C, h, w)`, with their level embeddings.
        positions: three codes `(n, C, h, w)` of cells and moments.
        mask_features: `(n, C, H, W)` at stride 4.
        moments: `(B, T)` of the frames, in 0..1.
    """

    levels: tuple[Tensor, ...]
    positions: tuple[Tensor, ...]
    mask_features: Tensor
    moments: Tensor

    @property
    def sequence(self) -> Tensor:
        """All cells of all levels, one after the other: `(n, s, C)`."""
        return torch.cat([rearrange(x, "n c h w -> n (h w) c") for x in self.levels], 1)


@dataclass(frozen=True)
class Prompts:
    """Prompts of `B` videos, by which targets are asked for.

    Attributes:
        content: `(B, P, T, C)` what the prompt queries start as.
        place: `(B, P, T, C)` their positions.
        tokens: `(B, P, T, K, C)`, or `(B, P, 1, K, C)` where they serve every frame.
        positions: like `tokens`; None for words, which lie nowhere.
        sentences: `(B, P, D)` features of the expressions; None but for `grounding`.
        maps: `(B, P, T, M, H, W)` logits at stride 4, from which the masks start; None: without.
    """

    content: Tensor
    place: Tensor
    tokens: Tensor
    positions: Tensor | None = None
    sentences: Tensor | None = None
    maps: Tensor | None = None


@dataclass(frozen=True)
class Found:
    """Output of the heads after one layer.

    Attributes:
        masks: `(B, Q + P, T, H, W)` logits at stride 4.
        embeddings: `(B, Q + P, T, C)` by which a target is known again.
        logits: `(B, Q + P, N)` of the classes, or of the `P` expressions; None where none were asked for.
    """

    masks: Tensor
    embeddings: Tensor
    logits: Tensor | None = None


class UniVSDecoder(nn.Module):
    """Nine rounds of prompt cross-attention, masked attention to the image, separated self-attention, feed-forward.

    Args:
        dim: C; heads: of all attention; layers: rounds; hidden: width of the feed-forward; queries: Q; text_dim: D.
        separation: of the self-attention, see `who_may_not_meet`; expressions are always `sep-blocked`.
        maps: M, of the prompts; 0: without.
    """

    def __init__(
        self,
        dim: int,
        heads: int,
        layers: int,
        hidden: int,
        queries: int,
        text_dim: int,
        separation: str = "sep",
        maps: int = 0,
    ) -> None:
        super().__init__()
        self.separation = separation
        self.content, self.places = nn.Embedding(queries, dim), nn.Embedding(queries, dim)
        self.level_embed = nn.Embedding(LEVELS, dim)
        self.prompt_attention = nn.ModuleList(PromptCrossAttention(dim, heads) for _ in range(layers))
        self.cross_attention = nn.ModuleList(AttentionLayer(dim, heads) for _ in range(layers))
        self.self_attention = nn.ModuleList(AttentionLayer(dim, heads) for _ in range(layers))
        self.feedforward = nn.ModuleList(FeedForwardLayer(dim, hidden) for _ in range(layers))
        self.heads = Heads(dim, text_dim, maps)

    def scenes(self, levels: Sequence[Tensor], mask_features: Tensor, moments: Tensor) -> Scenes:
        """Levels `(n, C, h, w)` of the pixel decoder with their embeddings and position codes."""
        embedded = tuple(x + e[:, None, None] for x, e in zip(levels, self.level_embed.weight, strict=True))
        codes = (sine_in_time(moments.flatten(), (x.shape[-2], x.shape[-1]), x.shape[1]) for x in levels)
        return Scenes(embedded, tuple(codes), mask_features, moments)

    def forward(
        self,
        scenes: Scenes,
        prompts: Prompts | None,
        *,
        learnable: bool = True,
        concepts: Tensor | None = None,
        orders: Sequence[Tensor] | None = None,
        every_head: bool = False,
    ) -> list[Found]:
        """Outputs of the heads before the first round and after each; the last one counts.

        Args:
            prompts: None: nothing is asked for.
            learnable: whether the learnable queries take part.
            concepts: `(N, D)` embeddings of classes; None: no class logits.
            orders: of the frames, for each head one `(T,)`: the mask of frame `i` is drawn by the query of frame
                `orders[i]`, which in training makes queries alike over time.
            every_head: class logits after every round, as training needs them; else after the last alone.
        """
        b, t = scenes.moments.shape
        grounding = prompts is not None and prompts.sentences is not None
        x, place = self.start(b, t, prompts, learnable)  # (B, Q + P, T, C)
        asked = 0 if prompts is None else prompts.content.shape[1]
        count = x.shape[1] - asked
        x = self.ask(0, x, place, prompts)
        if asked:  # released weights were trained with the content of the prompt queries as their positions
            place = torch.cat([place[:, :count], x[:, count:]], 1)
        kind = "sep-blocked" if grounding else self.separation
        apart = who_may_not_meet(kind, count, asked, t) if count or kind == "sep-blocked" else None
        apart = None if apart is None else apart.to(x.device)
        rounds = len(self.cross_attention)
        found: list[Found] = []
        for i in range(rounds + 1):
            if i > 0:
                blocked = cells_not_to_look_at(found[-1].masks, _size(scenes.levels[(i - 1) % LEVELS]))
                x = self.ask(i - 1, x, place, prompts) if i > 1 else x
                x = self.look(i - 1, x, place, scenes, unblocked(blocked))
                x = self.meet(i - 1, x, place, apart)
            order = None if orders is None else orders[i]
            wanted = every_head or i == rounds
            found.append(self.heads(x, scenes.mask_features, count, prompts, concepts if wanted else None, order))
        return found

    def start(self, b: int, t: int, prompts: Prompts | None, learnable: bool) -> tuple[Tensor, Tensor]:
        """Content and position of all queries, each `(B, Q + P, T, C)`.

        Raises:
            ValueError: there is no query at all.
        """
        parts = []
        if learnable:
            own = (e.weight[None, :, None].expand(b, -1, t, -1) for e in (self.content, self.places))
            parts.append(tuple(own))
        if prompts is not None:
            parts.append((prompts.content, prompts.place))
        if not parts:
            raise ValueError("nothing is asked for: give prompts, or let the learnable queries take part")
        content, place = (torch.cat(x, 1) for x in zip(*parts, strict=True))
        return content, place

    def ask(self, layer: int, x: Tensor, place: Tensor, prompts: Prompts | None) -> Tensor:
        """Prompt queries read their prompts; `x` `(B, Q + P, T, C)` to the same."""
        if prompts is None:
            return x
        count = x.shape[1] - prompts.content.shape[1]
        asked = self.prompt_attention[layer](x[:, count:], place[:, count:], prompts.tokens, prompts.positions)
        return torch.cat([x[:, :count], asked], 1)

    def look(self, layer: int, x: Tensor, place: Tensor, scenes: Scenes, blocked: Tensor) -> Tensor:
        """Queries read the cells of a level in their own frame, each inside its mask alone."""
        level, code = (rearrange(y[layer % LEVELS], "n c h w -> n (h w) c") for y in (scenes.levels, scenes.positions))
        frames, places = (rearrange(y, "b q t c -> (b t) q c") for y in (x, place))
        read = self.cross_attention[layer](frames, places, level + code, level, blocked)
        return rearrange(read, "(b t) q c -> b q t c", b=x.shape[0])

    def meet(self, layer: int, x: Tensor, place: Tensor, apart: Tensor | None) -> Tensor:
        """Queries of all frames read each other as far as they may, and are transformed."""
        queries, places = (rearrange(y, "b q t c -> b (q t) c") for y in (x, place))
        keys = queries + places
        read = self.self_attention[layer](queries, places, keys, queries, apart)
        return self.feedforward[layer](read).unflatten(1, x.shape[1:3])


class Heads(nn.Module):
    """Masks, classes and embeddings of the queries; the same heads after every round."""

    def __init__(self, dim: int, text_dim: int, maps: int = 0) -> None:
        super().__init__()
        self.of_maps = nn.Linear(dim, maps) if maps else None
        self.norm = nn.LayerNorm(dim)
        self.mask = MLP(dim, dim, dim, dim)
        self.to_text = nn.Linear(dim, text_dim)
        self.log_scale = nn.Parameter(torch.full((1, 1), START_SCALE))

    def forward(
        self,
        x: Tensor,
        mask_features: Tensor,
        count: int,
        prompts: Prompts | None,
        concepts: Tensor | None,
        order: Tensor | None,
    ) -> Found:
        """Queries `(B, Q + P, T, C)`, the first `count` of them learnable, to what they found."""
        b, _, t, _ = x.shape
        states = self.norm(x)
        kernels = self.mask(states)
        if order is not None:
            kernels = kernels[:, :, order.to(kernels.device)]
        features = mask_features.unflatten(0, (b, t))
        masks = torch.einsum("bqtc,btchw->bqthw", kernels, features)
        if self.of_maps is not None and prompts is not None and prompts.maps is not None:
            started = torch.einsum("bptm,bptmhw->bpthw", self.of_maps(states[:, count:]), prompts.maps)
            masks = torch.cat([masks[:, :count], masks[:, count:] + started], 1)
        sentences = None if prompts is None else prompts.sentences
        if sentences is None:
            return Found(masks, states, None if concepts is None else self.classes(states, concepts))
        if not self.training and count:
            masks = torch.cat([masks[:, :count], shared_masks(masks, states, count)], 1)
        words = torch.einsum("bqd,bpd->bqp", self.to_text(states).mean(2), sentences)
        return Found(masks, states, words / GROUNDING_SCALE if self.training else words)

    def classes(self, states: Tensor, concepts: Tensor) -> Tensor:
        """Scaled cosines of queries `(B, Q, T, C)` and classes `(N, D)`, mean over the frames: `(B, Q, N)`.

        The scale is that of CLIP, so that a sigmoid of these logits is no calibrated probability.
        """
        cosines = F.normalize(self.to_text(states), dim=-1) @ F.normalize(concepts, dim=-1).T
        return cosines.mean(2) * self.log_scale.exp()


def alikeness(states: Tensor, count: int) -> Tensor:
    """Cosines of all queries `(B, Q + P, T, C)` with the prompts among them, mean over frames: `(B, Q + P, P)`."""
    unit = F.normalize(states, dim=-1)
    return torch.einsum("bqtc,bptc->bqp", unit, unit[:, count:]) / states.shape[2]


def shared_masks(masks: Tensor, states: Tensor, count: int) -> Tensor:
    """Masks of the prompts `(B, P, T, H, W)`: the mean of each one's own and that of the learnable query most alike.

    Released models do so in every round for expressions, so that it also moves what they look at.
    """
    best = alikeness(states, count)[:, :count].argmax(1)  # (B, P)
    partner = torch.stack([each[index] for each, index in zip(masks, best, strict=True)])
    return (masks[:, count:] + partner) / 2


def _size(x: Tensor) -> tuple[int, int]:
    return x.shape[-2], x.shape[-1]

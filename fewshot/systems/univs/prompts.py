"""From what a prompt looks like to what the decoder is asked with.

Legend: B videos, P prompts, T frames, K tokens of each, C width, D width of the text.
"""

from __future__ import annotations

import torch
from torch import Tensor

from fewshot.systems.univs.decoder import Prompts


def mean_of_tokens(tokens: Tensor) -> Tensor:
    """Mean over the tokens that are not zero: `(..., K, C) -> (..., C)`, 0 without any."""
    there = (tokens != 0).any(-1, keepdim=True).to(tokens.dtype)
    return (tokens * there).sum(-2) / there.sum(-2).clamp(min=1)


def visual(
    start: Tensor,
    start_positions: Tensor,
    tokens: Tensor,
    positions: Tensor,
    task: Tensor,
    *,
    by_position: bool = True,
) -> Prompts:
    """Prompt queries that start as the mean of what their prompts look like.

    Args:
        start, start_positions: `(B, P, T, K, C)` tokens of each frame, from which the queries start.
        tokens, positions: `(B, P, T or 1, L, C)` what they read; the same ones, or those of a memory too.
        task: `(C,)` embedding of the task.
        by_position: whether their position is that of the prompt; else it is the mean feature.
    """
    content = mean_of_tokens(start)
    place = mean_of_tokens(start_positions) if by_position else content
    return Prompts(content + task, place, tokens, positions)


def classes(tokens: Tensor, task: Tensor) -> Prompts:
    """Names of classes as prompts: tokens `(B, P, T, 1, C)`, which lie nowhere."""
    first = tokens[..., 0, :]
    return Prompts(first + task, first, tokens)


def expressions(tokens: Tensor, sentences: Tensor, task: Tensor) -> Prompts:
    """Expressions as prompts.

    Args:
        tokens: `(B, P, T, 1 + words, C)`, the sentence first.
        sentences: `(B, P, D)` features of the sentences.
        task: `(C,)` embedding of the task.
    """
    first = tokens[..., 0, :]
    return Prompts(first + task, first, tokens, None, sentences)


def without_place(tokens: Tensor, task: Tensor) -> Prompts:
    """Visual prompts from other videos, `(B, P, 1, K, C)`: where they lay there says nothing here."""
    content = mean_of_tokens(tokens)
    return Prompts(content + task, content, tokens)


def together(looks: Prompts, words: Prompts) -> Prompts:
    """One prompt from what is shown, `(B, 1, 1, K, C)`, and what is said, `(B, 1, T, L, C)`, neither with a place."""
    frames = words.tokens.shape[2]
    tokens = torch.cat([looks.tokens.expand(-1, -1, frames, -1, -1), words.tokens], 3)
    return Prompts(looks.content + words.content, looks.place + words.place, tokens)


def for_frames(prompts: Prompts, frames: int) -> Prompts:
    """Prompts that are the same in all of `frames` frames: content and place `(B, P, 1, C)` to `(B, P, T, C)`."""
    content, place = (x.expand(-1, -1, frames, -1) for x in (prompts.content, prompts.place))
    return Prompts(content, place, prompts.tokens, prompts.positions, prompts.sentences)

"""State of the supports in UniRef: keys and values of every level, as one sequence of tokens per episode.

Legend: B episodes, S tokens of all support frames of a level, C width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from einops import rearrange
from torch import Tensor

from fewshot.nn.unifusion import FusionReference


@dataclass(frozen=True)
class UniRefState:
    """Encoded mask references of `B` episodes or clips.

    Attributes:
        levels: at strides 8, 16, 32 and 64, each reference once.
        images: number of support frames behind each reference.
        repeats: so many query clips in a row are asked by each reference.
    """

    levels: tuple[FusionReference, ...]
    images: int = 1
    repeats: int = 1

    def __len__(self) -> int:
        return self.levels[0].keys.shape[0] * self.repeats

    def repeat(self, expressions: int) -> UniRefState:
        """Each episode's state for its `expressions` query clips: `B` states become `B * expressions`."""
        return replace(self, repeats=self.repeats * expressions)

    def for_clips(self, copies: int) -> tuple[FusionReference, ...]:
        """The levels for query clips of which `copies` in a row show the same frames.

        Where these clips share their reference too, each is there once, since they read the same from it.
        """
        if self.repeats in (1, copies):
            return self.levels
        return tuple(
            FusionReference(*(x.repeat_interleave(self.repeats, 0) for x in parts_of(level))) for level in self.levels
        )

    def __getitem__(self, rows: slice) -> UniRefState:
        """Some of the references, in memory of their own: a video keeps one long after the others are forgotten."""
        assert self.repeats == 1, "a reference is taken out before it is repeated"
        levels = (FusionReference(*(x[rows].clone() for x in parts_of(level))) for level in self.levels)
        return replace(self, levels=tuple(levels))

    def stack(self, others: Sequence[UniRefState]) -> UniRefState:
        """The references of all, for as many more clips; each with as many tokens.

        Raises:
            ValueError: the references of one are made of another number of frames.
        """
        if any((other.images, other.repeats) != (self.images, 1) for other in (self, *others)):
            raise ValueError(f"references of {[s.images for s in (self, *others)]} frames cannot be stacked")
        rows = (
            zip(*map(parts_of, same), strict=True) for same in zip(*(s.levels for s in (self, *others)), strict=True)
        )
        return replace(self, levels=tuple(FusionReference(*map(torch.cat, parts)) for parts in rows))

    def join(self, other: UniRefState) -> UniRefState:
        """The references of both, as if their frames had been encoded together: more tokens, the mean embedding.

        Raises:
            ValueError: the two hold different numbers of references.
        """
        if (len(self), self.repeats) != (len(other), other.repeats):
            raise ValueError(f"states of {len(self)} and of {len(other)} references cannot be joined")
        images = self.images + other.images
        levels = tuple(
            FusionReference(
                torch.cat([a.keys, b.keys], 1),
                torch.cat([a.values, b.values], 1),
                torch.cat([a.padding, b.padding], 1),
                (self.images * a.embed + other.images * b.embed) / images,
            )
            for a, b in zip(self.levels, other.levels, strict=True)
        )
        return UniRefState(levels, images, self.repeats)


def parts_of(reference: FusionReference) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Its tensors, each with a row for each reference."""
    return reference.keys, reference.values, reference.padding, reference.embed


def mask_reference(keys: Tensor, values: Tensor, padding: Tensor, episodes: int) -> FusionReference:
    """Support frames of one level as references: the frames of a reference become one sequence of tokens.

    The embedding is the mean of the keys over the unpadded frame, object or not; over several frames, the mean of
    theirs (UniRef++, arXiv 2312.15715, section 3.2).

    Args:
        keys, values: `(B * frames, C, h, w)`; padding: `(B * frames, h, w)` bool.
        episodes: B.
    """
    there = (~padding)[:, None].to(keys.dtype)
    means = (keys * there).sum((2, 3)) / there.sum((2, 3)).clamp(min=1)
    return FusionReference(
        rearrange(keys, "(b f) c h w -> b (f h w) c", b=episodes),
        rearrange(values, "(b f) c h w -> b (f h w) c", b=episodes),
        rearrange(padding, "(b f) h w -> b (f h w)", b=episodes),
        rearrange(means, "(b f) c -> b f c", b=episodes).mean(1),
    )

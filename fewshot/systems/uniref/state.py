"""What UniRef remembers of the supports: keys and values of every level, as one sequence of tokens per episode.

Legend: B references, S tokens of all support frames of a level, C width.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from einops import rearrange
from torch import Tensor

from fewshot.nn.unifusion import FusionReference


@dataclass(frozen=True)
class UniRefState:
    """Encoded mask references of `B` episodes or clips.

    Attributes:
        levels: at strides 8, 16, 32 and 64.
        images: number of support frames behind each reference.
    """

    levels: tuple[FusionReference, ...]
    images: int = 1

    def __len__(self) -> int:
        return self.levels[0].keys.shape[0]

    def repeat(self, expressions: int) -> UniRefState:
        """Each episode's state for its `expressions` query clips: `B` states become `B * expressions`."""
        levels = tuple(
            FusionReference(
                r.keys.repeat_interleave(expressions, 0),
                r.values.repeat_interleave(expressions, 0),
                r.padding.repeat_interleave(expressions, 0),
                r.embed.repeat_interleave(expressions, 0),
            )
            for r in self.levels
        )
        return UniRefState(levels, self.images)

    def join(self, other: UniRefState) -> UniRefState:
        """The references of both, as if their frames had been encoded together: more tokens, the mean embedding.

        Raises:
            ValueError: the two hold different numbers of references.
        """
        if len(self) != len(other):
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
        return UniRefState(levels, images)


def mask_reference(keys: Tensor, values: Tensor, padding: Tensor, references: int) -> FusionReference:
    """Support frames of one level as references: the frames of a reference become one sequence of tokens.

    The embedding is the mean of the keys over the unpadded frame, object or not; over several frames, the mean of
    theirs (UniRef++, arXiv 2312.15715, section 3.2).

    Args:
        keys, values: `(B * frames, C, h, w)`; padding: `(B * frames, h, w)` bool.
    """
    there = (~padding)[:, None].to(keys.dtype)
    means = (keys * there).sum((2, 3)) / there.sum((2, 3)).clamp(min=1)
    return FusionReference(
        rearrange(keys, "(b f) c h w -> b (f h w) c", b=references),
        rearrange(values, "(b f) c h w -> b (f h w) c", b=references),
        rearrange(padding, "(b f) h w -> b (f h w)", b=references),
        rearrange(means, "(b f) c -> b f c", b=references).mean(1),
    )


def check_references(state: UniRefState | None, clips: int) -> None:
    """Whether there is a reference for each of `clips` query clips, or none at all."""
    if state is not None and len(state) != clips:
        raise ValueError(f"{clips} query clips for {len(state)} references: repeat the state for each expression")

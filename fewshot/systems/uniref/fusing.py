"""References in both models of UniRef++: encode the words, and fuse features with words and masks.

Legend: N clips, T frames, n = N * T, C width; a level is a map of features `(n, C, h, w)`.
"""

from __future__ import annotations

from collections.abc import Sequence

from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.fusion import Words
from fewshot.nn.text import TextEncoder
from fewshot.nn.unifusion import FusionReference, UniFusion


def all_or_none(expressions: Sequence[str | None]) -> list[str] | None:
    """The expressions of a batch, or None if it has none.

    Raises:
        ValueError: some clips have one and others have not.
    """
    found = [text for text in expressions if text is not None]
    if not found:
        return None
    if len(found) < len(expressions):
        missing = [n for n, text in enumerate(expressions) if text is None]
        raise ValueError(
            f"query clips {missing} of a batch of {len(expressions)} have no expression and the others have: all clips "
            "of a batch must have the same kind of reference"
        )
    return found


def encode_words(
    expressions: Sequence[str | None], text: TextEncoder | None, projection: nn.Module | None, model: str
) -> Words | None:
    """Words of `N` expressions; None where no clip has one.

    Raises:
        ValueError: only some clips have one, or `model` (its name) was built without a text encoder.
    """
    texts = all_or_none(expressions)
    if texts is None:
        return None
    if text is None or projection is None:
        raise ValueError(
            f"this {model} was built without a text encoder (text=None) and cannot read {texts[0]!r}: give it "
            "supports, or build it with one"
        )
    return projection(*text(texts))


def fuse_level(
    fusion: UniFusion,
    level: Tensor,
    words: Words | None,
    masks: FusionReference | None,
    clips: int,
    positions: Tensor | None = None,
) -> Tensor:
    """A level `(n, C, h, w)` that knows the references of its clips. The frames of a clip are one sequence.

    Where a reference holds several rows for each of the `clips`, the level that comes back has as many more frames.

    Args:
        positions: codes `(N, C, h, w)` of the places of each clip, with which they ask the words; None: without.
    """
    language = words and FusionReference(words.features, words.features, words.padding, words.sentence)
    tokens = rearrange(level, "(n t) c h w -> n (t h w) c", n=clips)
    places = None if positions is None else tokens_of_places(positions, len(level) // clips)
    tokens = fusion(tokens, language, masks, places)
    h, w = level.shape[-2:]
    return rearrange(tokens, "n (t h w) c -> (n t) c h w", h=h, w=w)


def tokens_of_places(positions: Tensor, frames: int) -> Tensor:
    """Codes of places `(N, C, h, w)` as tokens `(N, T * h * w, C)` of clips of `frames` frames."""
    return rearrange(positions, "n c h w -> n (h w) c").repeat(1, frames, 1)

"""`InputRule`: how frames become network input, for testing, users' own pictures and stored weights alike."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from numbers import Integral
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from episodes.transforms.clips import ResizeTransform

RULES = {
    "short": "the short side",
    "pad": "the long side",
    "pad8": "the long side",
    "square": "both sides",
    "fit": "the short side",
}
SHORTEST_SIDE, LONGEST_SIDE = 8, 8192  # of network input, in pixels
# PFENet's and UniRef++'s test: the long side is at most so many times the short one
LONG_FRACTION = 1.6


@dataclass(frozen=True)
class InputRule:
    """A resizing rule with its numbers. Frames are then normalised as ImageNet's; masks keep their resolution.

    Attributes:
        rule: `short`: the short side becomes `size`, less where the long side would pass `max_size` (DETR); `pad`: the
            long side becomes `size`, and the batch pads the rest (Segment Anything); `pad8`: as `pad`, then both sides
            are cut down to multiples of 8 (PFENet: a long side of 473 gives 472 pixels of image); `square`: frames are
            squashed to `size` x `size` (HSNet); `fit`: as `short`, but sides are rounded as in Detectron2 (UniRef++'s
            tasks).
        size: in pixels.
        max_size: limit of the long side in pixels, for `short` and `fit`; None: no limit. `fit` needs one; where both
            are equal, the long side alone counts.

    Raises:
        ValueError: an unknown rule, a size below 1 pixel, or no limit for `fit`.
    """

    rule: str = "short"
    size: int = 360
    max_size: int | None = None

    def __post_init__(self) -> None:
        if self.rule not in RULES:
            raise ValueError(f"unknown input rule {self.rule!r}: valid are {', '.join(RULES)}")
        if self.size < 1:
            raise ValueError(f"size must be at least 1 pixel, got {self.size}")
        if self.rule == "fit" and self.max_size is None:
            raise ValueError("input rule 'fit' needs a limit of the long side: give max_size")

    def at(self, size: int | None) -> InputRule:
        """The same rule with another `size`, the limit of the long side in proportion; None: as it is.

        Raises ValueError for a size that is no whole number from 8 to 8192.
        """
        if size is None:
            return self
        if not isinstance(size, Integral) or not SHORTEST_SIDE <= size <= LONGEST_SIDE:
            raise ValueError(f"size={size!r}: give a whole number of pixels from {SHORTEST_SIDE} to {LONGEST_SIDE}")
        limit = None if self.max_size is None else max(size, round(self.max_size * size / self.size))
        return replace(self, size=int(size), max_size=limit)

    def transform(self) -> ResizeTransform:
        """From a clip of uint8 frames as read to network input."""
        from episodes.transforms import clips  # here, so that a configuration does not wait for torchvision

        if self.rule == "square":
            return clips.SquareTransform(self.size)
        if self.rule == "pad8":
            return clips.EightsTransform(self.size)
        if self.rule == "pad":
            return clips.PadTransform(self.size)
        if self.max_size is None:
            return clips.TestTransform(self.size)
        if self.rule == "fit":
            return clips.FitTransform(self.size, self.max_size)
        return clips.ShortLongTransform(self.size, self.max_size)

    def to_json(self) -> dict[str, Any]:
        """Plain types, for the file beside stored weights."""
        return asdict(self)

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> InputRule:
        """The inverse of `to_json`."""
        return InputRule(**data)

    def __str__(self) -> str:
        """In words, for cards: `short side 360`, `long side 473`, `400x400`."""
        if self.rule == "square":
            return f"{self.size}x{self.size}"
        if self.rule == "fit" and self.size != self.max_size:
            return f"short side {self.size}, long side at most {self.max_size}"
        return f"{'short' if self.rule == 'short' else 'long'} side {self.size}"

"""Panoptic maps: every pixel has the id of a segment, and a list gives each segment of a frame its category.

In files an id is a colour, red + 256 green + 256^2 blue (Kirillov et al., "Panoptic Segmentation", CVPR 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

VOID_ID = 0
GROUPS = ("thing_seen", "thing_unseen", "stuff_seen", "stuff_unseen")  # of classes, by what training has seen


class Segment(NamedTuple):
    """An entry of the list of a frame."""

    id: int
    category: int
    crowd: bool = False


@dataclass(frozen=True, eq=False)
class PanopticFrame:
    """A frame: its `name`, its map `(H, W)` of ids (0: void) and the list of its segments."""

    name: str
    ids: NDArray[np.integer]
    segments: Sequence[Segment]


@dataclass(frozen=True)
class PanopticClasses:
    """Categories of a data set, by id: things, which are counted, and stuff, which is not."""

    things: frozenset[int]
    stuff: frozenset[int]

    @property
    def all(self) -> tuple[int, ...]:
        """All categories in ascending order."""
        return tuple(sorted(self.things | self.stuff))


def ids_of_colours(colours: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """Ids `(H, W)` of a picture `(H, W, 3)`."""
    red, green, blue = (colours[..., channel].astype(np.uint32) for channel in range(3))
    return red + 256 * green + 256**2 * blue


def colours_of_ids(ids: NDArray[np.integer]) -> NDArray[np.uint8]:
    """A picture `(H, W, 3)` of ids `(H, W)`. Raises ValueError for an id that has no colour."""
    if ids.size and (ids.min() < 0 or ids.max() >= 256**3):
        raise ValueError(f"ids of panoptic maps are 0 to {256**3 - 1}, got {ids.min()} to {ids.max()}")
    return np.stack([(ids >> shift & 255).astype(np.uint8) for shift in (0, 8, 16)], axis=-1)


def list_fault(shown: Sequence[int] | NDArray[np.integer], listed: Sequence[int]) -> str:
    """Difference between the ids of a map (void among them or not) and those of its list, in words; '' for none."""
    there, known = {int(k) for k in shown} - {VOID_ID}, set(listed)
    if len(known) < len(listed) or VOID_ID in known:
        return "the list has an id twice, or 0, which is void"
    if strange := sorted(there - known):
        return f"id {strange[0]} of the map is not in its list"
    if absent := sorted(known - there):
        return f"segment {absent[0]} of the list has no pixel in the map"
    return ""

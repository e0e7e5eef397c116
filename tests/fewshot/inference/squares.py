"""Pictures of coloured squares, with their masks, as users give them."""

from __future__ import annotations

import numpy as np

GREEN, RED, BLUE = (40, 160, 60), (220, 30, 30), (30, 40, 220)


def picture(**squares: tuple[int, int]) -> np.ndarray:
    """A green picture `(64, 96, 3)` with 24-pixel squares at the given corners."""
    image = np.full((64, 96, 3), GREEN, np.uint8)
    for name, (top, left) in squares.items():
        image[top : top + 24, left : left + 24] = {"red": RED, "blue": BLUE}[name]
    return image


def square(top: int, left: int) -> np.ndarray:
    mask = np.zeros((64, 96), bool)
    mask[top : top + 24, left : left + 24] = True
    return mask


RED_SUPPORT = (picture(red=(8, 8)), square(8, 8))
BLUE_SUPPORT = (picture(blue=(32, 40)), square(32, 40))
BOTH = picture(red=(32, 8), blue=(8, 64))
VIDEO = np.stack([picture(red=(8, 8 * k)) for k in range(7)])

"""Connected parts of masks: the largest one alone, and no holes."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

DIAGONALS_TOO = np.ones((3, 3), bool)  # pixels that touch at a corner belong together


def largest_components(masks: Tensor) -> Tensor:
    """Masks `(T, H, W)` bool with the largest connected part of each frame alone; of equal ones the first in rows."""
    return _each(masks, _largest)


def without_holes(masks: Tensor) -> Tensor:
    """Masks `(T, H, W)` bool with every hole filled: background without a way to the edge of the frame.

    A way leads from pixel to pixel over their sides, not their corners.
    """
    return _each(masks, _filled)


def _each(masks: Tensor, change: Callable[[np.ndarray], np.ndarray]) -> Tensor:
    return torch.stack([torch.from_numpy(change(mask)) for mask in masks.numpy()])


def _largest(mask: np.ndarray) -> np.ndarray:
    parts, count = ndimage.label(mask, DIAGONALS_TOO)
    return mask if count < 2 else parts == 1 + np.bincount(parts.ravel())[1:].argmax()


def _filled(mask: np.ndarray) -> np.ndarray:
    """One labelling of the background: scipy's own filling goes over the picture once for each pixel of depth."""
    parts, count = ndimage.label(~mask)
    edges = np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]])
    open_to_edge = np.isin(np.arange(count + 1), edges)
    return mask | ~open_to_edge[parts] if count else mask

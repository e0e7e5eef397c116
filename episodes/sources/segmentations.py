"""Masks as COCO writes them: polygons, or run lengths as numbers or as a string."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco_mask


def as_runs(segmentation: Any, height: int, width: int) -> dict[str, Any]:
    """Run lengths (`size` and the string `counts`) of a COCO segmentation; no polygon at all is an empty mask.

    Raises ValueError for anything else, a polygon of less than three corners, or run lengths of another size.
    """
    if isinstance(segmentation, dict):
        if list(segmentation["size"]) != [height, width]:
            raise ValueError(f"run lengths of size {segmentation['size']} in an image of {[height, width]}")
        return segmentation if isinstance(segmentation["counts"], (str, bytes)) else _compress(segmentation)
    if not isinstance(segmentation, list) or any(len(polygon) < 6 or len(polygon) % 2 for polygon in segmentation):
        raise ValueError("neither run lengths nor polygons of at least three corners")
    if not segmentation:
        return coco_mask.encode(np.zeros((height, width), dtype=np.uint8, order="F"))
    return coco_mask.merge(coco_mask.frPyObjects(segmentation, height, width))


def decode(segmentation: Any, height: int, width: int) -> np.ndarray:
    """The mask `(H, W)` bool of a COCO segmentation. Errors as of `as_runs`."""
    return coco_mask.decode(as_runs(segmentation, height, width)).astype(bool)


def runs_of(mask: NDArray) -> dict[str, Any]:
    """Run lengths of a mask `(H, W)` bool, of plain types."""
    runs = coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))
    return {"size": [int(side) for side in runs["size"]], "counts": runs["counts"].decode("ascii")}


def _compress(runs: dict[str, Any]) -> dict[str, Any]:
    height, width = runs["size"]
    if sum(runs["counts"]) != height * width:
        raise ValueError(f"run lengths of {sum(runs['counts'])} pixels in an image of {height * width}")
    return coco_mask.frPyObjects(runs, height, width)

"""Masks on disk, in the layout that the CMA code writes and the referring benchmarks' servers read.

One grey PNG per frame, 0 or 255, at the original size: `<folder>/<video>/<expression id>/<frame>.png`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image


def write_masks(
    folder: Path | str, video: str, expression_id: str, frames: Sequence[str], masks: NDArray[np.bool_]
) -> list[Path]:
    """Write the masks `(T, H, W)` bool of one query and return the paths of the files, in frame order.

    Raises:
        ValueError: the number of frame names is not that of the masks.
    """
    if len(frames) != len(masks):
        raise ValueError(f"video {video!r}: {len(frames)} frame names for {len(masks)} masks")
    target = Path(folder) / video / expression_id
    target.mkdir(parents=True, exist_ok=True)
    paths = [target / f"{frame}.png" for frame in frames]
    for path, mask in zip(paths, masks, strict=True):
        Image.fromarray(mask.astype(np.uint8) * 255).save(path)
    return paths

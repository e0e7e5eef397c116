"""Predicted masks on disk, in the layout that the CMA code writes and the referring benchmarks' servers read.

`<folder>/<video>/<expression id>/<frame>.png` at the original size; servers want the folder to be `Annotations`.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from numpy.typing import NDArray

from benchmarks.png import write_labels, write_mask

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


def write_masks(
    folder: Path | str,
    video: str,
    expression_id: str,
    frames: Sequence[str],
    masks: NDArray,
    *,
    palette: bool = False,
) -> list[Path]:
    """Write the masks `(T, H, W)` of one query and return the paths of the files, in frame order.

    Args:
        frames: names of the `T` frames, with or without the suffix of an image file.
        masks: bool for greyscale PNGs of 0 and 255; ids in 0..255 with `palette`.
        palette: write palette PNGs with the ids as values.

    Raises:
        ValueError: the number of frame names is not that of the masks, or a name would leave its folder.
    """
    if len(frames) != len(masks):
        raise ValueError(f"video {video!r}: {len(frames)} frame names for {len(masks)} masks")
    target = Path(folder) / _part(video) / _part(expression_id)
    paths = [target / f"{_part(_stem(frame))}.png" for frame in frames]
    write = write_labels if palette else write_mask
    for path, mask in zip(paths, masks, strict=True):
        write(path, mask)
    return paths


def _stem(frame: str) -> str:
    """The name without the suffix of an image file (other dots belong to the name)."""
    suffix = Path(frame).suffix
    return frame[: -len(suffix)] if suffix.lower() in IMAGE_SUFFIXES else frame


def _part(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or "\\" in name:
        raise ValueError(f"{name!r} cannot be the name of a mask file or of its folder")
    return name

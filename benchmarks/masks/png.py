"""Label maps as PNG files: palette images (value = object id) and binary masks (0 and 255)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, UnidentifiedImageError

from episodes.plain_files import open_image

Labels = NDArray[np.uint8]


def read_labels(path: Path | str) -> Labels:
    """Values of a palette, greyscale or 1-bit PNG: `(H, W)` uint8.

    Raises:
        ValueError: the file is missing, broken or truncated, or has colours instead of ids.
    """
    try:
        with open_image(Path(path), str(path)) as image:
            if image.format != "PNG":
                raise ValueError(f"{path} is a {image.format} image: label maps are PNGs, other formats change the ids")
            if image.mode not in ("P", "L", "1"):
                raise ValueError(f"{path} is a {image.mode} image: label maps are palette or greyscale PNGs")
            return np.asarray(image).astype(np.uint8, copy=False)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is missing") from error
    except (UnidentifiedImageError, OSError, SyntaxError) as error:
        raise ValueError(f"{path} cannot be read as a PNG ({error}): write it again") from error


class LabelFiles(Sequence[Labels]):
    """Label maps `<folder>/<name>.png`, `(H, W)` uint8 each, of one size; a file is read when it is asked for.

    Args:
        binary: every pixel above 0 is object 1.
    """

    def __init__(self, folder: Path | str, names: Sequence[str], binary: bool = False) -> None:
        self.folder, self.names, self.binary = Path(folder), tuple(names), binary
        self._read: tuple[str, tuple[int, ...]] | None = None  # a name, and the size of its map

    def __len__(self) -> int:
        return len(self.names)

    def __getitem__(self, at: Any) -> Any:
        """The map of a frame by its index, or some of the frames, which are not read yet.

        Raises:
            ValueError: the file is missing, broken or of another size than those read before.
        """
        if isinstance(at, slice):
            return LabelFiles(self.folder, self.names[at], self.binary)
        path = self.folder / f"{self.names[at]}.png"
        labels = read_labels(path)
        self._read = self._read or (path.name, labels.shape)
        if labels.shape != self._read[1]:
            raise ValueError(f"{path} has the size {labels.shape}, but {self._read[0]} has {self._read[1]}")
        return np.minimum(labels, 1) if self.binary else labels


def davis_palette() -> bytes:
    """The colours of the PASCAL VOC and DAVIS palettes: bit k of the id, three at a time, to the high colour bits."""
    ids = np.arange(256)
    colours = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            colours[:, channel] |= (((ids >> (3 * bit + channel)) & 1) << (7 - bit)).astype(np.uint8)
    return colours.tobytes()


def write_labels(path: Path | str, labels: NDArray) -> None:
    """Write a map of ids 0..255 `(H, W)` as a palette PNG; missing folders are created."""
    image = Image.fromarray(_plane(labels).astype(np.uint8))
    image.putpalette(davis_palette())
    _save(image, Path(path))


def write_mask(path: Path | str, mask: NDArray) -> None:
    """Write a mask `(H, W)` as a greyscale PNG of 0 and 255; missing folders are created."""
    _save(Image.fromarray(np.where(_plane(mask) > 0, 255, 0).astype(np.uint8)), Path(path))


def _plane(values: NDArray) -> NDArray:
    values = np.asarray(values)
    if values.ndim != 2:
        raise ValueError(f"a mask must be (H, W), got {values.shape}")
    return values


def _save(image: Image.Image, path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    image.save(path)

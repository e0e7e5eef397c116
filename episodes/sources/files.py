"""Reads frames and masks from files, with an optional cache in memory that is bounded in bytes."""

from __future__ import annotations

import os
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from PIL import Image

from episodes.plain_files import UnsuitableFile, open_image

Read = TypeVar("Read")


def cache_folder(cache: Path | str | None = None) -> Path:
    """Folder for generated files: `cache`, or `$FEWSHOT_CACHE`, or `~/.cache/fewshot`. It need not exist."""
    return Path(cache or os.environ.get("FEWSHOT_CACHE") or Path.home() / ".cache" / "fewshot").expanduser()


class ArrayCache:
    """The most recently used arrays, at most `limit` bytes of them. `limit` 0 keeps nothing."""

    def __init__(self, limit: int) -> None:
        if limit < 0:
            raise ValueError(f"cache_frames must be 0 (no cache) or a number of bytes, got {limit}")
        self.limit = limit
        self.used = 0
        self._arrays: OrderedDict[Path, np.ndarray] = OrderedDict()

    def __getstate__(self) -> dict[str, Any]:
        """Nothing of the content: in another process the cache starts empty."""
        return {"limit": self.limit, "used": 0, "_arrays": OrderedDict()}

    def get(self, path: Path, read: Callable[[Path], np.ndarray]) -> np.ndarray:
        """The array of `path`, from memory or from `read(path)`."""
        if path in self._arrays:
            self._arrays.move_to_end(path)
            return self._arrays[path]
        array = read(path)
        if array.nbytes <= self.limit:
            self._arrays[path] = array
            self.used += array.nbytes
            while self.used > self.limit:
                self.used -= self._arrays.popitem(last=False)[1].nbytes
        return array


def read_image(path: Path) -> np.ndarray:
    """RGB pixels `(H, W, 3)` uint8. Raises FileNotFoundError or ValueError (damaged, no image, more than 8 bits)."""
    return _decode(path, "frame", lambda image: np.asarray(image.convert("RGB")))


def header_error(picture: Path, mask: Path, size: tuple[int, int]) -> str:
    """Sentence on the fault of an image of which only the header is read; empty if there is none.

    `size` is the height and width of its mask; `(0, 0)` if that is not known.
    """
    try:
        with open_image(picture, f"image {picture}") as opened:
            width, height = opened.size
    except FileNotFoundError:
        return f"image {picture} is missing: restore it, or remove its mask (in COCO: its entry)"
    except UnsuitableFile as error:
        return str(error)
    except Exception as error:  # as in `_decode`
        return f"image {picture} cannot be read ({error}): restore the file"
    if any(size) and size != (height, width):
        return f"mask {mask} is {size[0]}x{size[1]}, but its image is {height}x{width}: they must be of one size"
    return ""


def read_labels(path: Path) -> np.ndarray:
    """Object ids `(H, W)` uint8 of a palette or grey PNG. Raises FileNotFoundError or ValueError."""

    def labels(image: Image.Image) -> np.ndarray:
        if image.mode not in ("P", "L", "1"):
            raise ValueError(f"it has mode {image.mode} instead of a palette or grey levels that are object ids")
        return np.asarray(image).astype(np.uint8)

    return _decode(path, "mask", labels)


def read_grey(path: Path) -> np.ndarray:
    """Grey levels `(H, W)` uint8 of a mask of any mode. Raises FileNotFoundError or ValueError."""
    return _decode(path, "mask", lambda image: np.asarray(image.convert("L")))


def read_marks(path: Path) -> tuple[np.ndarray, bool]:
    """Values `(H, W)` uint8 of a mask of any mode: numbers of its palette and True, else grey levels and False.

    Raises FileNotFoundError or ValueError.
    """

    def marks(image: Image.Image) -> tuple[np.ndarray, bool]:
        palette = image.mode == "P"
        return np.asarray(image if palette else image.convert("L")), palette

    return _decode(path, "mask", marks)


def missing_files(folder: Path, what: str, names: Sequence[str]) -> list[str]:
    """One sentence that names the files of `names` that `folder` lacks; none where it has them all."""
    if not folder.is_dir():
        return [f"folder {folder} is missing: restore it, or remove the video from the lists"]
    there = {path.name for path in folder.iterdir()}
    absent = [name for name in names if name not in there]
    if not absent:
        return []
    shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
    return [f"{what} {shown} missing in {folder}: restore the file, or remove it from the lists"]


def _decode(path: Path, what: str, convert: Callable[[Image.Image], Read]) -> Read:
    try:
        with open_image(path, f"{what} {path}") as image:
            return convert(image)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{what} {path} is missing: restore the file, or remove it from the lists") from error
    except UnsuitableFile:
        raise
    except Exception as error:  # PIL reports damage as OSError, SyntaxError, ValueError, struct.error and others
        raise ValueError(f"{what} {path} cannot be read ({error}): restore the file") from error

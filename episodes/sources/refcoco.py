"""Referring image segmentation on disk: RefCOCO, RefCOCO+ and RefCOCOg over the images of COCO train2014.

Each object that expressions refer to is an entry of its own, and stands for its image: a clip of one frame "0" with
one object, 1. Several entries may share an image.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.sources.base import Expression
from episodes.sources.files import ArrayCache, read_image
from episodes.sources.refcoco_index import ALIASES, RefObject, find_images, find_lists
from episodes.sources.segmentations import decode
from episodes.sources.task_source import OBJECT, TaskSource, unknown_name
from episodes.task_items import RISItem

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

FRAME = ("0",)
REFERRED = 1  # the object id of an entry's one object


class RefCOCOSource(TaskSource):
    """Objects of COCO images with expressions that refer to them.

    Args:
        name: the benchmark.
        root: the folder that the user gave, for messages.
        split: for messages.
        images: folder of the image files.
        entries: the objects by name, see `refcoco_index`.
        cache_frames: bytes of decoded images to keep in memory; 0 keeps none.
    """

    task = "ris"

    def __init__(
        self,
        name: str,
        root: Path,
        split: str,
        images: Path,
        entries: dict[str, RefObject],
        *,
        cache_frames: int = 0,
    ) -> None:
        self.name, self.root, self.split = name, root, split
        self.images, self.entries = images, entries
        self._cache = ArrayCache(cache_frames)

    def names(self) -> tuple[str, ...]:
        """Names of the objects' entries, in order of number."""
        return tuple(self.entries)

    def frames(self, video: str) -> tuple[str, ...]:
        """The one frame `0`. Raises KeyError for an unknown entry."""
        self._entry(video)
        return FRAME

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """Expressions of the object. Raises ValueError for a broken entry."""
        texts = self._sound(video).expressions
        return tuple(Expression(str(k), text, REFERRED, OBJECT) for k, text in enumerate(texts))

    def items(self) -> Iterator[RISItem]:
        """Items to test, one for each expression. Raises ValueError for a broken entry."""
        for name in self.names():
            for said in self.expressions(name):
                yield RISItem(name, said.id, said.text, REFERRED)

    def image_path(self, video: str) -> Path:
        """File of an entry's image; `train2014/` may stand before the name in the lists."""
        name = Path(self._entry(video).file)
        return self.images / name if (self.images / name).is_file() else self.images / name.name

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB, the image once for each of `frames`."""
        pixels = self._cache.get(self.image_path(video), read_image)
        return torch.from_numpy(np.stack([pixels] * len(frames))).permute(0, 3, 1, 2).contiguous()

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Mask `(T, H, W)` bool of the entry's object. Raises ValueError for another id or no pixel."""
        if object_id != REFERRED:
            raise ValueError(f"{self.where(video, FRAME[0])} has the one object {REFERRED}, not {object_id}")
        mask = self._mask(video)
        if not mask.any():
            raise ValueError(f"{self.where(video, FRAME[0])} has an empty mask: correct its segmentation, or remove it")
        return torch.from_numpy(np.stack([mask] * len(frames)))

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True for the entry's object if its mask has a pixel."""
        return object_id == REFERRED and bool(self._mask(video).any())

    def where(self, video: str, frame: str) -> str:
        """Name of the list and the entry, for messages."""
        return self._entry(video).where

    def members(self) -> frozenset[str]:
        """The image files: several entries are of one image."""
        return frozenset(Path(entry.file).name for entry in self.entries.values())

    def problems(self) -> list[str]:
        """Broken entries and missing images, one sentence each. Reads folder listings, no images."""
        found = [line for entry in self.entries.values() for line in entry.errors]
        if not self.images.is_dir():
            return [*found, f"folder {self.images} is missing: it must hold the images of COCO train2014"]
        there = {path.name for path in self.images.rglob("*.jpg")}
        absent = sorted({name for entry in self.entries.values() if (name := Path(entry.file).name) not in there})
        if absent:
            shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
            found.append(f"image {shown} missing in {self.images}: restore the file, or remove it from the lists")
        return found

    def content(self) -> Any:
        """Entries with file, size, segmentation and words."""
        return [[name, e.file, e.size, e.segmentation, e.expressions] for name, e in self.entries.items()]

    def _mask(self, video: str) -> np.ndarray:
        entry = self._sound(video)
        try:
            return decode(entry.segmentation, *entry.size)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"{entry.where}: its segmentation cannot be read ({error}): correct it") from error

    def _sound(self, video: str) -> RefObject:
        entry = self._entry(video)
        if entry.errors:
            raise ValueError("; ".join(entry.errors))
        return entry

    def _entry(self, video: str) -> RefObject:
        if video not in self.entries:
            raise unknown_name(self, video)
        return self.entries[video]


def open_refcoco(row: DataSet, opening: Opening) -> RefCOCOSource:
    """Reader of RefCOCO, RefCOCO+ or RefCOCOg, see `find_lists`. Raises FileNotFoundError or ValueError."""
    root = _folder(opening)
    return _open(row, opening, find_lists(row.name, root, opening.split))


def open_refcoco_mixed(row: DataSet, opening: Opening) -> RefCOCOSource:
    """Reader of the objects of all three data sets together, as UniRef++ trains on them.

    The set stands before an entry's name. Raises FileNotFoundError or ValueError.
    """
    root = _folder(opening)
    lists = {part: find_lists(part, root, opening.split) for part in ALIASES}
    return _open(row, opening, {f"{part}-{key}": entry for part in lists for key, entry in lists[part].items()})


def _folder(opening: Opening) -> Path:
    root = opening.folder
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: give the folder that holds the data set")
    return root


def _open(row: DataSet, opening: Opening, entries: dict[str, RefObject]) -> RefCOCOSource:
    root = _folder(opening)
    return RefCOCOSource(row.name, root, opening.split, find_images(root), entries, cache_frames=opening.cache_frames)

"""MeViS on disk: videos with expressions of motion, which mean one object or several (Ding et al., ICCV 2023)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.plain_files import UnsuitableFile
from episodes.sources.entries import load_entries, words
from episodes.sources.index import load_json
from episodes.sources.ref_index import RefLayout, RefVideo
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.segmentations import decode
from episodes.sources.video_files import order_faults
from episodes.task_items import RVOSItem

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

SAYINGS, MASKS = "meta_expressions.json", "mask_dict.json"


class MevisSource(RefVideoSource):
    """Videos with expressions; the object of an expression is all that it means together.

    Its id is the place of the expression in its video, from 1: expressions that mean the same objects have ids of their
    own. Masks are run lengths in `mask_dict.json`, one for each annotation and frame, or null where it is absent.

    Args:
        base: folder of the split.
        meant: (video, object id) -> the annotations that are meant; empty where a server keeps them.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        split: str,
        base: Path,
        layout: RefLayout,
        meant: dict[tuple[str, int], tuple[str, ...]],
        *,
        cache_frames: int = 0,
    ) -> None:
        super().__init__(name, root, split, layout, cache_frames=cache_frames)
        self.masks_file, self.meant = base / MASKS, meant

    def __getstate__(self) -> dict[str, Any]:
        """Without the masks, which another process reads for itself."""
        return {name: value for name, value in self.__dict__.items() if name != "masks"}

    @cached_property
    def masks(self) -> dict[str, Any]:
        """Annotation -> run lengths or null of each frame of its video."""
        if not self.masks_file.is_file():
            raise FileNotFoundError(f"{self.masks_file} is missing: it holds the masks of {self.name} ({self.split})")
        try:
            content = load_entries(self.masks_file)
        except UnsuitableFile:
            raise
        except ValueError as error:
            raise ValueError(f"{self.masks_file} is not a JSON file ({error}): download it again") from error
        if not isinstance(content, dict):
            raise ValueError(f"{self.masks_file} is no table of annotations: download it again")
        return content

    def has_truth(self) -> bool:
        """Whether the split has masks on disk."""
        return bool(self.meant) and self.masks_file.is_file()

    def truth(self, item: RVOSItem) -> Iterator[tuple[str, np.ndarray]]:
        """Every frame with the union of what the expression means, `(H, W)` bool; absent: an empty mask."""
        if item.object_id is None:
            raise FileNotFoundError(f"{self.name} ({self.split}): a server keeps the masks of this split")
        for frame in item.frames:
            yield frame, self._union(item.video, frame, item.object_id)

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Masks `(T, H, W)` bool of all that an expression means; empty where it is absent."""
        return torch.from_numpy(np.stack([self._union(video, frame, object_id) for frame in frames]))

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True if something that is meant has a pixel in the frame."""
        return any(runs is not None for runs in self._runs(video, frame, object_id)) and bool(
            self._union(video, frame, object_id).any()
        )

    def where(self, video: str, frame: str) -> str:
        """Name of the file of the masks, for messages."""
        return f"video {video!r}: {self.masks_file}"

    def broken(self) -> list[str]:
        """Broken entries, missing frames, and annotations that are not in the file of the masks. Reads no image."""
        entries = self.layout.videos.values()
        found = [*(error for entry in entries for error in entry.errors)]
        faults = self.truth_faults() if self.meant else []
        return [*found, *self._missing(self.layout.images, "frame", ".jpg"), *faults]

    def truth_faults(self) -> list[str]:
        """Annotations that are not in the file of the masks, or not for every frame."""
        if not self.meant:
            return [f"{self.name} ({self.split}): a server keeps the masks of this split"]
        try:
            masks = self.masks
        except (FileNotFoundError, ValueError) as error:
            return [str(error)]
        return [
            f"video {video!r}: annotation {name} {fault} in {self.masks_file}: download it again"
            for (video, _), names in self.meant.items()
            for name in names
            if (fault := self._fault(masks.get(name), len(self.frames(video))))
        ]

    @staticmethod
    def _fault(frames: Any, wanted: int) -> str:
        if not isinstance(frames, list):
            return "is not"
        return "" if len(frames) == wanted else f"has {len(frames)} frames, and its video {wanted},"

    def _runs(self, video: str, frame: str, object_id: int) -> list[Any]:
        """Run lengths, or null, of all that is meant in a frame."""
        place = self.frames(video).index(frame)
        if (video, object_id) not in self.meant:
            raise ValueError(f"{self.name}: video {video!r} has no expression number {object_id} whose masks are known")
        try:
            return [self.masks[name][place] for name in self.meant[video, object_id]]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"{self.where(video, frame)}: frame {frame} is not there ({error!r})") from error

    def _union(self, video: str, frame: str, object_id: int) -> np.ndarray:
        masks = []
        for runs in self._runs(video, frame, object_id):
            if runs is not None:
                try:
                    masks.append(decode(runs, *runs["size"]))
                except (KeyError, TypeError, ValueError) as error:
                    raise ValueError(f"{self.where(video, frame)}: frame {frame} is broken ({error})") from error
        if not masks:
            return np.zeros(self._size(video), dtype=bool)
        return np.logical_or.reduce(masks)

    def _size(self, video: str) -> tuple[int, int]:
        """Height and width of a video, by its masks, else by its first frame."""
        names = (name for (owner, _), own in self.meant.items() if owner == video for name in own)
        runs = next((runs for name in names for runs in self.masks.get(name, ()) if runs is not None), None)
        if runs is not None:
            return int(runs["size"][0]), int(runs["size"][1])
        height, width = self.read_frames(video, self.frames(video)[:1]).shape[-2:]
        return int(height), int(width)


def open_mevis(row: DataSet, opening: Opening) -> MevisSource:
    """Reader of MeViS: `<split>/{meta_expressions.json,mask_dict.json,JPEGImages}` under the root or `MeViS` in it.

    Raises FileNotFoundError for a missing list, ValueError for a broken one.
    """
    root, split = opening.folder, opening.split
    base = next((root / f / split for f in (".", "MeViS", "mevis") if (root / f / split / SAYINGS).is_file()), None)
    if base is None:
        raise FileNotFoundError(f"no MeViS under data.root={root}: expected {root / split / SAYINGS}")
    videos, meant = {}, dict[tuple[str, int], tuple[str, ...]]()
    for name, entry in sorted(load_json(base / SAYINGS).items()):
        try:
            videos[name] = _video(name, entry, meant)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            reason = f"video {name!r}: its entry in {base / SAYINGS} is malformed ({error!r}): download it again"
            videos[name] = RefVideo(errors=(reason,))
    layout = RefLayout(base / "JPEGImages", base / "Annotations", videos)
    return MevisSource(row.name, root, split, base, layout, meant, cache_frames=opening.cache_frames)


def _video(name: str, entry: dict[str, Any], meant: dict[tuple[str, int], tuple[str, ...]]) -> RefVideo:
    """A video, and in `meant` the annotations that its expressions mean, where the list says them."""
    frames, items = tuple(str(frame) for frame in entry["frames"]), []
    for place, (key, row) in enumerate(entry["expressions"].items(), start=1):
        known = row.get("anno_id")
        if known is not None:
            meant[name, place] = tuple(str(one) for one in known)
        items.append(RVOSItem(name, frames, str(key), words(row["exp"]), None if known is None else place))
    errors = order_faults(name, frames)
    if not frames or not items:
        errors.append(f"video {name!r} has no frames or no expressions: complete its entry")
    errors += [f"video {name!r}: expression {i.expression_id!r} is empty" for i in items if not i.text.strip()]
    return RefVideo(frames, tuple(items), errors=tuple(errors))

"""`VideoFiles`: a source that keeps one image file per frame and one label PNG per annotated frame."""

from __future__ import annotations

import re
from abc import abstractmethod
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from episodes.plain_files import open_image
from episodes.sources.base import Source
from episodes.sources.entries import twice
from episodes.sources.files import ArrayCache, read_image, read_labels
from episodes.task_items import VOSItem

VOID = 255  # the label of void pixels in DAVIS; it is no object
IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp")


class VideoFiles(Source):
    """Reads frames and masks of sources that say where their files are.

    Args:
        cache_frames: bytes of decoded frames and masks to keep in memory; 0 keeps none.
        merge_objects: every pixel above 0 is object 1 (SAIL-VOS, DAVIS-2016 with its 255).
    """

    def __init__(self, *, cache_frames: int = 0, merge_objects: bool = False) -> None:
        self.merge_objects = merge_objects
        self._cache = ArrayCache(cache_frames)
        self._ids: dict[Path, frozenset[int]] = {}

    @abstractmethod
    def image_path(self, video: str, frame: str) -> Path:
        """File of a frame."""

    @abstractmethod
    def mask_path(self, video: str, frame: str) -> Path:
        """File of a frame's mask."""

    def read_label_map(self, path: Path) -> np.ndarray:
        """Object ids `(H, W)` uint8 of a mask file. Raises FileNotFoundError or ValueError."""
        return read_labels(path)

    def truth_folder(self, video: str) -> Path:
        """Folder that holds, in a folder per video, the masks that results are scored against."""
        return self.mask_folder(video)

    def mask_folder(self, video: str) -> Path:
        """Folder that holds, in a folder per video, the masks of `mask_path`, whose ids are those of the items."""
        return self.mask_path(video, self.frames(video)[0]).parent.parent

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB. Raises FileNotFoundError or ValueError, naming the file."""
        paths = [self.image_path(video, f) for f in frames]
        images = [self._cache.get(path, read_image) for path in paths]
        same_size(video, paths, images)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Masks `(T, H, W)` bool of one object. Raises ValueError if no frame of the video shows it."""
        paths = [self.mask_path(video, f) for f in frames]
        labels = [self._labels(path) for path in paths]
        same_size(video, paths, labels)
        masks = np.stack(labels) > 0 if self.merge_objects else np.stack(labels) == object_id
        if not masks.any() and not any(self.visible(video, f, object_id) for f in self.frames(video)):
            raise ValueError(
                f"{self.name}: object {object_id} of video {video!r} is in no mask of its {len(self.frames(video))} "
                f"listed frames under {self.mask_path(video, frames[0]).parent}: correct the object id or the masks"
            )
        return torch.from_numpy(masks)

    def read_given(self, item: VOSItem, frame: str) -> dict[int, Tensor]:
        """The masks `(H, W)` bool that `item` gives in `frame`, by object id; empty where it gives none.

        Raises FileNotFoundError or ValueError, naming the file: missing, broken, or not of the frame's size.
        """
        if frame not in item.given:
            return {}
        path, image = self.mask_path(item.video, frame), self.image_path(item.video, frame)
        labels, (height, width) = self._labels(path), _size(image)
        if labels.shape != (height, width):
            hm, wm = labels.shape
            raise ValueError(
                f"{path} is {hm}x{wm}, but its frame {image} is {height}x{width}: draw the mask at the frame's size"
            )
        return {k: torch.from_numpy(labels > 0 if self.merge_objects else labels == k) for k in item.given[frame]}

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True if the mask of the frame has a pixel of the object."""
        ids = self._all_ids(self.mask_path(video, frame))
        return bool(ids) if self.merge_objects else object_id in ids

    def object_ids(self, video: str, frame: str) -> frozenset[int]:
        """Ids of the objects that the mask of `frame` shows; void is none."""
        ids = self._all_ids(self.mask_path(video, frame))
        return frozenset({1} if ids else ()) if self.merge_objects else ids - {VOID}

    def listed_objects(self, video: str) -> frozenset[int] | None:
        """Ids of the objects that the lists of the data set give a video; None where they do not say."""
        return None

    def where(self, video: str, frame: str) -> str:
        """Name of the video and the mask file, for messages."""
        return f"video {video!r}: mask {self.mask_path(video, frame)}"

    def _all_ids(self, path: Path) -> frozenset[int]:
        if path not in self._ids:
            self._labels(path)
        return self._ids[path]

    def _labels(self, path: Path) -> np.ndarray:
        labels = self._cache.get(path, self.read_label_map)
        if path not in self._ids:
            self._ids[path] = frozenset(np.bincount(labels.ravel()).nonzero()[0].tolist()) - {0}
        return labels


def list_frames(folder: Path, suffixes: Sequence[str] = IMAGE_SUFFIXES) -> dict[str, Path]:
    """Name without suffix -> file of the images in a folder, in time order (numbers in names count as numbers).

    Raises FileNotFoundError for a missing folder, ValueError for two files of one frame.
    """
    if not folder.is_dir():
        raise FileNotFoundError(f"folder {folder} is missing: restore it, or remove the video from the lists")
    files = [path for path in folder.iterdir() if path.suffix.lower() in suffixes]
    found: dict[str, Path] = {}
    for path in sorted(files, key=lambda path: (in_time(path.stem), path.name)):
        if path.stem in found:
            raise ValueError(
                f"{folder} holds {found[path.stem].name} and {path.name}: which of them is the frame? Keep one"
            )
        found[path.stem] = path
    return found


def order_faults(video: str, frames: Sequence[str]) -> list[str]:
    """A sentence on a frame that a list has twice, or not in time order; none where all is well."""
    if found := twice(frames):
        return [f"video {video!r} lists frame {found[0]!r} twice: list each frame once"]
    for frame, due in zip(frames, sorted(frames, key=in_time), strict=True):
        if frame != due:
            return [f"video {video!r} lists frame {frame!r} where {due!r} is due: list its frames in time order"]
    return []


def follow(folder: Path) -> Path:
    """The folder, or the one that it names where a link was unpacked as a text file (as on systems without links)."""
    if not folder.is_file() or folder.stat().st_size > 1000:
        return folder
    target = folder.parent / folder.read_text(encoding="utf-8", errors="replace").strip()
    return target if target.is_dir() else folder


def in_time(name: str) -> tuple:
    """Sort key of frame names: `frame2` before `frame10`."""
    return tuple(int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)), name


def _size(image: Path) -> tuple[int, int]:
    """Height and width of an image file, read from its head."""
    try:
        with open_image(image, f"frame {image}") as picture:
            return picture.height, picture.width
    except FileNotFoundError as error:
        raise FileNotFoundError(f"frame {image} is missing: restore the file") from error
    except OSError as error:
        raise ValueError(f"frame {image} cannot be read ({error}): restore the file") from error


def same_size(video: str, paths: Sequence[Path], arrays: Sequence[np.ndarray]) -> None:
    """Raise ValueError, naming the files, unless all pictures or masks of a video are of one size."""
    for path, array in zip(paths, arrays, strict=True):
        if array.shape != arrays[0].shape:
            (h, w), (h0, w0) = array.shape[:2], arrays[0].shape[:2]
            raise ValueError(
                f"video {video!r}: {path} is {h}x{w}, but {paths[0]} is {h0}x{w0}: all must be of one size"
            )

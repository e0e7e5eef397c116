"""VSPW on disk: a class for every pixel of every frame of a video (Miao et al., CVPR 2021)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.clip import Objects
from episodes.plain_files import UnsuitableFile, read_text
from episodes.sources.base import objects_of
from episodes.sources.entries import load_json, refuse_twice, whole
from episodes.sources.files import ArrayCache, missing_files, read_image, read_labels
from episodes.sources.task_source import unknown_name
from episodes.sources.video_files import list_frames, same_size
from episodes.sources.vocabulary import Category, VocabularySource

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

CLASS_FILE = "label_num_dic_final.json"
VOIDS = (0, 255)  # "others", and not known
LARGEST = 254


class VSPWSource(VocabularySource):
    """Videos with a map of class labels for each frame.

    In the files classes are 1, 2, ..; a category has the number of its label less one, as results have it. The "object"
    of a class has the label for its id: all pixels of the class. All classes are of one kind here, called things.

    Args:
        name: the benchmark.
        root: folder with `data/`, the lists of the splits and the names of the classes.
        split: of the list `<split>.txt`.
        cache_frames: bytes of decoded frames and maps to keep in memory; 0 keeps none.

    Raises FileNotFoundError for a missing list, ValueError for a broken one.
    """

    task = "vss"

    def __init__(self, name: str, root: Path, split: str, *, cache_frames: int = 0) -> None:
        self.name, self.root, self.split = name, root, split
        self._cache = ArrayCache(cache_frames)
        self.categories = _categories(root / CLASS_FILE)
        path = root / f"{split}.txt"
        if not path.is_file():
            raise FileNotFoundError(f"{path} is missing: it lists the videos of split {split!r} of {name}")
        lines = [line.strip() for line in read_text(path).splitlines() if line.strip()]
        refuse_twice(lines, path, "videos")
        self._listed = tuple(sorted(lines))
        self._frames: dict[str, tuple[str, ...]] = {}

    def names(self) -> tuple[str, ...]:
        """Sorted names of the videos."""
        return self._listed

    def frames(self, video: str) -> tuple[str, ...]:
        """Frames of the folder, in time order."""
        if video not in self._listed:
            raise unknown_name(self, video)
        if video not in self._frames:
            self._frames[video] = tuple(list_frames(self.root / "data" / video / "origin", (".jpg",)))
        return self._frames[video]

    def object_ids(self, video: str) -> tuple[int, ...]:
        """Labels that a frame of the video shows. Reads all of its maps."""
        shown = {k for labels in self.read_semantic(video) for k in np.unique(labels).tolist()}
        return tuple(sorted(shown - set(VOIDS)))

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB. Raises FileNotFoundError or ValueError, naming the file."""
        paths = [self.root / "data" / video / "origin" / f"{frame}.jpg" for frame in frames]
        images = [self._cache.get(path, read_image) for path in paths]
        same_size(video, paths, images)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def read_semantic(self, video: str, frames: Sequence[str] | None = None) -> np.ndarray:
        """Labels `(T, H, W)` uint8 as the files have them, void among them; None: of all frames.

        Raises FileNotFoundError or ValueError, naming the file and a label that is no class.
        """
        frames = self.frames(video) if frames is None else frames
        paths = [self.mask_path(video, frame) for frame in frames]
        maps = [self._cache.get(path, read_labels) for path in paths]
        same_size(video, paths, maps)
        known = {*VOIDS, *(category.id + 1 for category in self.categories)}
        for path, labels in zip(paths, maps, strict=True):
            if odd := sorted(set(np.flatnonzero(np.bincount(labels.ravel())).tolist()) - known):
                raise ValueError(f"{path} has label {odd[0]}, which {self.root / CLASS_FILE} does not name: correct it")
        return np.stack(maps)

    def read_objects(self, video: str, frames: Sequence[str]) -> Objects:
        """All classes that a clip shows, each as one object."""
        maps = self.read_semantic(video, frames)
        labels = sorted(set(np.unique(maps).tolist()) - set(VOIDS))
        places = {category.id + 1: place for place, category in enumerate(self.categories)}
        masks = np.array([maps == k for k in labels], bool).reshape(len(labels), *maps.shape)
        return objects_of(labels, [places[k] for k in labels], torch.from_numpy(masks))

    def mask_path(self, video: str, frame: str) -> Path:
        """File of the labels of a frame."""
        return self.root / "data" / video / "mask" / f"{frame}.png"

    def where(self, video: str, frame: str) -> str:
        """Name of the video and the map, for messages."""
        return f"video {video!r}: map {self.mask_path(video, frame)}"

    def problems(self) -> list[str]:
        """Missing folders and maps, one sentence each. Reads folder listings."""
        found = []
        for video in self._listed:
            try:
                frames = self.frames(video)
            except (FileNotFoundError, ValueError) as error:
                found.append(str(error))
                continue
            if not frames:
                found.append(f"folder {self.root / 'data' / video / 'origin'} holds no frame: restore it")
            found += missing_files(self.root / "data" / video / "mask", "map", [f"{frame}.png" for frame in frames])
        return found

    def content(self) -> Any:
        """Videos with frames."""
        return [[video, self.frames(video)] for video in self._listed]


def open_vspw(row: DataSet, opening: Opening) -> VSPWSource:
    """Reader of VSPW, in the root or in its folder `VSPW_480p` or `VSPW`."""
    root = opening.folder
    base = next((f for f in (root, root / "VSPW_480p", root / "VSPW") if (f / "data").is_dir()), None)
    if base is None:
        raise FileNotFoundError(f"{root / 'data'} is missing: data.root must be the folder that holds VSPW")
    return VSPWSource(row.name, base, opening.split, cache_frames=opening.cache_frames)


def _categories(path: Path) -> tuple[Category, ...]:
    """Classes of the table of names and labels, void left out. Raises FileNotFoundError or ValueError."""
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: it names the classes of VSPW")
    table: Mapping[str, Any] = load_json(path)
    try:
        numbers = {str(name): whole(label) for name, label in table.items()}
    except (AttributeError, TypeError, ValueError) as error:
        raise ValueError(f"{path} is no table of names and labels ({error!r}): download it again") from error
    found = {name: label for name, label in numbers.items() if label not in VOIDS}
    refuse_twice(found.values(), path, "labels")
    if odd := [name for name, label in found.items() if not 0 < label <= LARGEST]:
        raise UnsuitableFile(f"{path}: class {odd[0]!r} has label {found[odd[0]]}; labels are 1 to {LARGEST}")
    return tuple(Category(label - 1, name) for name, label in sorted(found.items(), key=lambda pair: pair[1]))

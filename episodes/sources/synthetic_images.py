"""Stills of the synthetic world: one frame of each video, with one mask for all things of a class."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from episodes.seeding import derive
from episodes.sources.files import read_labels
from episodes.sources.images import ImageSource
from episodes.sources.index import load_json
from episodes.sources.mini_ref import find_layout
from episodes.sources.synthetic import world_folder

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening
    from episodes.folds import Folds


class SyntheticImageSource(ImageSource):
    """The images of the synthetic world are named like its videos. Twins belong to their class together.

    All things of an image are of one group of classes, so that a held-out class is never seen in training.

    Args:
        root: the folder of the world, see `episodes.sources.synthetic.ensure_world`.
        folds: names the classes.
        cache, cache_frames: see `ImageSource`.
    """

    rule = "stills 1"

    def __init__(
        self, root: Path | str, folds: Folds, *, cache: Path | str | None = None, cache_frames: int = 0
    ) -> None:
        super().__init__(root, folds, cache=cache, cache_frames=cache_frames)
        self.layout = find_layout(self.root)
        self.videos_meta = load_json(self.layout.meta)

    def list_images(self) -> dict[str, tuple[Path, Path]]:
        """One frame of each video, drawn by the video's name, and its mask."""
        found = {}
        for video, entry in sorted(self.videos_meta.items()):
            frames = entry["objects"]["1"]["frames"]
            frame = frames[derive("still", video) % len(frames)]
            found[video] = (self.layout.images / video / f"{frame}.jpg", self.layout.masks / video / f"{frame}.png")
        return found

    def read_label_map(self, image: str) -> np.ndarray:
        """The object ids of the frame, each replaced by the class of its object."""
        classes = np.zeros(256, dtype=np.uint8)
        for number, thing in self.videos_meta[image]["objects"].items():
            classes[int(number)] = self.folds.classes.index(thing["category"]) + 1
        return classes[read_labels(self.files[image][1])]


def open_images(row: DataSet, opening: Opening) -> SyntheticImageSource:
    """Reader of the catalogue; the world is written first where no root is given."""
    assert row.folds is not None  # the catalogue checks it
    return SyntheticImageSource(
        world_folder(opening), row.folds, cache=opening.cache, cache_frames=opening.cache_frames
    )

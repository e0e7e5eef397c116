"""Tiny data sets of images: in memory, and written in the layouts of the field."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from episodes.catalogue import folds_of
from episodes.folds import Folds
from episodes.sources.images import ImageSource

SIZE = (12, 16)


class MemoryImages(ImageSource):
    """Images by what they show: name -> class id -> number of pixels. Names that start with `t` are for testing."""

    def __init__(self, shows: Mapping[str, Mapping[int, int]], folds: Folds | None = None) -> None:
        super().__init__("memory", folds or folds_of("pascal5i"))
        self.shows = shows

    def list_images(self) -> dict[str, tuple[Path, Path]]:
        return {name: (Path(__file__), Path(name)) for name in sorted(self.shows)}

    def read_label_map(self, image: str) -> np.ndarray:
        return np.concatenate([[0], *([c] * n for c, n in self.shows[image].items())]).astype(np.uint8)[None]

    def picture_error(self, image: str) -> str:
        return ""  # there are no files

    def in_split(self, image: str, split: str) -> bool:
        return image.startswith("t") == (split == "test")


def blocks(classes: Sequence[int], ignore: bool = False) -> np.ndarray:
    """Labels `(12, 16)`: a block of 4 x 3 pixels for each class, and a last column of unknown pixels."""
    labels = np.zeros(SIZE, np.uint8)
    for k, class_id in enumerate(classes):
        labels[1 + 5 * (k // 4) : 5 + 5 * (k // 4), 4 * (k % 4) : 4 * (k % 4) + 3] = class_id
    if ignore:
        labels[:, -1] = 255
    return labels


def write_picture(path: Path, size: tuple[int, int] = SIZE) -> None:
    """Red rises with the column, green with the row."""
    pixels = np.zeros((*size, 3), np.uint8)
    pixels[..., 0], pixels[..., 1] = np.linspace(0, 255, size[1]), np.linspace(0, 255, size[0])[:, None]
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(pixels).save(path)


def write_mask(path: Path, labels: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(labels).save(path)


def write_voc(root: Path, images: Mapping[str, Sequence[int]], val: Sequence[str] | None = ()) -> Path:
    """VOC2012 under `root` with the classes of each image; `val` None writes no list."""
    base = root / "VOCdevkit" / "VOC2012"
    for name, classes in images.items():
        write_picture(base / "JPEGImages" / f"{name}.jpg")
        write_mask(base / "SegmentationClassAug" / f"{name}.png", blocks(classes, ignore=True))
    if val is not None:
        folder = base / "ImageSets" / "Segmentation"
        folder.mkdir(parents=True)
        (folder / "val.txt").write_text("".join(f"{name}\n" for name in val))
    return base


def write_folder(root: Path, classes: Mapping[str, int], masks: str = "{}") -> Path:
    """`number` pictures for each class; their masks in the folder `masks`, with `{}` for the class."""
    for name, number in classes.items():
        for k in range(number):
            write_picture(root / name / f"{k}.jpg")
            write_mask(root / masks.format(name) / f"{k}.png", 255 * blocks([1]))
    return root


def square(left: int, top: int, side: int) -> list[list[float]]:
    """A COCO polygon."""
    return [[left, top, left + side, top, left + side, top + side, left, top + side]]


def write_coco(
    root: Path, part: str, instances: Mapping[str, Sequence[tuple[int, list[list[float]], int]]], absent: str = ""
) -> Path:
    """Images of 12 x 16 with instances (category id, polygon, crowd); the image `absent` is listed but not written."""
    categories = [{"id": k, "name": n} for k, n in ((1, "person"), (3, "car"), (90, "toothbrush"))]
    images, annotations = [], []
    for number, (name, of_image) in enumerate(instances.items(), start=1):
        images.append({"id": number, "file_name": f"{name}.jpg", "height": SIZE[0], "width": SIZE[1]})
        if name != absent:
            write_picture(root / part / f"{name}.jpg")
        for category, polygon, crowd in of_image:
            side = polygon[0][2] - polygon[0][0]
            entry = {"id": len(annotations) + 1, "image_id": number, "category_id": category, "iscrowd": crowd}
            annotations.append({**entry, "area": side**2, "segmentation": polygon, "bbox": [0, 0, side, side]})
    (root / "annotations").mkdir(parents=True, exist_ok=True)
    file = root / "annotations" / f"instances_{part}.json"
    file.write_text(json.dumps({"images": images, "categories": categories, "annotations": annotations}))
    return file

"""COCO (Lin et al., ECCV 2014): one class mask per image, made of its instances at first use and kept as PNG."""

from __future__ import annotations

import contextlib
import hashlib
import io
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from episodes.plain_files import UnsuitableFile, make_folder
from episodes.sources.entries import refuse_twice
from episodes.sources.files import cache_folder, read_labels
from episodes.sources.images import ImageSource
from episodes.whole_files import clear_stale, replacing

if TYPE_CHECKING:
    from episodes.folds import Folds

NEEDED = {
    "images": ("id", "file_name", "height", "width"),
    "categories": ("id", "name"),
    "annotations": ("id", "image_id", "category_id", "iscrowd", "area", "segmentation"),
}
FORMAT = 1  # raise it when the same annotations give other masks


@dataclass(frozen=True)
class COCOPart:
    """A part of COCO: its annotation file and its folder of images; `name` is `train2014`, `val2017` or the like."""

    name: str
    annotations: Path
    images: Path


def find_parts(root: Path) -> tuple[list[COCOPart], list[str]]:
    """The parts under `root`, and sentences on those that are left out.

    Looks for `instances_<part>.json` in `annotations/` or `root`, and for the images in `<part>/` or `images/<part>/`.
    Raises FileNotFoundError if there is no part with both.
    """
    files = [
        p for folder in (root / "annotations", root) for p in sorted(folder.glob("instances_*.json")) if p.is_file()
    ]
    parts, left_out = [], []
    for file in files:
        name = file.stem.removeprefix("instances_")
        images = next((f for f in (root / name, root / "images" / name) if f.is_dir()), None)
        if images is None:
            left_out.append(f"{file} is not used: its images were expected in {root / name}")
        else:
            parts.append(COCOPart(name, file, images))
    if not parts:
        raise FileNotFoundError(
            f"no COCO under data.root={root}: expected annotations/instances_val2014.json and the images in val2014/ "
            f"(or images/val2014/), likewise train2014, or both of 2017; see https://cocodataset.org/#download"
        )
    first = min(part.name[-4:] for part in parts)
    left_out += [
        f"{p.annotations} is not used: {first} is there too, and holds the same images"
        for p in parts
        if p.name[-4:] != first
    ]
    return [part for part in parts if part.name[-4:] == first], left_out


class COCOSource(ImageSource):
    """The images of COCO that have an instance of a class.

    A class label is the place of the category in the order of ids, from 1 (COCO-20i: Nguyen and Todorovic, ICCV 2019).
    All pixels are known. Crowd regions count as their class, as COCO-20i has no ignore label; where instances overlap
    the smaller one is on top, and crowds are below all. Images of `train*` train and those of `val*` are for testing;
    with one part only all images are both. `root` holds `annotations/` and the image folders.

    Masks are written to `cache` when they are first asked for, and all of them for the first episode: this takes about
    seven milliseconds an image. They are made again when the annotation file changes.
    """

    rule = f"instances {FORMAT}"

    def __init__(
        self, root: Path | str, folds: Folds, *, cache: Path | str | None = None, cache_frames: int = 0
    ) -> None:
        super().__init__(root, folds, cache=cache, cache_frames=cache_frames)
        self.parts, self.left_out = find_parts(self.root)
        self._part_of: dict[str, COCOPart] = {}
        self._missing: dict[COCOPart, list[str]] = {}

    @cached_property
    def annotations(self) -> dict[COCOPart, Any]:
        """The pycocotools index of each part."""
        return {part: _load(part.annotations) for part in self.parts}

    def list_images(self) -> dict[str, tuple[Path, Path]]:
        """Images with an instance of a class, of all parts; their masks lie in the cache."""
        found = {}
        for part, coco in self.annotations.items():
            self._classes(part)
            folder = cache_folder(self.cache) / f"coco-{part.name}-{_version(part.annotations)}"
            clear_stale(folder / "*.png")
            there = {path.name for path in part.images.iterdir()}
            for image_id in sorted({a["image_id"] for a in coco.anns.values()} & coco.imgs.keys()):
                file = Path(coco.imgs[image_id]["file_name"]).name
                name = Path(file).stem
                found[name] = (part.images / file, folder / f"{name}.png")
                self._part_of[name] = part
                if file not in there:
                    self._missing.setdefault(part, []).append(file)
        return dict(sorted(found.items()))

    def mask_sources(self) -> Sequence[Path]:
        """The annotation files."""
        return [part.annotations for part in self.parts]

    def in_split(self, image: str, split: str) -> bool:
        """True for images of `train*` in `train` and of `val*` in `test`; with one part for all images."""
        name = self._part_of[self._known(image)].name
        kinds = {part.name.startswith("train") for part in self.parts}
        return len(kinds) == 1 or name.startswith("train") == (split == "train")

    def find(self, name: str) -> str | None:
        """By name, or by the number that ends it: `COCO_val2014_000000429717` is `000000429717` of 2017."""
        return name if name in self.files else self._numbers.get(_number(name))

    @cached_property
    def _numbers(self) -> dict[int | None, str]:
        return {number: name for name in self.files if (number := _number(name)) is not None}

    def read_label_map(self, image: str) -> np.ndarray:
        """Class ids `(H, W)` uint8, drawn from the instances and written to the cache at first use."""
        path = self.files[self._known(image)][1]
        if not path.is_file():
            _write_png(path, self._draw(image))
        return read_labels(path)

    def _draw(self, image: str) -> np.ndarray:
        part = self._part_of[image]
        coco, classes = self.annotations[part], self._classes(part)
        image_id = self._ids[image]
        size = coco.imgs[image_id]
        labels = np.zeros((size["height"], size["width"]), dtype=np.uint8)
        instances = sorted(coco.imgToAnns[image_id], key=lambda a: (not a["iscrowd"], -a["area"], a["id"]))
        for instance in instances:
            try:
                labels[coco.annToMask(instance).astype(bool)] = classes[instance["category_id"]]
            except Exception as error:  # pycocotools raises bare exceptions for what it cannot decode
                raise ValueError(f"instance {instance['id']} of {part.annotations} is broken ({error!r})") from error
        return labels

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {
            Path(entry["file_name"]).stem: image_id
            for coco in self.annotations.values()
            for image_id, entry in coco.imgs.items()
        }

    def _classes(self, part: COCOPart) -> dict[int, int]:
        """Category id -> class id. Raises ValueError for categories that are not COCO's."""
        pairs = {k: self.folds.class_id(c["name"]) for k, c in self.annotations[part].cats.items()}
        odd = [self.annotations[part].cats[k]["name"] for k, class_id in pairs.items() if class_id is None]
        if odd:
            raise ValueError(f"{part.annotations} has categories that COCO does not have: {', '.join(odd[:5])}")
        return {k: class_id for k, class_id in pairs.items() if class_id is not None}

    def layout_remarks(self) -> list[str]:
        """Parts that are left out."""
        return self.left_out

    def layout_problems(self) -> list[str]:
        """Listed images that are not there."""
        found = []
        _ = self.files
        for part, names in self._missing.items():
            shown = ", ".join(names[:3]) + (f" and {len(names) - 3} more" if len(names) > 3 else "")
            found.append(
                f"{part.annotations} lists {len(names)} images that are not in {part.images} ({shown}): complete the "
                f"folder, or remove their entries"
            )
        return found


def _load(path: Path) -> Any:
    from pycocotools.coco import COCO  # here: it is slow to import, and few need it

    try:
        with contextlib.redirect_stdout(io.StringIO()):  # it prints its progress
            coco = COCO(str(path))
        for table, keys in NEEDED.items():
            [entry[key] for entry in coco.dataset[table] for key in keys]
            refuse_twice((entry["id"] for entry in coco.dataset[table]), path, f"{table} of the id")
        refuse_twice((Path(entry["file_name"]).stem for entry in coco.dataset["images"]), path, "images of the name")
    except UnsuitableFile:
        raise
    except (ValueError, KeyError, TypeError, AssertionError) as error:
        raise ValueError(f"{path} is not a COCO instances file ({error!r}): download it again") from error
    return coco


def _version(path: Path) -> str:
    there = path.stat()
    key = f"{path.resolve()} {there.st_size} {there.st_mtime_ns} {FORMAT}"
    return hashlib.sha256(key.encode()).hexdigest()[:16]


def _number(name: str) -> int | None:
    digits = name.rpartition("_")[2]
    return int(digits) if digits.isdigit() else None


def _write_png(path: Path, labels: np.ndarray) -> None:
    make_folder(path.parent, "data.cache")
    with replacing(path, sync=False) as partial:  # thousands of them, which can be drawn again
        Image.fromarray(labels).save(partial, format="PNG")

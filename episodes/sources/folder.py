"""A folder of one's own: a folder of images for each class, with masks beside them or in a folder `masks`."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from torch import Tensor

from episodes.clip import Clip
from episodes.episode import ClipSpec
from episodes.folds import folder_folds
from episodes.sources.areas import MaskCounts
from episodes.sources.files import read_marks
from episodes.sources.images import IGNORE, ImageSource

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

log = logging.getLogger(__name__)

PICTURES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
MASKS = "masks"
OBJECT = 1
THRESHOLD = 128
LAYOUT = "<class>/<image>.jpg with <class>/<image>.png beside it, or the mask in <class>/masks/ or masks/<class>/"


@dataclass
class Pairs:
    """Images with their masks by name `<class>/<stem>`, and the files that have no partner."""

    files: dict[str, tuple[Path, Path]] = field(default_factory=dict)
    without_mask: list[Path] = field(default_factory=list)
    without_image: list[Path] = field(default_factory=list)


def find_pairs(root: Path) -> Pairs:
    """All pairs under `root`: the layout above, or PerSeg's `Images/<class>/` and `Annotations/<class>/`.

    Raises FileNotFoundError that tells the layout when there is no pair.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: give the folder that holds a folder for each class")
    pairs = Pairs()
    for base in (root, root / "data"):
        images, masks = base / "Images", base / "Annotations"
        if images.is_dir() and masks.is_dir():
            for folder in _folders(images):
                _pair(pairs, folder, masks / folder.name)
            break
    else:
        for folder in _folders(root):
            places = (folder / MASKS, root / MASKS / folder.name)
            _pair(pairs, folder, next((place for place in places if place.is_dir()), folder))
    if not pairs.files:
        raise FileNotFoundError(f"no image with a mask under data.root={root}: expected {LAYOUT}")
    return pairs


def _folders(root: Path) -> list[Path]:
    return [p for p in sorted(root.iterdir()) if p.is_dir() and p.name != MASKS and not p.name.startswith(".")]


def _pair(pairs: Pairs, folder: Path, mask_folder: Path) -> None:
    """Pair the images of one class. In one folder together the PNGs are the masks."""
    there = [p for p in sorted(folder.iterdir()) if p.suffix.lower() in PICTURES]
    beside = mask_folder == folder
    images = _by_stem([p for p in there if not (beside and p.suffix.lower() == ".png")])
    masks = _by_stem(sorted(mask_folder.glob("*.png"))) if mask_folder.is_dir() else {}
    for stem in sorted(images.keys() | masks.keys()):
        if stem not in masks:
            pairs.without_mask.append(images[stem])
        elif stem not in images:
            pairs.without_image.append(masks[stem])
        else:
            pairs.files[f"{folder.name}/{stem}"] = (images[stem], masks[stem])


def _by_stem(paths: Sequence[Path]) -> dict[str, Path]:
    """Files by name without suffix. Raises ValueError for two of one name."""
    found: dict[str, Path] = {}
    for path in paths:
        other = found.setdefault(path.stem, path)
        if other != path:
            raise ValueError(f"{path.parent} holds {other.name} and {path.name}: which of them is the image? Keep one")
    return found


class FolderSource(ImageSource):
    """Images `<class>/<stem>` of the folders of `root`; the folders are the classes, see `folder_folds` for the groups.

    A mask is a PNG: black and white, a palette whose colour 0 is the background, or the values 0 and 1. Of other grey
    levels those from 128 on are the object. Number 255 of a palette is void, as in PASCAL VOC and DAVIS, unless it is
    the only one beside the background. Files without a partner are left out, with a warning.

    Args:
        root: the folder that holds a folder for each class.
        cache, cache_frames: see `ImageSource`.

    Raises FileNotFoundError that tells the layout when there is no image with a mask.
    """

    ignore_label = IGNORE
    rule = f"folder {THRESHOLD} void {IGNORE}"

    def __init__(self, root: Path | str, *, cache: Path | str | None = None, cache_frames: int = 0) -> None:
        self.pairs = find_pairs(Path(root).expanduser())
        classes = sorted({image.partition("/")[0] for image in self.pairs.files})
        super().__init__(root, folder_folds(classes), cache=cache, cache_frames=cache_frames)
        lonely = [*self.pairs.without_mask, *self.pairs.without_image]
        if lonely:
            log.warning("%d images or masks in %s have no partner and are left out: %s", len(lonely), root, lonely[0])

    @classmethod
    def open(cls, row: DataSet, opening: Opening) -> FolderSource:
        """Reader of the catalogue."""
        return cls(opening.folder, cache=opening.cache, cache_frames=opening.cache_frames)

    def list_images(self) -> dict[str, tuple[Path, Path]]:
        """Images and masks by the name `<class>/<stem>`."""
        return dict(sorted(self.pairs.files.items()))

    def class_of(self, image: str, label: int) -> int | None:
        """Class of the image's folder for the label of the object, None for any other label."""
        return self.folds.class_id(image.partition("/")[0]) if label == OBJECT else None

    def label_of(self, image: str, class_id: int) -> int:
        """The label of the object, the same in every mask."""
        return OBJECT

    def read_label_map(self, image: str) -> np.ndarray:
        """0, 1 and 255 for void `(H, W)` uint8. Raises ValueError for a mask whose values are ambiguous."""
        path = self.files[image][1]
        values, palette = read_marks(path)
        return _of_palette(values) if palette else _binary(path, values)

    def with_object(self, spec: ClipSpec, frames: Tensor) -> Clip:
        """The clip with the object's mask and, where the mask has some, the void pixels."""
        clip = super().with_object(spec, frames)
        return clip if clip.ignore is not None and clip.ignore.any() else replace(clip, ignore=None)

    def _count(self, image: str) -> MaskCounts:
        counts = super()._count(image)
        if counts.error:
            return counts
        values, palette = read_marks(self.files[image][1])
        between = not palette and ((values > 1) & (values < 255)).any()
        return replace(counts, remark=GREY) if between else counts

    def layout_problems(self) -> list[str]:
        """Images without a mask and masks without an image."""
        return [
            *(f"image {p} has no mask: add {p.stem}.png ({LAYOUT}), or remove it" for p in self.pairs.without_mask),
            *(f"mask {p} has no image: add the image, or remove the mask" for p in self.pairs.without_image),
        ]


GREY = f"grey levels between black and white: pixels from {THRESHOLD} on count as the object; write 0 and 255"


def _of_palette(numbers: np.ndarray) -> np.ndarray:
    """1 where the number of the colour is not 0; beside others 255 is void and stays 255. `(H, W)` uint8."""
    labels, void = (numbers > 0).astype(np.uint8), numbers == IGNORE
    if labels[~void].any():
        labels[void] = IGNORE
    return labels


def _binary(path: Path, grey: np.ndarray) -> np.ndarray:
    """0 and 1 `(H, W)` uint8 of grey levels. Raises ValueError for values that could mean anything."""
    if 1 < grey.max() < THRESHOLD:
        shown = ", ".join(str(v) for v in np.unique(grey)[:5])
        raise ValueError(f"mask {path} has the values {shown}: write 0 for background and 255 (or 1) for the object")
    return (grey >= (1 if grey.max() <= 1 else THRESHOLD)).astype(np.uint8)

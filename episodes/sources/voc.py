"""PASCAL VOC 2012 (Everingham et al., IJCV 2010), with the masks of SBD (Hariharan et al., ICCV 2011) where present."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from episodes.plain_files import read_text
from episodes.sources.files import read_labels
from episodes.sources.images import IGNORE, ImageSource

if TYPE_CHECKING:
    from episodes.folds import Folds

PLACES = (".", "VOC2012", "VOCdevkit/VOC2012", "VOCdevkit2012/VOC2012")
MASKS = ("SegmentationClassAug", "SegmentationClass")
VAL = "ImageSets/Segmentation/val.txt"


def find_voc(root: Path) -> Path:
    """The folder `VOC2012` at, or under, `root`. Raises FileNotFoundError that lists the places looked at."""
    for place in PLACES:
        base = root / place
        if (base / "JPEGImages").is_dir() and any((base / masks).is_dir() for masks in MASKS):
            return base
    raise FileNotFoundError(
        f"no PASCAL VOC under data.root={root}: expected JPEGImages and {' or '.join(MASKS)} in {root} itself or in "
        f"{', '.join(PLACES[1:])}; VOC 2012 is at http://host.robots.ox.ac.uk/pascal/VOC/voc2012"
    )


class VOCSource(ImageSource):
    """Images that have a class mask in `SegmentationClassAug`, else in `SegmentationClass`.

    Images of `ImageSets/Segmentation/val.txt` are for testing, all others train (PASCAL-5i: Shaban et al., BMVC 2017).
    Without that list all images are both. Label 255 is void. `root` may be VOC2012 or up to two folders above.
    """

    ignore_label = IGNORE

    def __init__(
        self, root: Path | str, folds: Folds, *, cache: Path | str | None = None, cache_frames: int = 0
    ) -> None:
        super().__init__(root, folds, cache=cache, cache_frames=cache_frames)
        self.base = find_voc(self.root)
        val = self.base / VAL
        self.val = frozenset(read_text(val).split()) if val.is_file() else None

    def list_images(self) -> dict[str, tuple[Path, Path]]:
        """Images that have a mask, those of `SegmentationClassAug` first."""
        masks: dict[str, Path] = {}
        for folder in reversed(MASKS):  # the last one wins
            masks.update({path.stem: path for path in (self.base / folder).glob("*.png")})
        return {name: (self.base / "JPEGImages" / f"{name}.jpg", masks[name]) for name in sorted(masks)}

    def read_label_map(self, image: str) -> np.ndarray:
        """Class ids `(H, W)` uint8, 255 for void pixels."""
        return read_labels(self.files[image][1])

    def in_split(self, image: str, split: str) -> bool:
        """True for images of val.txt in `test` and all others in `train`; without the list for all."""
        return self.val is None or (image in self.val) == (split == "test")

    def layout_problems(self) -> list[str]:
        """A missing val.txt, or images that it lists and that have no mask."""
        if self.val is None:
            return [f"{self.base / VAL} is missing: all images are used for training and for testing; restore the list"]
        absent = sorted(self.val - self.files.keys())
        if not absent:
            return []
        return [
            f"{self.base / VAL} lists {len(absent)} images that have no mask ({', '.join(absent[:3])}): restore the "
            f"masks, or cut the list"
        ]

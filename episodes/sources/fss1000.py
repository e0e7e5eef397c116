"""FSS-1000 (Li et al., CVPR 2020): a folder of ten images and ten masks for each of 1000 classes."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from episodes.folds import fss_folds
from episodes.sampling.lists import FSSClasses, read_fss_classes
from episodes.sources.files import read_grey
from episodes.sources.images import ImageSource

PLACES = (".", "FSS-1000", "fewshot_data", "fewshot_data/fewshot_data")
OBJECT = 1  # the label of the object in every mask
THRESHOLD = 128  # grey level of a mask from which on a pixel is the object


def find_fss(root: Path) -> Path:
    """The folder of the class folders at, or under, `root`. Raises FileNotFoundError."""
    for place in PLACES:
        base = root / place
        if base.is_dir() and any(path.with_suffix(".jpg").is_file() for path in base.glob("*/1.png")):
            return base
    raise FileNotFoundError(
        f"no FSS-1000 under data.root={root}: expected folders <class>/ with 1.jpg, 1.png, 2.jpg .. in {root} itself "
        f"or in {', '.join(PLACES[1:])}; it is at https://github.com/HKUSTCV/FSS-1000"
    )


class FSS1000Source(ImageSource):
    """Images `<class>/<number>` whose mask is the object from grey level 128 on (masks may be RGBA of all levels).

    The classes and their splits are those of the list files, see `episodes.sampling.lists.read_fss_classes`.

    Args:
        root: the folder of the class folders, or one above.
        name: `fss1000` (the 240 test classes are held out) or `fss1000_val` (the 240 validation classes, as UniRef++).
        lists: folder or file of the class lists; None looks in and beside the folder.
        cache, cache_frames: see `ImageSource`.

    Raises FileNotFoundError when images or lists are not found, ValueError for lists that contradict each other.
    """

    rule = f"grey {THRESHOLD}"

    def __init__(
        self,
        root: Path | str,
        name: str = "fss1000",
        *,
        lists: Path | str | None = None,
        cache: Path | str | None = None,
        cache_frames: int = 0,
    ) -> None:
        self.base = find_fss(Path(root).expanduser())
        self.present = tuple(sorted(path.name for path in self.base.iterdir() if path.is_dir()))
        found = find_classes(self.base, self.present, lists)
        super().__init__(
            root, fss_folds(name, found.train, found.val, found.test), cache=cache, cache_frames=cache_frames
        )

    def list_images(self) -> dict[str, tuple[Path, Path]]:
        names = set(self.folds.classes)
        return {
            f"{folder}/{path.stem}": (path.with_suffix(".jpg"), path)
            for folder in self.present
            if folder in names
            for path in sorted((self.base / folder).glob("*.png"))
        }

    def class_of(self, image: str, label: int) -> int | None:
        return self.folds.class_id(image.partition("/")[0]) if label == OBJECT else None

    def label_of(self, image: str, class_id: int) -> int:
        return OBJECT

    def read_label_map(self, image: str) -> np.ndarray:
        return (read_grey(self.files[image][1]) >= THRESHOLD).astype(np.uint8)

    def layout_problems(self) -> list[str]:
        unknown = [name for name in self.present if self.folds.class_id(name) is None]
        found = []
        if unknown:
            found.append(
                f"{len(unknown)} folders of {self.base} are in no class list and not used ({', '.join(unknown[:3])}): "
                f"correct their names or the lists"
            )
        for image in sorted(self.base.glob("*/*.jpg")):
            if image.parent.name not in unknown and not image.with_suffix(".png").is_file():
                found.append(f"image {image} has no mask beside it: restore {image.stem}.png, or remove the image")
        return found


def find_classes(base: Path, present: tuple[str, ...], lists: Path | str | None) -> FSSClasses:
    """The class lists under `lists`, or in `base` or the folder above. Raises FileNotFoundError that says where."""
    places = [Path(lists).expanduser()] if lists is not None else [base, base.parent]
    for place in places[:-1]:
        try:
            return read_fss_classes(place, present)
        except FileNotFoundError:
            continue  # the next place is tried, and the last one raises
    return read_fss_classes(places[-1], present)

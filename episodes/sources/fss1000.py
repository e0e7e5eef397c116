"""FSS-1000 (Li et al., CVPR 2020): a folder of ten images and ten masks for each of 1000 classes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from episodes.folds import fss_folds
from episodes.plain_files import read_text
from episodes.sources.files import read_grey
from episodes.sources.images import ImageSource

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

PLACES = (".", "FSS-1000", "fewshot_data", "fewshot_data/fewshot_data")
LIST_PLACES = (".", "fss", "data/splits/fss", "splits/fss", "lists/fss", "data/splits/lists/fss", "lists-filtered/fss")
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

    The classes and their splits are those of the list files, see `read_fss_classes`.

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

    @classmethod
    def open(cls, row: DataSet, opening: Opening) -> FSS1000Source:
        """Reader of the catalogue."""
        return cls(
            opening.folder, row.name, lists=opening.lists, cache=opening.cache, cache_frames=opening.cache_frames
        )

    def list_images(self) -> dict[str, tuple[Path, Path]]:
        """Images and masks by the name `<class>/<number>`, of the classes that the lists name."""
        names = set(self.folds.classes)
        return {
            f"{folder}/{path.stem}": (path.with_suffix(".jpg"), path)
            for folder in self.present
            if folder in names
            for path in sorted((self.base / folder).glob("*.png"))
        }

    def class_of(self, image: str, label: int) -> int | None:
        """Class of the image's folder for the label of the object, None for any other label."""
        return self.folds.class_id(image.partition("/")[0]) if label == OBJECT else None

    def label_of(self, image: str, class_id: int) -> int:
        """The label of the object, the same in every mask."""
        return OBJECT

    def read_label_map(self, image: str) -> np.ndarray:
        """0 and 1 `(H, W)` uint8: the grey levels from 128 on are the object."""
        return (read_grey(self.files[image][1]) >= THRESHOLD).astype(np.uint8)

    def layout_problems(self) -> list[str]:
        """Images without a mask."""
        return [
            f"image {image} has no mask beside it: restore {image.stem}.png, or remove the image"
            for image in sorted(self.base.glob("*/*.jpg"))
            if self.folds.class_id(image.parent.name) is not None and not image.with_suffix(".png").is_file()
        ]

    def layout_remarks(self) -> list[str]:
        """Folders that no list names."""
        unknown = [name for name in self.present if self.folds.class_id(name) is None]
        told = f"{len(unknown)} folders of {self.base} are in no class list and not used ({', '.join(unknown[:3])})"
        return [f"{told}: correct their names or the lists"] if unknown else []


def find_classes(base: Path, present: tuple[str, ...], lists: Path | str | None) -> FSSClasses:
    """The class lists under `lists`, or in `base` or the folder above. Raises FileNotFoundError that says where."""
    places = [Path(lists).expanduser()] if lists is not None else [base, base.parent]
    for place in places[:-1]:
        try:
            return read_fss_classes(place, present)
        except FileNotFoundError:
            continue  # the next place is tried, and the last one raises
    return read_fss_classes(places[-1], present)


@dataclass(frozen=True)
class FSSClasses:
    """Class names of the splits of FSS-1000 in file order. `val` is empty with the official list of test classes."""

    train: tuple[str, ...]
    val: tuple[str, ...]
    test: tuple[str, ...]


def read_fss_classes(path: Path | str, present: Sequence[str] = ()) -> FSSClasses:
    """The class lists of FSS-1000 in a folder (`trn.txt`, `val.txt`, `test.txt`) or the file `fss_test_set.txt`.

    Args:
        path: the folder, or the official file, or a folder above (`fss`, `data/splits/fss`, `lists/fss`).
        present: the classes on disk, of which those that the official list of test classes does not name train.

    Raises FileNotFoundError that names what was looked for, ValueError for a class in two lists.
    """
    path = Path(path).expanduser()
    if path.is_file():
        return _official_classes(path, present)
    for place in LIST_PLACES:
        base = path / place
        if (base / "trn.txt").is_file() or (base / "test.txt").is_file():
            return _checked(path, *(_classes(base / f"{name}.txt") for name in ("trn", "val", "test")))
        if (base / "fss_test_set.txt").is_file():
            return _official_classes(base / "fss_test_set.txt", present)
    raise FileNotFoundError(
        f"no class lists of FSS-1000 under {path}: expected trn.txt, val.txt and test.txt (one class name a line), or "
        f"fss_test_set.txt, there or in fss/; give their folder as data.lists"
    )


def _official_classes(path: Path, present: Sequence[str]) -> FSSClasses:
    test = _classes(path)
    return _checked(path, tuple(sorted(set(present) - set(test))), (), test)


def _classes(path: Path) -> tuple[str, ...]:
    """Class names, one a line. A missing list is an empty one: a part of the data set may have a part of the lists."""
    if not path.is_file():
        return ()
    return tuple(line.strip() for line in read_text(path).splitlines() if line.strip())


def _checked(path: Path, train: tuple[str, ...], val: tuple[str, ...], test: tuple[str, ...]) -> FSSClasses:
    names = [*train, *val, *test]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ValueError(f"the lists of FSS-1000 under {path} name classes twice: {', '.join(twice[:5])}")
    return FSSClasses(train, val, test)

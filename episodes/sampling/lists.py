"""Reads the list files of the field: which images of which class a fold trains or tests on.

Four forms are recognised by their files, in the folder itself or where the repositories keep them below it:

- HSNet (Min et al., ICCV 2021), PASCAL: `val/fold<k>.txt`, lines `2007_000452__09` (image, class);
- HSNet, COCO: `val/fold<k>.pkl`, a table of class index (from 0) -> image paths;
- BAM (Lang et al., CVPR 2022): `val/sub_class_file_list_<k>.txt`, a table of class id -> (image, mask) paths, or names;
- PFENet (Tian et al., TPAMI 2020): `val.txt`, lines `image mask`; an image counts for a class from 2048 pixels on.

The class lists of FSS-1000 name no images; `episodes.sources.fss1000` reads them.
"""

from __future__ import annotations

import ast
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from episodes.catalogue import folds_of
from episodes.folds import Folds
from episodes.plain_files import read_text
from episodes.sources.images import ImageSource
from episodes.sources.plain_pickle import load_plain

log = logging.getLogger(__name__)

PFENET_AREA = 2 * 32 * 32  # pixels of a class from which on PFENet lists an image for it
PFENET_TRAIN = ("voc_sbd_merge_noduplicate.txt", "train.txt", "voc_original_train.txt")
# benchmark -> the folder of its lists in the repositories
LISTED = {"pascal5i": "pascal", "coco2pascal": "pascal", "coco20i": "coco", "coco20i_contiguous": "coco"}
PLACES = (".", "{}", "data/splits/{}", "splits/{}", "lists/{}", "data/splits/lists/{}")
FORMS = "val/fold0.txt, val/fold0.pkl, val/sub_class_file_list_0.txt or val.txt"

Lists = dict[int, tuple[str, ...]]
Pairs = Iterable[tuple[int, str]]


@dataclass(frozen=True)
class Form:
    """One form of list files: `files(base, split, fold)` of `base`, and how one of them is read.

    `per_fold` False: a training file holds all training classes of its fold. True: only the classes of its own fold.
    """

    name: str
    pattern: str
    read: Callable[[Path], Pairs]
    folders: Mapping[str, str]
    per_fold: bool

    def file(self, base: Path, split: str, fold: int) -> Path:
        """The file of `train` or `test` for `fold`."""
        return base / self.folders[split] / self.pattern.format(fold)


def read_lists(
    path: Path | str, benchmark: str, group: int, split: str, source: ImageSource | None = None
) -> dict[int, tuple[str, ...]]:
    """Class id (from 1) -> names of the images, without folder and suffix, that the lists under `path` give it.

    Args:
        path: folder of the lists, see above.
        benchmark: a key of `LISTED`, or `fss1000` and `fss1000_val`, whose lists name classes: all their images.
        group: the fold.
        split: `train` for the training classes of the fold, `test` for its test classes.
        source: the data set; needed for lists that name images only, whose classes are counted in the masks, and for
            those that name classes only (`open_source` has read these).

    Raises FileNotFoundError for missing files, ValueError for broken ones or for lists of other folds.
    """
    if source is not None and source.name in ("fss1000", "fss1000_val"):
        of_fold = source.folds.train_classes(group) if split == "train" else source.folds.test_classes(group)
        return {c: source.images_of(c, split) for c in of_fold}
    if benchmark not in LISTED:
        raise ValueError(f"there are no image lists for {benchmark!r}, only for: {', '.join(LISTED)}")
    if split not in ("train", "test"):
        raise ValueError(f"split of a list must be 'train' or 'test', got {split!r}")
    base, form = find_lists(Path(path).expanduser(), LISTED[benchmark])
    folds = folds_of(benchmark)
    wanted = folds.train_classes(group) if split == "train" else folds.test_classes(group)
    if form is None:
        return _from_masks(base, split, wanted, source)
    homes = folds_of("pascal5i") if benchmark == "coco2pascal" else folds
    numbers = {_home(homes, c) for c in wanted} if split == "test" or form.per_fold else {group}
    members: dict[int, set[str]] = {c: set() for c in wanted}
    for number in sorted(numbers):
        file = form.file(base, split, number)
        of_file = _expected(homes, number, split, form)
        for class_id, name in form.read(_existing(file)):
            if class_id not in of_file:
                raise ValueError(
                    f"{file} lists class {class_id}, which fold {number} of {benchmark} does not have there: these "
                    f"lists are of other folds"
                )
            if class_id in members:
                members[class_id].add(name)
    return {c: tuple(sorted(names)) for c, names in members.items()}


def find_lists(path: Path, folder: str) -> tuple[Path, Form | None]:
    """The folder under `path` that holds lists, and their form; None stands for PFENet's. Raises FileNotFoundError."""
    if path.is_file():
        raise FileNotFoundError(f"data.lists={path} must be the folder of the lists, not one of its files")
    for place in PLACES:
        for below in (".", "fss_list"):
            base = path / place.format(folder) / below
            for form in FORMS_OF_FOLDS:
                if any(form.file(base, split, k).is_file() for split in ("test", "train") for k in range(4)):
                    return base, form
            if (base / "val.txt").is_file() and not (base / "test.txt").is_file():
                return base, None
    raise FileNotFoundError(f"no lists under data.lists={path}: expected {FORMS} there or in {folder}/")


def cut_lists(lists: Mapping[int, Sequence[str]], source: ImageSource) -> Lists:
    """The lists cut to the images that `source` has, with a warning that counts what is cut."""
    kept = {c: tuple(name for name in names if source.find(name) is not None) for c, names in lists.items()}
    lost = sum(map(len, lists.values())) - sum(map(len, kept.values()))
    if lost:
        log.warning("%d of %d listed images are not in %s", lost, sum(map(len, lists.values())), source.root)
    return kept


def read_names(path: Path) -> tuple[str, ...]:
    """Image names of a file with a name, or an image and its mask, in each line. Raises FileNotFoundError."""
    lines = read_text(_existing(path)).splitlines()
    return tuple(Path(line.split()[0]).stem for line in lines if line.strip())


def _from_masks(base: Path, split: str, wanted: Sequence[int], source: ImageSource | None) -> Lists:
    """PFENet's rule: a class is listed for an image from 2 * 32 * 32 pixels on."""
    candidates = [base / "val.txt"] if split == "test" else [base / name for name in PFENET_TRAIN]
    file = next((candidate for candidate in candidates if candidate.is_file()), candidates[0])
    if source is None:
        raise ValueError(f"{file} names images only: their classes are counted in the masks, so the data are needed")
    names = sorted(set(read_names(file)))
    images = {name: source.find(name) for name in names}
    absent = [name for name, image in images.items() if image is None]
    if absent:
        raise ValueError(
            f"{file} names {len(absent)} images that {source.name} in {source.root} does not have "
            f"({', '.join(absent[:3])}): complete the data set, or cut the list to the images that are there"
        )
    areas = {name: source.classes_in(image) for name, image in images.items() if image is not None}
    return {c: tuple(name for name in names if areas[name].get(c, 0) >= PFENET_AREA) for c in wanted}


def _home(folds: Folds, class_id: int) -> int:
    return next(g for g in folds.groups if class_id in folds.test_classes(g))


def _expected(folds: Folds, fold: int, split: str, form: Form) -> frozenset[int]:
    held_out = split == "test" or form.per_fold
    return frozenset(folds.test_classes(fold) if held_out else folds.train_classes(fold))


def _hsnet_text(path: Path) -> Pairs:
    for number, line in enumerate(read_text(path).splitlines(), start=1):
        name, mark, class_id = line.strip().rpartition("__")
        if not mark or not class_id.isdigit():
            raise ValueError(
                f"{path}, line {number}: expected an image and a class as in 2007_000452__09, got {line!r}"
            )
        yield int(class_id), name


def _hsnet_pickle(path: Path) -> Pairs:
    for index, images in _table(path, load_plain(path)):
        yield from ((index + 1, Path(image).stem) for image in images)


def _bam_text(path: Path) -> Pairs:
    try:
        table = ast.literal_eval(read_text(path))
    except (ValueError, SyntaxError) as error:
        raise ValueError(f"{path} is not a table of class id -> images ({error})") from error
    for class_id, images in _table(path, table):
        for image in images:
            yield class_id, Path(image if isinstance(image, str) else image[0]).stem


def _table(path: Path, table: Any) -> Iterable[tuple[int, Sequence[Any]]]:
    rows = table.items() if isinstance(table, dict) else ((None, None),)
    if not all(isinstance(key, int) and isinstance(images, (list, tuple)) for key, images in rows):
        raise ValueError(f"{path} is not a table of class number -> list of images")
    return table.items()


def _existing(path: Path) -> Path:
    if not path.is_file():
        raise FileNotFoundError(f"list {path} is missing: data.lists must hold the lists of every fold that is needed")
    return path


HSNET = {"train": "trn", "test": "val"}
FORMS_OF_FOLDS = (
    Form("hsnet", "fold{}.txt", _hsnet_text, HSNET, per_fold=True),
    Form("hsnet coco", "fold{}.pkl", _hsnet_pickle, HSNET, per_fold=False),
    Form("bam", "sub_class_file_list_{}.txt", _bam_text, {"train": "train", "test": "val"}, per_fold=False),
)

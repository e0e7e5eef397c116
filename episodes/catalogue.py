"""The catalogue of data sets: one row for each. Nothing here waits for a data set, torch or numpy.

Other packages add rows of their own: an entry point of the group `fewshot.sources` that loads to a `DataSet`.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.metadata import entry_points
from pathlib import Path
from typing import Any

from episodes.class_names import COCO, MINI_REF_YTVOS, SYNTHETIC, VOC
from episodes.folds import IMAGE_GROUPS, Folds

ENTRY_POINTS = "fewshot.sources"
KINDS = {
    "videos": "few-shot segmentation of videos, referred to by expressions",
    "images": "few-shot segmentation of images",
    "vos": "semi-supervised video object segmentation",
    "rvos": "referring video object segmentation",
    "ris": "referring image segmentation",
    "rfs": "referring segmentation of one frame of a video, with the frames around it",
    "vis": "instance segmentation of videos: tracks of all objects",
    "vss": "semantic segmentation of videos: a class for every pixel",
    "vps": "panoptic segmentation of videos, and of images",
    "pvos": "objects and stuff of videos, from the masks of the first frames",
}
WITH_FOLDS = ("videos", "images")


@dataclass(frozen=True)
class Opening:
    """Arguments with which a data set is opened. A reader takes those that concern it.

    Attributes:
        root: folder of the data set; None for a generated one only, which is then written to `cache`.
        cache: folder for generated files; None is the default of `episodes.sources.files.cache_folder`.
        cache_frames: bytes of decoded frames kept in memory.
        split: one of the row's splits; empty where it has none.
        resolution: "480p" or "Full-Resolution" (DAVIS).
        lists: folder or file with the class lists (FSS-1000); None looks for them beside the images.
        world_seed: seed of the generated world.
        world_videos: videos per class of the generated world.
        class_of_last_expression: see `episodes.sources.mini_ref.MiniRefSource`.
        exchange_box_limits: see `episodes.sources.mini_ref.MiniRefSource`.
    """

    root: Path | str | None = None
    cache: Path | str | None = None
    cache_frames: int = 0
    split: str = ""
    resolution: str = "480p"
    lists: Path | str | None = None
    world_seed: int = 0
    world_videos: int = 24
    class_of_last_expression: bool = False
    exchange_box_limits: bool = False

    @property
    def folder(self) -> Path:
        """The root as a path, `~` expanded. Raises ValueError where there is none."""
        if self.root is None:
            raise ValueError("this data set needs data.root, the folder that holds it")
        return Path(self.root).expanduser()


@dataclass(frozen=True)
class DataSet:
    """A row of the catalogue.

    Attributes:
        name: the benchmark, as `benchmark=` names it.
        kind: a key of `KINDS`: the task that is trained and tested on it.
        reader: `package.module:function`, imported when the data set is opened. It is called with this row and an
            `Opening`, and returns a `Source`.
        folds: its classes and groups; kinds `videos` and `images` only.
        splits: its splits, the tested one first; the other kinds only.
        generated: it is written to the cache where no root is given.
        draws_as: the word from which its random draws are derived; None: its name. A renamed benchmark keeps the name
            of its first release, so that its episodes stay.

    Raises:
        ValueError: an unknown kind, or folds or splits that its kind needs and it lacks.
    """

    name: str
    kind: str
    reader: str
    folds: Folds | None = None
    splits: tuple[str, ...] = ()
    generated: bool = False
    draws_as: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"data set {self.name}: kind must be one of {', '.join(KINDS)}, got {self.kind!r}")
        if self.kind in WITH_FOLDS and self.folds is None:
            raise ValueError(f"data set {self.name}: kind {self.kind} needs folds, see episodes.folds.Folds")
        if self.kind not in WITH_FOLDS and not self.splits:
            raise ValueError(f"data set {self.name}: kind {self.kind} needs splits, the tested one first")

    def open(self, opening: Opening) -> Any:
        """Open the data set: a `Source`, as its reader gives it.

        Raises:
            ValueError: a missing root or an unknown split.
            FileNotFoundError: a folder without the data set.
        """
        if opening.root is None and not self.generated:
            raise ValueError(f"benchmark {self.name} needs data.root, the folder that holds the data set")
        if self.splits and opening.split not in self.splits:
            raise ValueError(f"unknown split {opening.split!r} of {self.name}; there are: {', '.join(self.splits)}")
        read: Callable[[DataSet, Opening], Any] = pkgutil.resolve_name(self.reader)
        return read(self, opening)


# Domain shift of RePRI (Boudiaf et al., CVPR 2021): a model of group f of COCO-20i is tested on the classes of
# PASCAL VOC whose counterpart in COCO is held out in that group.
COCO_TO_PASCAL = (
    ("aeroplane", "boat", "chair", "diningtable", "dog", "person"),
    ("bicycle", "bus", "horse", "sofa"),
    ("bird", "car", "pottedplant", "sheep", "train", "tvmonitor"),
    ("bottle", "cat", "cow", "motorbike"),
)
_COCO_TO_PASCAL_IDS = tuple(tuple(VOC.index(name) + 1 for name in names) for names in COCO_TO_PASCAL)
_MINI_REF = "episodes.sources.mini_ref:MiniRefSource.open"
_VOC = "episodes.sources.voc:VOCSource.open"
_COCO = "episodes.sources.coco:COCOSource.open"
_FSS = "episodes.sources.fss1000:FSS1000Source.open"
_VOS = "episodes.sources.vos_layouts:"
_RVOS = "episodes.sources.ref_video:"
_RIS = "episodes.sources.refcoco:"
_RFS = "episodes.sources."
_VIS = "episodes.sources.tracks:open_tracks"
_VPS = "episodes.sources.panoptic:"
_SYNTHETIC = "episodes.sources.synthetic_vocabulary:"

OWN = (
    DataSet(
        "synthetic",
        "videos",
        "episodes.sources.synthetic:open_videos",
        Folds("synthetic", SYNTHETIC),
        generated=True,
        draws_as="invented",
    ),
    DataSet("mini_ref_ytvos", "videos", _MINI_REF, Folds("mini_ref_ytvos", MINI_REF_YTVOS)),
    DataSet(
        "mini_ref_sailvos",
        "videos",
        "episodes.sources.mini_ref:open_sailvos",
        Folds("mini_ref_sailvos", ("dog", "car", "person"), test_only=True),
    ),
    DataSet("pascal5i", "images", _VOC, Folds("pascal5i", VOC, IMAGE_GROUPS, layout="contiguous")),
    DataSet("coco20i", "images", _COCO, Folds("coco20i", COCO, IMAGE_GROUPS)),
    DataSet(
        "coco20i_contiguous", "images", _COCO, Folds("coco20i_contiguous", COCO, IMAGE_GROUPS, layout="contiguous")
    ),
    DataSet(
        "coco2pascal",
        "images",
        _VOC,
        Folds("coco2pascal", VOC, IMAGE_GROUPS, test_only=True, held_out=_COCO_TO_PASCAL_IDS),
    ),
    DataSet(
        "synthetic_images",
        "images",
        "episodes.sources.synthetic_images:open_images",
        Folds("synthetic_images", SYNTHETIC, IMAGE_GROUPS),
        generated=True,
        draws_as="invented_images",
    ),
    DataSet("fss1000", "images", _FSS, Folds("fss1000", (), (0,))),
    DataSet("fss1000_val", "images", _FSS, Folds("fss1000_val", (), (0,))),
    DataSet("folder", "images", "episodes.sources.folder:FolderSource.open", Folds("folder", (), ())),
    DataSet("davis16", "vos", _VOS + "open_davis16", splits=("val", "train")),
    DataSet("davis17", "vos", _VOS + "open_davis17", splits=("val", "train", "test-dev", "test-challenge")),
    DataSet("youtube_vos", "vos", _VOS + "open_youtube_vos", splits=("valid", "train", "test")),
    DataSet("lvos", "vos", _VOS + "open_split", splits=("valid", "train", "test")),
    DataSet("mose", "vos", _VOS + "open_split", splits=("valid", "train", "test")),
    DataSet("vos_folder", "vos", _VOS + "open_folder", splits=("all",)),
    DataSet("ref_davis17", "rvos", _RVOS + "open_davis17", splits=("valid", "train")),
    DataSet("ref_youtube_vos", "rvos", _RVOS + "open_youtube_vos", splits=("valid", "train", "test")),
    DataSet("mevis", "rvos", "episodes.sources.mevis:open_mevis", splits=("valid_u", "train", "valid", "test")),
    DataSet(
        "synthetic_rvos",
        "rvos",
        "episodes.sources.synthetic_rvos:open_videos",
        splits=("test", "train"),
        generated=True,
    ),
    DataSet("a2d", "rfs", _RFS + "a2d:open_a2d", splits=("test", "train")),
    DataSet("jhmdb", "rfs", _RFS + "jhmdb:open_jhmdb", splits=("test",)),
    DataSet("refcoco", "ris", _RIS + "open_refcoco", splits=("val", "testA", "testB", "train")),
    DataSet("refcoco_plus", "ris", _RIS + "open_refcoco", splits=("val", "testA", "testB", "train")),
    DataSet("refcocog", "ris", _RIS + "open_refcoco", splits=("val", "test", "train")),
    DataSet("refcoco_mixed", "ris", _RIS + "open_refcoco_mixed", splits=("train",)),
    DataSet("synthetic_vos", "vos", _SYNTHETIC + "open_vos", splits=("test", "train"), generated=True),
    DataSet("synthetic_pvos", "pvos", _SYNTHETIC + "open_pvos", splits=("unseen", "test", "train"), generated=True),
    DataSet("synthetic_vis", "vis", _SYNTHETIC + "open_vocabulary", splits=("test", "train"), generated=True),
    DataSet("synthetic_vss", "vss", _SYNTHETIC + "open_vocabulary", splits=("test", "train"), generated=True),
    DataSet("synthetic_vps", "vps", _SYNTHETIC + "open_vocabulary", splits=("test", "train"), generated=True),
    DataSet("youtube_vis19", "vis", _VIS, splits=("valid", "train", "test")),
    DataSet("youtube_vis21", "vis", _VIS, splits=("valid", "train", "test")),
    DataSet("ovis", "vis", _VIS, splits=("valid", "train", "test")),
    DataSet("vspw", "vss", "episodes.sources.vspw:open_vspw", splits=("val", "train", "test")),
    DataSet("vipseg", "vps", _VPS + "open_vipseg", splits=("val", "train", "test")),
    DataSet("viposeg", "pvos", "episodes.sources.viposeg:open_viposeg", splits=("valid", "train")),
    DataSet("coco_panoptic", "vps", _VPS + "open_coco_panoptic", splits=("val2017", "train2017")),
)


@cache
def catalogue() -> dict[str, DataSet]:
    """All rows by name: those of the package, then those of the entry points `fewshot.sources`.

    Raises:
        ValueError: an entry point that cannot be loaded or is no `DataSet`, or a name that is taken.
    """
    found = {row.name: row for row in OWN}
    for entry in entry_points(group=ENTRY_POINTS):
        row = _load(entry)
        if row.name in found:
            raise ValueError(f"entry point {entry.name} = {entry.value}: a data set {row.name!r} is there already")
        found[row.name] = row
    return found


def _load(entry: Any) -> DataSet:
    where = f"entry point {entry.name} = {entry.value} of the group {ENTRY_POINTS}"
    try:
        row = entry.load()
    except Exception as error:  # whatever another package raises at import
        raise ValueError(f"{where} cannot be loaded ({error!r}): correct or remove the package") from error
    if not isinstance(row, DataSet):
        raise ValueError(f"{where} must be an episodes.catalogue.DataSet, got {type(row).__name__}")
    return row


def rows(*kinds: str) -> tuple[DataSet, ...]:
    """The rows of `kinds`; of all kinds where none is named."""
    return tuple(row for row in catalogue().values() if not kinds or row.kind in kinds)


def names(*kinds: str) -> tuple[str, ...]:
    """Names of the data sets of `kinds`; of all kinds where none is named."""
    return tuple(row.name for row in rows(*kinds))


def data_set(name: str, *kinds: str) -> DataSet:
    """The row called `name`, which must be of one of `kinds` where some are named.

    Raises:
        ValueError: there is none; the message lists the names, or says what it is called now.
    """
    if name not in names(*kinds):
        if now := [row.name for row in rows(*kinds) if row.draws_as == name]:
            raise ValueError(f"benchmark {name!r} is called {now[0]!r} now: write {now[0]}")
        raise ValueError(f"unknown benchmark {name!r}; there are: {', '.join(names(*kinds))}")
    return catalogue()[name]


def folds_of(name: str) -> Folds:
    """Classes and groups of a benchmark of few-shot segmentation. Raises ValueError for any other name."""
    folds = data_set(name, *WITH_FOLDS).folds
    assert folds is not None  # `DataSet` checks it
    return folds


def draws_as(name: str) -> str:
    """The word from which the draws of benchmark `name` are derived: its own name unless its row holds another."""
    row = catalogue().get(name)
    return name if row is None or row.draws_as is None else row.draws_as

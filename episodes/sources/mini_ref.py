"""The Mini-Ref layouts: Mini-Ref-YouTube-VOS (also the synthetic world and mini-ref-davis) and Mini-Ref-SAIL-VOS."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from torch import Tensor

from episodes.sources.base import Expression, boxes_of, same_class
from episodes.sources.files import missing_files
from episodes.sources.index import Video, read_index
from episodes.sources.video_files import VideoFiles

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening
    from episodes.folds import Folds

NAMES = ("mini-ref-youtube-vos", "Mini-Ref-YouTube-VOS", "mini-SAIL-VOS", "Mini-SAIL-VOS", "Mini-Ref-SAIL-VOS")
META = ("train/meta.json", "train/train.json", "train.json", "meta.json")
EXPRESSIONS = ("meta_expressions/train/meta_expressions.json", "meta_expressions.json")


@dataclass(frozen=True)
class Layout:
    """Files and folders of a data set."""

    meta: Path
    expressions: Path
    images: Path
    masks: Path


def find_layout(root: Path) -> Layout:
    """The layout under `root`, which may be the outer folder (with `data/<name>`) or the inner one.

    Raises FileNotFoundError that lists the places looked at.
    """
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: give the folder that holds the data set")
    bases = [root, *(root / outer / name for outer in ("data", ".") for name in NAMES)]
    for base in bases:
        meta, sayings = _first_file(base, META), _first_file(base, EXPRESSIONS)
        if meta and sayings:
            for folder in (meta.parent, *bases):
                images = next((folder / n for n in ("JPEGImages", "Images") if (folder / n).is_dir()), None)
                if images and (folder / "Annotations").is_dir():
                    return Layout(meta, sayings, images, folder / "Annotations")
            raise FileNotFoundError(f"{meta.parent} must hold the folders JPEGImages (or Images) and Annotations")
    raise FileNotFoundError(
        f"no data set under {root}: expected {root}/data/{NAMES[0]} (or {root} itself) to hold {META[0]} and "
        f"{EXPRESSIONS[0]}, with JPEGImages and Annotations beside the first; "
        f"for SAIL-VOS {root}/data/{NAMES[2]} with Images, Annotations, meta.json and meta_expressions.json"
    )


def _first_file(base: Path, names: Sequence[str]) -> Path | None:
    return next((base / name for name in names if (base / name).is_file()), None)


class MiniRefSource(VideoFiles):
    """A data set in one of the Mini-Ref layouts.

    The JSON files are read once, here; frames and masks when they are asked for.

    Args:
        root: the folder of the data set, see `find_layout`.
        folds: names the classes.
        cache_frames: bytes of decoded frames and masks to keep in memory; 0 keeps none.
        merge_objects: masks are clipped to {0, 1} (SAIL-VOS): every annotated pixel is the object.
        class_of_last_expression: a video belongs to the class of the object of its last expression only, as in CMA's
            released code; False: to the classes of all its expressions.
        exchange_box_limits: boxes are clipped with height and width exchanged, and an object counts as visible with a
            single pixel, as in CMA's released code; False: boxes as they are, visible where they have an area.
    """

    def __init__(
        self,
        root: Path | str,
        folds: Folds,
        *,
        cache_frames: int = 0,
        merge_objects: bool = False,
        class_of_last_expression: bool = False,
        exchange_box_limits: bool = False,
    ) -> None:
        super().__init__(cache_frames=cache_frames, merge_objects=merge_objects)
        self.name = folds.name
        self.root = Path(root).expanduser()
        self.folds = folds
        self.class_of_last_expression = class_of_last_expression
        self.exchange_box_limits = exchange_box_limits
        self.layout = find_layout(self.root)
        self.index = read_index(self.layout.meta, self.layout.expressions, folds)
        self.suffix = ".bmp" if self.layout.images.name == "Images" else ".jpg"  # SAIL-VOS has bitmaps
        self._by_class: dict[int, tuple[str, ...]] = self._sort_by_class()

    @classmethod
    def open(cls, row: DataSet, opening: Opening, *, merge_objects: bool = False) -> MiniRefSource:
        """Reader of the catalogue."""
        assert row.folds is not None  # the catalogue checks it
        return cls(
            opening.folder,
            row.folds,
            cache_frames=opening.cache_frames,
            merge_objects=merge_objects,
            class_of_last_expression=opening.class_of_last_expression,
            exchange_box_limits=opening.exchange_box_limits,
        )

    def _sort_by_class(self) -> dict[int, tuple[str, ...]]:
        members: dict[int, list[str]] = {}
        for name, video in self.index.items():
            classes = [e.class_id for e in video.expressions]
            for class_id in sorted(set(classes[-1:] if self.class_of_last_expression else classes)):
                members.setdefault(class_id, []).append(name)
        return {class_id: tuple(names) for class_id, names in members.items()}

    def videos(self, class_id: int) -> tuple[str, ...]:
        """Sorted names of the videos of a class."""
        return self._by_class.get(class_id, ())

    def frames(self, video: str) -> tuple[str, ...]:
        """Names of the annotated frames, in time order. Raises KeyError for an unknown video."""
        return self._entry(video).frames

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """Expressions in file order. Raises ValueError for a broken entry or a missing folder."""
        entry = self._entry(video)
        errors = [*entry.errors, *self._missing_folders(video)]
        if errors:
            raise ValueError(f"{self.name} in {self.root}: " + "; ".join(errors))
        return entry.expressions

    def twins(self, video: str, object_id: int) -> frozenset[int]:
        """Other annotated objects of the class of `object_id`; none where masks merge the objects of a video."""
        return frozenset() if self.merge_objects else same_class(self._entry(video).objects, object_id)

    def image_path(self, video: str, frame: str) -> Path:
        """File of a frame: JPEG, of SAIL-VOS BMP."""
        return self.layout.images / video / f"{frame}{self.suffix}"

    def mask_path(self, video: str, frame: str) -> Path:
        """File of a frame's mask."""
        return self.layout.masks / video / f"{frame}.png"

    def boxes(self, masks: Tensor) -> tuple[Tensor, Tensor]:
        """Boxes `(T, 4)` and visibility `(T,)` of masks `(T, H, W)`, see `exchange_box_limits`."""
        if not self.exchange_box_limits:
            return boxes_of(masks)
        boxes, _ = boxes_of(masks)
        height, width = masks.shape[-2:]
        boxes[:, 0::2].clamp_(0, height)  # sic: the released code has height and width exchanged
        boxes[:, 1::2].clamp_(0, width)
        return boxes, masks.flatten(1).any(1)

    def problems(self) -> list[str]:
        """Missing, broken or unused videos and classes. Reads folder listings, no images."""
        # What is broken comes first: a run shows only the first few problems.
        return [*self.broken(), *_remarks(self), *_class_problems(self)]

    def broken(self) -> list[str]:
        """Broken entries and missing files."""
        return [*(error for video in self.index.values() for error in video.errors), *_file_problems(self)]

    def listed_objects(self, video: str) -> frozenset[int] | None:
        """Objects of meta.json; of merged masks, one."""
        return frozenset({1} if self.merge_objects else self._entry(video).objects)

    def fingerprint(self) -> str:
        """Hash of videos, frames, words and classes; the same on every machine."""
        rows = [
            [name, v.frames, [[e.id, e.text, e.object_id, e.class_id] for e in v.expressions]]
            for name, v in self.index.items()
        ]
        return hashlib.sha256(json.dumps([self.draws_as, self.folds.classes, rows]).encode()).hexdigest()

    def _entry(self, video: str) -> Video:
        if video not in self.index:
            raise KeyError(f"{self.name} in {self.root} has no video {video!r}")
        return self.index[video]

    def _missing_folders(self, video: str) -> list[str]:
        folders = (self.layout.images / video, self.layout.masks / video)
        return [
            f"folder {f} is missing: restore it, or remove the video from the lists" for f in folders if not f.is_dir()
        ]


def open_sailvos(row: DataSet, opening: Opening) -> MiniRefSource:
    """Reader of Mini-Ref-SAIL-VOS, whose masks have one object each."""
    return MiniRefSource.open(row, opening, merge_objects=True)


def _class_problems(source: MiniRefSource) -> list[str]:
    found = []
    for class_id, name in enumerate(source.folds.classes, start=1):
        videos = source.videos(class_id)
        if not videos:
            found.append(f"class {name!r} has no video: it is left out of every episode; add at least two to use it")
        elif len(videos) == 1:
            found.append(
                f"class {name!r} has one video ({videos[0]}): an episode needs a support and a query, so it is left "
                f"out; add at least one more to use it"
            )
    return found


def _remarks(source: MiniRefSource) -> list[str]:
    found: list[str] = []
    for name, video in source.index.items():
        found += video.remarks
        if not video.errors and not video.remarks and not video.expressions:
            found.append(f"video {name!r} has no expression: it is left out; write one for an object of it to use it")
        if source.merge_objects and len(video.objects) > 1:
            found.append(f"video {name!r} has {len(video.objects)} objects, but masks of this layout are merged to one")
    return found


def _file_problems(source: MiniRefSource) -> list[str]:
    found = []
    for name, video in source.index.items():
        if not video.expressions:
            continue
        for folder, what, suffix in (
            (source.layout.images / name, "frame", source.suffix),
            (source.layout.masks / name, "mask", ".png"),
        ):
            found += missing_files(folder, what, [f"{frame}{suffix}" for frame in video.frames])
    return found

"""The generated referring videos with everything in them named: tracks, classes and segments of the same clips.

The videos are those of `episodes.sources.synthetic_rvos`. Their shapes are the things; the ground, all that is no
thing, is the one stuff. So one world serves every task of videos: expressions (`synthetic_rvos`), first masks
(`synthetic_vos`; with the ground, `synthetic_pvos`), and vocabularies (`synthetic_vis`, `synthetic_vss`,
`synthetic_vps`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.clip import Objects
from episodes.panoptic import GROUPS, PanopticFrame, Segment
from episodes.sources.base import objects_of
from episodes.sources.files import ArrayCache, cache_folder, read_labels
from episodes.sources.generated import written_once
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.segmentations import runs_of
from episodes.sources.synthetic_rvos import (
    GROUND,
    NOVEL_SHAPES,
    SHAPES,
    STRIPED,
    Thing,
    draw_thing,
    open_videos,
    videos_folder,
    write_split,
)
from episodes.sources.vocabulary import Category, VocabularySource
from episodes.sources.vos_layouts import VOSLayout, VOSSource, split_layout

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

FORMAT, UNSEEN = 1, 60  # of split `unseen`: raise the first when other files are written; its videos
PLAIN = "ground"
PVOS_CLASSES = (*SHAPES, PLAIN, *NOVEL_SHAPES, STRIPED)
THINGS = tuple(Category(number, shape) for number, shape in enumerate(SHAPES))
EVERYTHING_NAMED = (*THINGS, Category(len(SHAPES), PLAIN, thing=False))


class SyntheticVocabularySource(VocabularySource):
    """Everything in the generated referring videos, in the forms of the real data sets.

    It answers as `TrackSource` (`truth`, `video_id`), `VSPWSource` (`read_semantic`) and `PanopticSource`
    (`read_panoptic`) do. With `task` "vis" things alone are asked for; else the ground too.

    Args:
        name: the benchmark.
        task: "vis", "vss" or "vps".
        files: the videos.
        cache_frames: bytes of decoded masks to keep in memory; 0 keeps none.
    """

    def __init__(self, name: str, task: str, files: RefVideoSource, *, cache_frames: int = 0) -> None:
        self.name, self.task, self.files = name, task, files
        self.root, self.split = files.root, files.split
        self.categories = THINGS if task == "vis" else EVERYTHING_NAMED
        self._cache = ArrayCache(cache_frames)

    def has_truth(self) -> bool:
        """Whether the tracks are listed: always, as the world is generated with them."""
        return True

    @cached_property
    def truth(self) -> dict[str, Any]:
        """What `benchmarks.metrics.vis.VisAccumulator` takes. Reads all masks."""
        rows = [row for video in self.names() for row in self._tracks(video)]
        videos = []
        for video in self.names():
            height, width = self._labels(video, self.frames(video)[:1])[0].shape
            own = {"id": self.video_id(video), "height": height, "width": width, "length": len(self.frames(video))}
            videos.append(own)
        categories = [{"id": category.id, "name": category.name} for category in THINGS]
        return {"videos": videos, "categories": categories, "annotations": rows}

    def video_id(self, video: str) -> int:
        """Number of a video, from 1 on."""
        return 1 + self.names().index(video)

    def names(self) -> tuple[str, ...]:
        """Sorted names of the videos."""
        return self.files.names()

    def frames(self, video: str) -> tuple[str, ...]:
        """All frames, in time order."""
        return self.files.frames(video)

    def object_ids(self, video: str) -> tuple[int, ...]:
        """Numbers of the things and, but for tracks, the ground."""
        things = sorted(self._numbers(video))
        return (*things,) if self.task == "vis" else (*things, GROUND)

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB."""
        return self.files.read_frames(video, frames)

    def read_panoptic(self, video: str, frames: Sequence[str] | None = None) -> Iterator[PanopticFrame]:
        """Maps and lists of the frames, one by one; None: of all. No pixel is void."""
        numbers = self._numbers(video) | {GROUND: EVERYTHING_NAMED[-1].id}
        for frame in self.frames(video) if frames is None else frames:
            (ids,) = self._labels(video, (frame,))
            yield PanopticFrame(frame, ids, tuple(Segment(k, numbers[k]) for k in np.unique(ids).tolist()))

    def read_semantic(self, video: str, frames: Sequence[str] | None = None) -> np.ndarray:
        """Labels `(T, H, W)` uint8 as VSPW has them: the number of the category and one. None: of all frames."""
        labels = np.zeros(256, np.uint8)
        for k, number in (self._numbers(video) | {GROUND: EVERYTHING_NAMED[-1].id}).items():
            labels[k] = number + 1
        return labels[np.stack(self._labels(video, self.frames(video) if frames is None else frames))]

    def read_objects(self, video: str, frames: Sequence[str]) -> Objects:
        """All things that a clip shows and, but for tracks, the ground; of classes, one object for each class."""
        maps = np.stack(self._labels(video, frames))
        numbers = self._numbers(video) | {GROUND: EVERYTHING_NAMED[-1].id}
        if self.task == "vss":
            maps = self.read_semantic(video, frames)
            numbers = {number + 1: number for number in numbers.values()}
        ids = sorted(numbers.keys() - ({GROUND} if self.task == "vis" else set()))
        return objects_of(ids, [numbers[k] for k in ids], torch.from_numpy(np.stack([maps == k for k in ids])))

    def where(self, video: str, frame: str) -> str:
        """Name of the video and the mask file, for messages."""
        return self.files.where(video, frame)

    def problems(self) -> list[str]:
        """Missing files, one sentence each."""
        return self.files.problems()

    def content(self) -> Any:
        """Videos with frames and classes of the things."""
        return [[video, self.frames(video), sorted(self._numbers(video).items())] for video in self.names()]

    def _numbers(self, video: str) -> dict[int, int]:
        """Number of a thing -> number of its category."""
        listed = {said.object_id: self.files.class_of(video, said.object_id) for said in self.files.expressions(video)}
        return {k: SHAPES.index(shape) for k, shape in listed.items() if shape is not None}

    def _labels(self, video: str, frames: Sequence[str]) -> list[np.ndarray]:
        """Numbers of the things `(H, W)`, and `GROUND`."""
        maps = (self._cache.get(self.files.mask_path(video, frame), read_labels) for frame in frames)
        return [np.where(labels == 0, np.uint8(GROUND), labels) for labels in maps]

    def _tracks(self, video: str) -> Iterator[dict[str, Any]]:
        maps = self._labels(video, self.frames(video))
        for k, category in sorted(self._numbers(video).items()):
            masks = [maps_k if maps_k.any() else None for maps_k in (labels == k for labels in maps)]
            yield {
                "id": 100 * self.video_id(video) + k,
                "video_id": self.video_id(video),
                "category_id": category,
                "iscrowd": 0,
                "segmentations": [None if mask is None else runs_of(mask) for mask in masks],
            }


class SyntheticPVOSSource(VOSSource):
    """The generated videos with the masks of the first frames, the ground's among them.

    In split `unseen` half of the things and every other ground are of classes that no other split has.
    """

    task = "pvos"
    exceptions: Mapping[str, Mapping[int, str]] = {}  # no class changes its group
    class_names = PVOS_CLASSES

    def __init__(self, name: str, root: Path, split: str, layout: VOSLayout, files: RefVideoSource, cache: int) -> None:
        super().__init__(name, root, split, layout, cache_frames=cache)
        self.files = files
        members = (SHAPES, NOVEL_SHAPES, (PLAIN,), (STRIPED,))
        self.groups = {
            group: frozenset(map(PVOS_CLASSES.index, own)) for group, own in zip(GROUPS, members, strict=True)
        }

    def classes_of(self, video: str) -> dict[int, int]:
        """Number of the class of each object, the ground included: its place in `PVOS_CLASSES`."""
        names = {k: self.files.class_of(video, k) or PLAIN for k in self.item(video).objects}
        return {k: PVOS_CLASSES.index(name) for k, name in names.items()}

    def all_given(self, video: str) -> Mapping[str, tuple[int, ...]]:
        """Frame -> ids of all objects whose mask is given there: each once."""
        return self.given(video)

    def read_label_map(self, path: Path) -> np.ndarray:
        """Object ids `(H, W)` of a mask file, with `GROUND` where nothing else is."""
        labels = super().read_label_map(path)
        return np.where(labels == 0, np.uint8(GROUND), labels)


def open_vocabulary(row: DataSet, opening: Opening) -> SyntheticVocabularySource:
    """Reader of the catalogue, for the kinds `vis`, `vss` and `vps`."""
    files = open_videos(row, opening)
    return SyntheticVocabularySource(row.name, row.kind, files, cache_frames=opening.cache_frames)


def open_vos(row: DataSet, opening: Opening) -> VOSSource:
    """Reader of the catalogue, for the kind `vos`."""
    layout = split_layout(videos_folder(opening), opening.split)
    return VOSSource(row.name, videos_folder(opening), opening.split, layout, cache_frames=opening.cache_frames)


def open_pvos(row: DataSet, opening: Opening) -> SyntheticPVOSSource:
    """Reader of the catalogue, for the kind `pvos`."""
    root = ensure_unseen(opening) if opening.split == "unseen" else videos_folder(opening)
    layout, files = split_layout(root, opening.split), open_videos(row, replace(opening, root=root))
    return SyntheticPVOSSource(row.name, root, opening.split, layout, files, opening.cache_frames)


def ensure_unseen(opening: Opening) -> Path:
    """The root that is given, or else the folder of split `unseen`; written if it is not there."""
    if opening.root is not None:
        return opening.folder
    base = cache_folder(None if opening.cache is None else Path(opening.cache))
    what = f"the synthetic videos of unseen classes ({UNSEEN})"
    return written_once(base, f"synthetic-unseen-v{FORMAT}", what, write_unseen)


def write_unseen(folder: Path, count: int = UNSEEN) -> None:
    """Write `count` videos of split `unseen` under `folder`. Deterministic."""
    write_split(folder, "unseen", count, half_novel, (PLAIN, STRIPED))


def half_novel(rng: np.random.Generator) -> list[Thing]:
    """A thing of a new shape and one of a known shape, in any order."""
    things: list[Thing] = []
    for shapes in (NOVEL_SHAPES, SHAPES) if rng.random() < 0.5 else (SHAPES, NOVEL_SHAPES):
        things.append(draw_thing(rng, str(rng.choice(shapes)), None, things))
    return things

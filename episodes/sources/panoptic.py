"""Panoptic maps on disk: VIPSeg, and COCO panoptic, whose images are videos of one frame."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.clip import Objects
from episodes.panoptic import PanopticFrame, Segment, ids_of_colours, list_fault
from episodes.plain_files import UnsuitableFile
from episodes.sources.base import objects_of
from episodes.sources.entries import load_json, refuse_twice, whole
from episodes.sources.files import ArrayCache, missing_files, read_image
from episodes.sources.task_source import unknown_name
from episodes.sources.video_files import order_faults, same_size
from episodes.sources.vocabulary import Category, VocabularySource

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

FRAME = "0"  # of an image


@dataclass(frozen=True)
class PanopticEntry:
    """A frame: its picture, its map and the list of its segments."""

    image: Path
    map: Path
    segments: tuple[Segment, ...]


@dataclass(frozen=True)
class PanopticLayout:
    """Videos of a split: name -> frame -> entry; the file with their lists, and the categories."""

    lists: Path
    videos: Mapping[str, Mapping[str, PanopticEntry]]
    categories: tuple[Category, ...]


class PanopticSource(VocabularySource):
    """Videos in which every segment has an id, a category and, in each frame, a place in a list.

    Args:
        name: the benchmark.
        root: the folder that the user gave, for messages.
        split: for messages.
        layout: the lists and where the files are.
        cache_frames: bytes of decoded frames and maps to keep in memory; 0 keeps none.
    """

    task = "vps"

    def __init__(self, name: str, root: Path, split: str, layout: PanopticLayout, *, cache_frames: int = 0) -> None:
        self.name, self.root, self.split, self.layout = name, root, split, layout
        self.categories = layout.categories
        self._places = {category.id: place for place, category in enumerate(layout.categories)}
        self._cache = ArrayCache(cache_frames)

    def names(self) -> tuple[str, ...]:
        """Sorted names of the videos."""
        return tuple(sorted(self.layout.videos))

    def frames(self, video: str) -> tuple[str, ...]:
        """Frames in the order of the list."""
        return tuple(self._entries(video))

    def object_ids(self, video: str) -> tuple[int, ...]:
        """Ids of the segments of a video that are no crowd in some frame."""
        lists = (entry.segments for entry in self._entries(video).values())
        return tuple(sorted({segment.id for own in lists for segment in own if not segment.crowd}))

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB. Raises FileNotFoundError or ValueError, naming the file."""
        paths = [self._entry(video, frame).image for frame in frames]
        images = [self._cache.get(path, read_image) for path in paths]
        same_size(video, paths, images)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def read_panoptic(self, video: str, frames: Sequence[str] | None = None) -> Iterator[PanopticFrame]:
        """Maps and lists of the frames, one by one; None: of all.

        Raises FileNotFoundError for a missing map, ValueError for one that cannot be read or does not show just the
        segments of its list.
        """
        for frame in self.frames(video) if frames is None else frames:
            entry = self._entry(video, frame)
            ids = self._cache.get(entry.map, _read_ids)
            if fault := list_fault(np.unique(ids), [segment.id for segment in entry.segments]):
                raise ValueError(f"{entry.map} does not fit {self.layout.lists}: {fault}: download both again")
            yield PanopticFrame(frame, ids, entry.segments)

    def read_objects(self, video: str, frames: Sequence[str]) -> Objects:
        """All segments that a clip shows, things and stuff; the category is that of the first frame that lists it."""
        maps = list(self.read_panoptic(video, frames))
        same_size(video, [self._entry(video, own.name).map for own in maps], [own.ids for own in maps])
        labels: dict[int, int] = {}
        for segment in (segment for own in maps for segment in own.segments if not segment.crowd):
            labels.setdefault(segment.id, self._places[segment.category])
        ids = np.stack([own.ids for own in maps])
        masks = np.array([ids == k for k in labels], bool).reshape(len(labels), *ids.shape)
        return objects_of(list(labels), list(labels.values()), torch.from_numpy(masks))

    def where(self, video: str, frame: str) -> str:
        """Name of the video and the map, for messages."""
        return f"video {video!r}: map {self._entry(video, frame).map}"

    def problems(self) -> list[str]:
        """Missing files, one sentence a folder. Reads folder listings; a map is compared with its list when read."""
        wanted: dict[tuple[Path, str], list[str]] = {}
        for entries in self.layout.videos.values():
            for entry in entries.values():
                for what, path in (("frame", entry.image), ("map", entry.map)):
                    wanted.setdefault((path.parent, what), []).append(path.name)
        return [line for (folder, what), names in wanted.items() for line in missing_files(folder, what, names)]

    def content(self) -> Any:
        """Videos with frames and segments."""
        return [[v, [[f, self._entry(v, f).segments] for f in self.frames(v)]] for v in self.names()]

    def _entries(self, video: str) -> Mapping[str, PanopticEntry]:
        if video not in self.layout.videos:
            raise unknown_name(self, video)
        return self.layout.videos[video]

    def _entry(self, video: str, frame: str) -> PanopticEntry:
        entries = self._entries(video)
        if frame not in entries:
            raise KeyError(f"{self.name}: video {video!r} has no frame {frame!r}")
        return entries[frame]


def vipseg_layout(root: Path, split: str) -> PanopticLayout:
    """VIPSeg: `panoptic_gt_VIPSeg_<split>.json`, and folders of videos in `images/` (or `imgs/`) and `panomasksRGB/`.

    They lie in `root` or in `root/VIPSeg_720P`. Raises FileNotFoundError for a missing list, ValueError for one of
    another form.
    """
    name = f"panoptic_gt_VIPSeg_{split}.json"
    base = next((folder for folder in (root, root / "VIPSeg_720P") if (folder / name).is_file()), None)
    if base is None:
        raise FileNotFoundError(f"{root / name} is missing: data.root must be the folder that holds VIPSeg")
    images = next((base / word for word in ("images", "imgs") if (base / word).is_dir()), base / "images")

    def videos(lists: Mapping[str, Any]) -> dict[str, dict[str, PanopticEntry]]:
        refuse_twice((own["video_id"] for own in lists["annotations"]), base / name, "videos")
        found = {}
        for own in lists["annotations"]:
            video, rows = str(own["video_id"]), own["annotations"]
            if faults := order_faults(video, [Path(row["file_name"]).stem for row in rows]):
                raise UnsuitableFile(f"{base / name}: {faults[0]}")
            maps = base / "panomasksRGB" / video
            found[video] = {Path(row["file_name"]).stem: _entry(images / video, maps, row) for row in rows}
        return found

    return _layout(base / name, videos)


def coco_panoptic_layout(root: Path, split: str) -> PanopticLayout:
    """COCO panoptic: `annotations/panoptic_<split>.json`, the maps in `annotations/panoptic_<split>/`, and `<split>/`.

    Raises FileNotFoundError for a missing list, ValueError for one of another form.
    """
    path = root / "annotations" / f"panoptic_{split}.json"
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: data.root must be the folder that holds COCO")
    maps = next((f for f in (path.with_suffix(""), root / f"panoptic_{split}") if f.is_dir()), path.with_suffix(""))
    images = next((f / split for f in (root, root / "images") if (f / split).is_dir()), root / split)

    def videos(lists: Mapping[str, Any]) -> dict[str, dict[str, PanopticEntry]]:
        rows = lists["annotations"]
        refuse_twice((row["file_name"] for row in rows), path, "maps")
        return {Path(row["file_name"]).stem: {FRAME: _entry(images, maps, row)} for row in rows}

    return _layout(path, videos)


def open_vipseg(row: DataSet, opening: Opening) -> PanopticSource:
    """Reader of VIPSeg."""
    return _open(row, opening, vipseg_layout(opening.folder, opening.split))


def open_coco_panoptic(row: DataSet, opening: Opening) -> PanopticSource:
    """Reader of COCO panoptic."""
    return _open(row, opening, coco_panoptic_layout(opening.folder, opening.split))


def _open(row: DataSet, opening: Opening, layout: PanopticLayout) -> PanopticSource:
    return PanopticSource(row.name, opening.folder, opening.split, layout, cache_frames=opening.cache_frames)


def _layout(path: Path, read: Callable[[Any], dict[str, dict[str, PanopticEntry]]]) -> PanopticLayout:
    lists = load_json(path)
    try:
        refuse_twice((row["id"] for row in lists["categories"]), path, "categories")
        known = tuple(Category(whole(c["id"]), str(c["name"]), bool(c["isthing"])) for c in lists["categories"])
        layout = PanopticLayout(path, read(lists), tuple(sorted(known, key=lambda category: category.id)))
    except UnsuitableFile:
        raise
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(f"{path} is no list of panoptic segments ({error!r}): download it again") from error
    numbers = {category.id for category in known}
    segments = (s for frames in layout.videos.values() for entry in frames.values() for s in entry.segments)
    if odd := next((segment for segment in segments if segment.category not in numbers), None):
        raise ValueError(f"{path}: segment {odd.id} is of category {odd.category}, which the file does not name")
    return layout


def _entry(images: Path, maps: Path, row: Mapping[str, Any]) -> PanopticEntry:
    segments = (Segment(whole(s["id"]), whole(s["category_id"]), bool(s["iscrowd"])) for s in row["segments_info"])
    file = Path(row["file_name"])
    return PanopticEntry(images / f"{file.stem}.jpg", maps / f"{file.stem}.png", tuple(segments))


def _read_ids(path: Path) -> np.ndarray:
    return ids_of_colours(read_image(path))

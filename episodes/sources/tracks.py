"""Tracks of objects on disk: YouTube-VIS 2019 and 2021 and OVIS, one file of lists and folders of frames."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from episodes.clip import Objects
from episodes.plain_files import UnsuitableFile
from episodes.sources.base import objects_of
from episodes.sources.entries import load_json, refuse_twice, whole
from episodes.sources.files import ArrayCache, missing_files, read_image
from episodes.sources.segmentations import decode
from episodes.sources.task_source import unknown_name
from episodes.sources.video_files import order_faults, same_size
from episodes.sources.vocabulary import Category, VocabularySource

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

LISTS = ("{split}.json", "{split}/instances.json", "instances_{split}.json", "annotations_{split}.json")
FOLDERS = ("{split}/JPEGImages", "JPEGImages/{split}", "{split}", "JPEGImages")


@dataclass(frozen=True)
class TrackVideo:
    """A video: its number in the files, the files of its frames by name, its size, and its tracks by object id."""

    id: int
    files: Mapping[str, str]
    size: tuple[int, int]
    tracks: Mapping[int, Mapping[str, Any]]


class TrackSource(VocabularySource):
    """Videos whose objects are listed as tracks: a category, and a segmentation or nothing in each frame.

    Object ids are the numbers of the annotations. Crowds are no objects of clips; they are part of the truth.

    Args:
        name: the benchmark.
        lists: the file: `videos`, `categories` and, but for a split whose truth is kept by a server, `annotations`.
        images: the folder with the folders of frames.
        split: for messages.
        cache_frames: bytes of decoded frames to keep in memory; 0 keeps none.

    Raises ValueError for a file of another form.
    """

    task = "vis"

    def __init__(self, name: str, lists: Path, images: Path, split: str, *, cache_frames: int = 0) -> None:
        self.name, self.root, self.split, self.images = name, lists, split, images
        self._cache = ArrayCache(cache_frames)
        content = load_json(lists)
        try:
            refuse_twice((row["id"] for row in content["categories"]), lists, "categories")
            self.categories = tuple(
                sorted((Category(whole(c["id"]), str(c["name"])) for c in content["categories"]), key=lambda c: c.id)
            )
            self._places = {category.id: place for place, category in enumerate(self.categories)}
            self._videos = self._read(content)
        except UnsuitableFile:
            raise
        except (KeyError, TypeError, AttributeError, IndexError, ValueError) as error:
            raise ValueError(f"{lists} is no list of tracks ({error!r}): download it again") from error

    def has_truth(self) -> bool:
        """Whether the tracks are listed; those of validation and test sets are kept by servers."""
        return any(video.tracks for video in self._videos.values())

    @cached_property
    def truth(self) -> dict[str, Any]:
        """What `benchmarks.metrics.vis.VisAccumulator` takes: all videos with their tracks, crowds among them."""
        videos = self._videos.values()
        return {
            "videos": [{"id": v.id, "height": v.size[0], "width": v.size[1], "length": len(v.files)} for v in videos],
            "categories": [{"id": category.id, "name": category.name} for category in self.categories],
            "annotations": [dict(track) for v in videos for track in v.tracks.values()],
        }

    def video_id(self, video: str) -> int:
        """Number of a video in the files, which results name."""
        return self._entry(video).id

    def names(self) -> tuple[str, ...]:
        """Sorted names of the videos: the folders of their frames."""
        return tuple(sorted(self._videos))

    def frames(self, video: str) -> tuple[str, ...]:
        """Frames in the order of the list."""
        return tuple(self._entry(video).files)

    def object_ids(self, video: str) -> tuple[int, ...]:
        """Numbers of the tracks that are no crowd."""
        return tuple(sorted(k for k, track in self._entry(video).tracks.items() if not track.get("iscrowd", 0)))

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB. Raises FileNotFoundError or ValueError, naming the file."""
        paths = [self.images / self._file(video, frame) for frame in frames]
        images = [self._cache.get(path, read_image) for path in paths]
        same_size(video, paths, images)
        return torch.from_numpy(np.stack(images)).permute(0, 3, 1, 2).contiguous()

    def read_objects(self, video: str, frames: Sequence[str]) -> Objects:
        """All tracks that a clip shows. Raises ValueError for a segmentation that cannot be read."""
        entry, ids = self._entry(video), self.object_ids(video)
        numbers = {frame: t for t, frame in enumerate(entry.files)}
        masks = np.zeros((len(ids), len(frames), *entry.size), bool)
        for row, k in enumerate(ids):
            for t, frame in enumerate(frames):
                if (segmentation := entry.tracks[k]["segmentations"][numbers[frame]]) is not None:
                    masks[row, t] = self._mask(video, k, segmentation)
        labels = [self._places[entry.tracks[k]["category_id"]] for k in ids]
        return objects_of(ids, labels, torch.from_numpy(masks))

    def where(self, video: str, frame: str) -> str:
        """Name of the video and the file of the lists, for messages."""
        return f"video {video!r} of {self.root}"

    def problems(self) -> list[str]:
        """Missing frames, one sentence a folder. Reads folder listings."""
        found = []
        for entry in self._videos.values():
            files = [self.images / file for file in entry.files.values()]
            found += missing_files(files[0].parent, "frame", [path.name for path in files])
        return found

    def content(self) -> Any:
        """Videos with frames and the number, category and frames of each track."""
        return [
            [
                video,
                self.frames(video),
                [
                    [k, track["category_id"], [mask is not None for mask in track["segmentations"]]]
                    for k, track in sorted(self._entry(video).tracks.items())
                ],
            ]
            for video in self.names()
        ]

    def _read(self, content: Mapping[str, Any]) -> dict[str, TrackVideo]:
        tracks: dict[int, dict[int, Any]] = {row["id"]: {} for row in content["videos"]}
        rows = content.get("annotations") or ()
        for table, entries in (("videos", content["videos"]), ("annotations", rows)):
            refuse_twice((row["id"] for row in entries), self.root, table)
        lengths = {row["id"]: len(row["file_names"]) for row in content["videos"]}
        for row in rows:
            where = f"{self.root}: track {row['id']}"
            if row["video_id"] not in tracks or row["category_id"] not in self._places:
                raise UnsuitableFile(
                    f"{where} is of video {row['video_id']} and category {row['category_id']}, which the file does not "
                    "both name: correct or remove it"
                )
            if len(row["segmentations"]) != lengths[row["video_id"]]:
                raise UnsuitableFile(
                    f"{where} has {len(row['segmentations'])} segmentations in a video of "
                    f"{lengths[row['video_id']]} frames: give one, or null, for each frame"
                )
            tracks[row["video_id"]][whole(row["id"])] = row
        found = [self._video(row, tracks[row["id"]]) for row in content["videos"]]
        refuse_twice((name for name, _ in found), self.root, "folders")
        return dict(found)

    def _video(self, row: Mapping[str, Any], tracks: Mapping[int, Any]) -> tuple[str, TrackVideo]:
        files = {Path(file).stem: str(file) for file in row["file_names"]}
        name = Path(row["file_names"][0]).parent.as_posix()
        if faults := order_faults(name, [Path(file).stem for file in row["file_names"]]):
            raise UnsuitableFile(f"{self.root}: {faults[0]}")
        return name, TrackVideo(whole(row["id"]), files, (whole(row["height"]), whole(row["width"])), tracks)

    def _mask(self, video: str, track: int, segmentation: Any) -> np.ndarray:
        try:
            return decode(segmentation, *self._entry(video).size)
        except (ValueError, TypeError, KeyError, IndexError) as error:
            raise ValueError(f"track {track} of {self.root} has a mask that cannot be read: {error}") from error

    def _file(self, video: str, frame: str) -> str:
        files = self._entry(video).files
        if frame not in files:
            raise KeyError(f"{self.name}: video {video!r} has no frame {frame!r}")
        return files[frame]

    def _entry(self, video: str) -> TrackVideo:
        if video not in self._videos:
            raise unknown_name(self, video)
        return self._videos[video]


def open_tracks(row: DataSet, opening: Opening) -> TrackSource:
    """Reader of YouTube-VIS and OVIS: `LISTS` under the root or its folder `annotations`, frames in `FOLDERS`.

    Raises FileNotFoundError where they are not, ValueError for lists of another form.
    """
    root, split = opening.folder, opening.split
    places = [base / name.format(split=split) for base in (root, root / "annotations") for name in LISTS]
    lists = next((path for path in places if path.is_file()), None)
    images = next((path for name in FOLDERS if (path := root / name.format(split=split)).is_dir()), None)
    if lists is None or images is None:
        what, known = ("list of tracks", LISTS) if lists is None else ("folder of frames", FOLDERS)
        names = " or ".join(name.format(split=split) for name in known)
        raise FileNotFoundError(
            f"{row.name}: {root} has no {what} such as {names}: data.root must be the folder that holds the data set"
        )
    return TrackSource(row.name, lists, images, split, cache_frames=opening.cache_frames)

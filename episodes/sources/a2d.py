"""A2D-Sentences on disk (Gavrilyuk et al., CVPR 2018, over the videos of Xu et al., CVPR 2015).

    Release/CLIPS320/<video>.mp4 (or Release/clips320H)
    text_annotations/a2d_annotation_with_instances/<video>/<frame, five digits>.h5
    a2d_sentences_single_frame_<split>_annotations.json: rows of [text, video, frame, instance], frames from 1 on

In an annotation `instance` lists the objects of the frame, `reMask` has their masks `(n, W, H)`, or `(W, H)` of one.
"""

from __future__ import annotations

from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

import numpy as np

from episodes.decoding import count_frames, decode, pyav
from episodes.sources.entries import whole
from episodes.sources.sentences import SentenceSource, frame_name, read_rows, sentence
from episodes.task_items import RFSItem

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

COLUMNS = ("text", "video", "frame", "instance")
VIDEOS = ("CLIPS320", "clips320H")
ANNOTATIONS = Path("text_annotations") / "a2d_annotation_with_instances"


class A2DSource(SentenceSource):
    """Sentences about objects in annotated frames of A2D's videos.

    Args:
        videos, annotations: folders of the video files, and of one folder of annotations for each video.
    """

    def __init__(
        self, name: str, root: Path, split: str, list_path: Path, rows: list[RFSItem], videos: Path, annotations: Path
    ) -> None:
        super().__init__(name, root, split, list_path, rows)
        self.video_folder, self.annotations = videos, annotations
        self._ids: dict[Path, tuple[int, ...]] = {}
        self._lengths: dict[str, int] = {}

    def video_path(self, video: str) -> Path:
        """File of a video."""
        return self.video_folder / f"{video}.mp4"

    def annotation_path(self, video: str, frame: str) -> Path:
        """File of a frame's masks."""
        return self.annotations / video / f"{frame}.h5"

    def where(self, video: str, frame: str) -> str:
        """Name of the video and its annotation, for messages."""
        return f"video {video!r}: annotation {self.annotation_path(video, frame)}"

    def faults(self, item: RFSItem) -> list[str]:
        """Sentences on a missing video or annotation, or an object that the annotation does not have."""
        video, annotation = self.video_path(item.video), self.annotation_path(item.video, item.frame)
        if absent := [path for path in (video, annotation) if not path.is_file()]:
            what = f"frame {item.frame} of video {item.video!r} has sentences, but {absent[0]} is missing"
            return [f"{what}: restore it, or remove the sentences from {self.list_path}"]
        if item.object_id in (ids := self.object_ids(item.video, item.frame)):
            return []
        return [
            f"{self.where(item.video, item.frame)} has no object {item.object_id}, which {item.text!r} is said of "
            f"(objects there: {', '.join(map(str, ids)) or 'none'}): correct {self.list_path}, or remove the sentence"
        ]

    def object_ids(self, video: str, frame: str) -> tuple[int, ...]:
        """Ids of the objects in an annotation, in its order. Raises ValueError for a broken file."""
        path = self.annotation_path(video, frame)
        if path not in self._ids:
            self._ids[path] = tuple(int(k) for k in _read(path, ("instance",))[0].ravel())
        return self._ids[path]

    def length(self, video: str) -> int:
        """Number of frames of a video. Raises FileNotFoundError or ValueError, naming the file."""
        if video not in self._lengths:
            self._lengths[video] = count_frames(self._film(video))
        return self._lengths[video]

    def decoded(self, video: str, numbers: set[int]) -> dict[int, np.ndarray]:
        """Those of the frames `numbers` that the video has. Raises FileNotFoundError or ValueError, naming the file."""
        found = {}
        for number, frame in enumerate(decode(self._film(video)), start=1):
            if number in numbers:
                found[number] = frame
            if number >= max(numbers):
                break
        return found

    def _film(self, video: str) -> Path:
        path = self.video_path(video)
        if not path.is_file():
            raise FileNotFoundError(f"video {path} is missing: restore it, or remove it from {self.list_path}")
        return path

    def masks(self, video: str, frame: str) -> dict[int, np.ndarray]:
        """The masks `(H, W)` bool of an annotated frame, by object id. Raises FileNotFoundError or ValueError."""
        path = self.annotation_path(video, frame)
        _, masks = _read(path, ("instance", "reMask"))
        ids = self.object_ids(video, frame)
        masks = masks[None] if masks.ndim == 2 else masks
        if masks.ndim != 3 or len(masks) != len(ids):
            raise ValueError(f"{path} has masks {masks.shape} for {len(ids)} objects: download it again")
        return {k: mask.T != 0 for k, mask in zip(ids, masks, strict=True)}


def open_a2d(row: DataSet, opening: Opening) -> A2DSource:
    """Reader of A2D-Sentences. Raises FileNotFoundError or ValueError."""
    root = opening.folder
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: give the folder that holds the data set")
    base = root / "a2d_sentences" if (root / "a2d_sentences").is_dir() else root
    path = base / f"a2d_sentences_single_frame_{opening.split}_annotations.json"
    rows = read_rows(path, COLUMNS, _item)
    videos = next((base / "Release" / name for name in VIDEOS if (base / "Release" / name).is_dir()), None)
    if videos is None:
        raise FileNotFoundError(f"{base / 'Release' / VIDEOS[0]} is missing: it must hold the videos of A2D")
    pyav(videos), _h5py(base / ANNOTATIONS)  # what is not installed is told before anything is read
    return A2DSource(row.name, root, opening.split, path, rows, videos, base / ANNOTATIONS)


def _item(row: list[Any]) -> RFSItem:
    text, video, frame, instance = row
    name, number = frame_name(frame), whole(instance)
    return RFSItem(str(video), name, "", sentence(text), number, f"v_{video}_f_{int(name)}_i_{number}")


def _h5py(path: Path) -> ModuleType:
    try:
        import h5py
    except ImportError as error:
        raise ValueError(
            f"reading the annotations in {path} needs h5py: pip install 'fewshot-segmentation[a2d]' (or pip install "
            "h5py)"
        ) from error
    return h5py


def _read(path: Path, keys: tuple[str, ...]) -> list[np.ndarray]:
    """Arrays of an annotation file. Raises FileNotFoundError or ValueError, naming it."""
    h5py = _h5py(path)
    if not path.is_file():
        raise FileNotFoundError(f"annotation {path} is missing: restore it, or remove its sentences from the list")
    try:
        with h5py.File(path, "r") as file:
            return [np.asarray(file[key][()]) for key in keys]
    except (OSError, KeyError, RuntimeError, TypeError) as error:  # h5py's words for a damaged file and a missing key
        raise ValueError(f"annotation {path} cannot be read ({error}): download it again") from error

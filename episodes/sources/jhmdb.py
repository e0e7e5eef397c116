"""JHMDB-Sentences on disk (Gavrilyuk et al., CVPR 2018, over the videos of Jhuang et al., ICCV 2013).

`jhmdb_sentences_samples_metadata.json` has rows of [video, path of the annotated frame, path of the mask file, number
of frames, text]. Frames are `<number from 1 on, five digits>.png` in one folder for each video; a mask file (`.mat`)
holds `part_mask` `(H, W, T)` of the one actor. The paths may start with folders above the data set.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.io import loadmat

from episodes.sources.entries import whole
from episodes.sources.files import ArrayCache, read_image
from episodes.sources.sentences import SentenceSource, frame_name, read_rows, sentence
from episodes.task_items import RFSItem

if TYPE_CHECKING:
    from episodes.catalogue import DataSet, Opening

LIST = "jhmdb_sentences_samples_metadata.json"
COLUMNS = ("video", "frame path", "mask path", "number of frames", "text")
ACTOR = 1  # the one object of a video
MASKS = "part_mask"


@dataclass(frozen=True)
class Files:
    """Folder of a video's frames, how many there are, and its mask file; paths as the list says them."""

    frames: str
    count: int
    masks: str


class JHMDBSource(SentenceSource):
    """Sentences about the actor in annotated frames of JHMDB's videos.

    Args:
        base: the folder that the paths start from; `skip`: so many of their first parts are left out.
        files: of each video.
        cache_frames: bytes of decoded frames to keep in memory; 0 keeps none.
    """

    def __init__(
        self,
        name: str,
        root: Path,
        split: str,
        list_path: Path,
        rows: list[RFSItem],
        files: dict[str, Files],
        *,
        cache_frames: int = 0,
    ) -> None:
        super().__init__(name, root, split, list_path, rows)
        self.files = files
        self.base, self.skip = _place(list_path.parent, [entry.frames for entry in files.values()])
        self._cache = ArrayCache(cache_frames)
        self._masks: tuple[str, np.ndarray] = ("", np.zeros((0, 0, 0), bool))  # of the video that was read last

    def image_path(self, video: str, number: int) -> Path:
        """File of a frame."""
        return self._path(self.files[video].frames) / f"{number:05d}.png"

    def mask_path(self, video: str) -> Path:
        """File of a video's masks."""
        return self._path(self.files[video].masks)

    def where(self, video: str, frame: str) -> str:
        """Name of the video, the frame and the mask file, for messages."""
        return f"video {video!r}: frame {frame} of {self.mask_path(video)}"

    def faults(self, item: RFSItem) -> list[str]:
        """Sentences on a missing frame or mask file, or a frame beyond the end of the video."""
        count, paths = (
            self.files[item.video].count,
            (self.image_path(item.video, int(item.frame)), self.mask_path(item.video)),
        )
        if int(item.frame) > count:
            return [f"{self.list_path}: frame {item.frame} of video {item.video!r} is beyond its {count} frames"]
        what = f"video {item.video!r} has sentences"
        return [
            f"{what}, but {path} is missing: restore it, or remove the sentences from {self.list_path}"
            for path in paths
            if not path.is_file()
        ][:1]

    def length(self, video: str) -> int:
        """Number of frames of a video."""
        return self.files[video].count

    def decoded(self, video: str, numbers: set[int]) -> dict[int, np.ndarray]:
        """Those of the frames `numbers` that the video has. Raises FileNotFoundError or ValueError, naming the file."""
        there = [number for number in sorted(numbers) if 1 <= number <= self.files[video].count]
        return {number: self._cache.get(self.image_path(video, number), read_image) for number in there}

    def masks(self, video: str, frame: str) -> dict[int, np.ndarray]:
        """The mask `(H, W)` bool of the actor in a frame. Raises FileNotFoundError or ValueError, naming the file."""
        if self._masks[0] != video:
            self._masks = (video, _read_masks(self.mask_path(video)))
        masks, number = self._masks[1], int(frame)
        if number > masks.shape[2]:
            raise ValueError(f"{self.where(video, frame)}: it has masks of {masks.shape[2]} frames: download it again")
        return {ACTOR: masks[..., number - 1]}

    def _path(self, listed: str) -> Path:
        return self.base.joinpath(*_parts(listed)[self.skip :])


def open_jhmdb(row: DataSet, opening: Opening) -> JHMDBSource:
    """Reader of JHMDB-Sentences. Raises FileNotFoundError or ValueError."""
    root = opening.folder
    if not root.is_dir():
        raise FileNotFoundError(f"data.root={root} is not a folder: give the folder that holds the data set")
    path = next((p for p in (root / LIST, root / "jhmdb_sentences" / LIST) if p.is_file()), root / LIST)
    files: dict[str, Files] = {}

    def item(row: list[Any]) -> RFSItem:
        video, frame_path, mask_path, count, text = row
        frame = PurePosixPath(str(frame_path))
        own = Files(str(frame.parent), whole(count), str(mask_path))
        if files.setdefault(str(video), own) != own:
            raise ValueError(f"video {video!r} has other files or another length in an earlier row")
        name = frame_name(frame.stem)
        return RFSItem(str(video), name, "", sentence(text), ACTOR, f"v_{video}_f_{int(name)}")

    rows = read_rows(path, COLUMNS, item)
    return JHMDBSource(row.name, root, opening.split, path, rows, files, cache_frames=opening.cache_frames)


def _parts(listed: str) -> tuple[str, ...]:
    """The parts of a listed path, without those that lead upwards or to a root."""
    return tuple(part for part in PurePosixPath(listed.replace("\\", "/")).parts if part not in ("/", ".", ".."))


def _place(base: Path, folders: list[str]) -> tuple[Path, int]:
    """The folder that listed paths start from, and how many of their first parts lead there.

    The first pair under which a listed folder exists; `base` and none where there is none.
    """
    for folder in folders:
        parts = _parts(folder)
        for start in (base, base.parent):
            for skip in range(len(parts)):
                if start.joinpath(*parts[skip:]).is_dir():
                    return start, skip
    return base, 0


def _read_masks(path: Path) -> np.ndarray:
    """Masks `(H, W, T)` bool of a mask file. Raises FileNotFoundError or ValueError, naming it."""
    try:
        masks = np.asarray(loadmat(path, variable_names=[MASKS])[MASKS])
    except FileNotFoundError as error:
        raise FileNotFoundError(
            f"mask file {path} is missing: restore it, or remove its video from the list"
        ) from error
    except Exception as error:  # damage shows as ValueError, KeyError, TypeError, NotImplementedError and others
        raise ValueError(f"mask file {path} cannot be read ({error!r}): download it again") from error
    if masks.ndim == 2:  # MATLAB drops the last axis of one frame
        masks = masks[..., None]
    if masks.ndim != 3:
        raise ValueError(f"mask file {path} has {MASKS} of shape {masks.shape}: height, width and frames are expected")
    return masks != 0

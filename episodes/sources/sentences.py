"""Videos of which single frames are annotated, each asked about by sentences: A2D-Sentences and JHMDB-Sentences.

Gavrilyuk et al., "Actor and Action Video Segmentation from a Sentence", CVPR 2018. A test gives the frames around the
annotated one as well: a window, cut short at the ends of the video by showing its first or last frame again.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec
from episodes.sources.base import Expression
from episodes.sources.entries import load_json, twice, whole, words
from episodes.sources.task_source import OBJECT, TaskSource, unknown_name
from episodes.task_items import RFSItem


@dataclass(frozen=True)
class Window:
    """Consecutive frames `(T, 3, H, W)` uint8, the index of the one that is asked for, and their names.

    At an end of the video its first or last frame stands several times.
    """

    frames: Tensor
    asked: int
    names: tuple[str, ...]

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)`."""
        return self.frames.shape[-2], self.frames.shape[-1]


def window_numbers(number: int, count: int) -> list[int]:
    """Numbers of the `count` frames around frame `number`, not cut at the ends of the video; it is at `count // 2`."""
    return list(range(number - count // 2, number + (count + 1) // 2))


class SentenceSource(TaskSource):
    """Sentences about annotated frames, which are numbered from 1 on in each video.

    Args:
        name: the benchmark.
        root: the folder that the user gave, for messages.
        split: for messages.
        list_path: the file of the sentences, for messages.
        rows: one item for each sentence, in file order; sentences are numbered here.
    """

    task = "rfs"

    def __init__(self, name: str, root: Path, split: str, list_path: Path, rows: Sequence[RFSItem]) -> None:
        self.name, self.root, self.split, self.list_path = name, root, split, list_path
        by_video: dict[str, list[RFSItem]] = {}
        for row in rows:
            by_video.setdefault(row.video, []).append(row)
        self._rows = {video: _numbered(own) for video, own in sorted(by_video.items())}

    @abstractmethod
    def length(self, video: str) -> int:
        """Number of frames of a video, annotated or not. Raises FileNotFoundError or ValueError, naming the file."""

    @abstractmethod
    def decoded(self, video: str, numbers: set[int]) -> dict[int, np.ndarray]:
        """Those of the frames `numbers` that the video has, `(H, W, 3)` uint8 RGB each.

        Raises FileNotFoundError or ValueError, naming the file and the frame.
        """

    @abstractmethod
    def masks(self, video: str, frame: str) -> dict[int, np.ndarray]:
        """The masks `(H, W)` bool of an annotated frame, by object id. Raises as `decoded`."""

    @abstractmethod
    def faults(self, item: RFSItem) -> list[str]:
        """Sentences on what an item lacks on disk: its video, its annotation, its object. Decodes nothing."""

    def names(self) -> tuple[str, ...]:
        """Names of the videos, sorted."""
        return tuple(self._rows)

    def frames(self, video: str) -> tuple[str, ...]:
        """Names of the frames that a sentence is about: five digits, in time order."""
        return tuple(dict.fromkeys(row.frame for row in self._of(video)))

    def expressions(self, video: str) -> tuple[Expression, ...]:
        """The sentences of a video, each once for each object that it is said of."""
        said = {row.expression_id: row for row in self._of(video)}
        return tuple(Expression(k, row.text, row.object_id, OBJECT) for k, row in sorted(said.items(), key=_by_number))

    def items(self) -> Iterator[RFSItem]:
        """Items to test, video after video. Raises ValueError for one that lacks something on disk."""
        for video in self.names():
            for item in self._of(video):
                if found := self.faults(item):
                    raise ValueError(f"{self.name} ({self.split}): {found[0]}")
                yield item

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        """Pixels `(T, 3, H, W)` uint8 RGB, of annotated frames or others."""
        found = self.decoded(video, {int(frame) for frame in frames})
        return _stacked([self._frame(found, video, int(frame)) for frame in frames])

    def read_windows(self, video: str, frames: Sequence[str], count: int) -> dict[str, Window]:
        """The `count` frames around each of `frames`; the video is decoded once.

        Raises FileNotFoundError or ValueError, naming the file and the frame.
        """
        around = {frame: window_numbers(int(frame), count) for frame in frames}
        wanted = {max(number, 1) for numbers in around.values() for number in numbers}
        found = self.decoded(video, wanted)
        return {frame: self._window(found, video, int(frame), numbers) for frame, numbers in around.items()}

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        """Masks `(T, H, W)` bool of one object in annotated frames. Raises ValueError if none of the video shows it."""
        found = [self._mask(video, frame, object_id) for frame in frames]
        if not any(mask.any() for mask in found) and not any(
            self.visible(video, frame, object_id) for frame in self.frames(video)
        ):
            raise ValueError(
                f"{self.where(video, frames[0])}: object {object_id} has no pixel in any annotated frame of the video: "
                f"correct its masks, or remove its sentences from {self.list_path}"
            )
        return torch.from_numpy(np.stack(found))

    def with_object(self, spec: ClipSpec, frames: Tensor) -> Clip:
        """As `Source.with_object`; of a clip that asks for one frame, the object is known in that one alone."""
        if spec.asked is None:
            return super().with_object(spec, frames)
        asked = replace(spec, frames=(spec.frames[spec.asked],), asked=None)
        clip = super().with_object(asked, frames[spec.asked : spec.asked + 1])
        assert clip.objects is not None  # of the frame that is asked for
        known = spread(clip.objects, spec.asked, len(frames))
        return replace(clip, frames=frames, objects=known, frame_names=spec.frames, asked=spec.asked)

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        """True if the annotated frame shows the object."""
        mask = self.masks(video, frame).get(object_id)
        return mask is not None and bool(mask.any())

    def problems(self) -> list[str]:
        """What sentences lack on disk, and frames of one object that two sentences share. Decodes nothing."""
        rows, found = [row for video in self.names() for row in self._of(video)], self.broken()
        if shared := twice(row.sample_id for row in rows):
            shown = ", ".join(shared[:3]) + (f" and {len(shared) - 3} more" if len(shared) > 3 else "")
            found.append(
                f"{self.list_path} has several sentences for {shown}: each counts as a sample of its own here; the "
                f"official evaluation puts them together"
            )
        return found

    def broken(self) -> list[str]:
        """What sentences lack on disk."""
        rows = (row for video in self.names() for row in self._of(video))
        return list(dict.fromkeys(fault for row in rows for fault in self.faults(row)))

    def content(self) -> Any:
        """Videos with their sentences, frames and objects."""
        return [[v, [[row.frame, row.object_id, row.text] for row in self._of(v)]] for v in self.names()]

    def _window(self, found: dict[int, np.ndarray], video: str, number: int, numbers: list[int]) -> Window:
        self._frame(found, video, number)  # the end of the video is behind it
        last = max(k for k in found if k in numbers)
        cut = [min(max(k, 1), last) for k in numbers]
        names = tuple(f"{k:05d}" for k in cut)
        return Window(_stacked([self._frame(found, video, k) for k in cut]), numbers.index(number), names)

    def _frame(self, found: dict[int, np.ndarray], video: str, number: int) -> np.ndarray:
        if number not in found:
            raise ValueError(
                f"{self.name}: video {video!r} ends before frame {number}, which {self.list_path} names: restore the "
                f"video, or correct the list"
            )
        return found[number]

    def _mask(self, video: str, frame: str, object_id: int) -> np.ndarray:
        masks = self.masks(video, frame)
        if object_id in masks:
            return masks[object_id]
        there = ", ".join(map(str, sorted(masks))) or "none"
        raise ValueError(
            f"{self.where(video, frame)} has no object {object_id} (objects there: {there}): correct the object id in "
            f"{self.list_path}, or remove the sentence"
        )

    def _of(self, video: str) -> list[RFSItem]:
        if video not in self._rows:
            raise unknown_name(self, video)
        return self._rows[video]


def _numbered(rows: Sequence[RFSItem]) -> list[RFSItem]:
    """The items of a video in time order; the same words of the same object in several frames are one expression."""
    said = list(dict.fromkeys((row.text, row.object_id) for row in rows))
    numbers = {pair: str(k) for k, pair in enumerate(said)}
    numbered = [replace(row, expression_id=numbers[row.text, row.object_id]) for row in rows]
    return sorted(numbered, key=lambda row: int(row.frame))


def _by_number(pair: tuple[str, RFSItem]) -> int:
    return int(pair[0])


def _stacked(frames: Sequence[np.ndarray]) -> Tensor:
    return torch.from_numpy(np.stack(frames)).permute(0, 3, 1, 2).contiguous()


def spread(objects: Objects, place: int, count: int) -> Objects:
    """Objects of one frame as those of frame `place` of `count` frames, which show nothing of them elsewhere."""

    def among(x: Tensor | None) -> Tensor | None:
        return None if x is None else torch.cat([x if t == place else torch.zeros_like(x) for t in range(count)], 1)

    return replace(objects, masks=among(objects.masks), boxes=among(objects.boxes), valid=among(objects.valid))


def read_rows(path: Path, columns: tuple[str, ...], make: Callable[[list[Any]], RFSItem]) -> list[RFSItem]:
    """The items of a JSON list of rows with these columns.

    Args:
        make: makes an item of a row; what it raises is told with the number of the row.

    Raises FileNotFoundError for a missing file, ValueError for another form, or a row that is malformed.
    """
    if not path.is_file():
        raise FileNotFoundError(f"{path} is missing: data.root must be the folder that holds the data set")
    rows = load_json(path)
    if not isinstance(rows, list):
        raise ValueError(f"{path} must be a list of [{', '.join(columns)}], got {type(rows).__name__}")
    found = []
    for number, row in enumerate(rows, start=1):
        try:
            if not isinstance(row, list) or len(row) != len(columns):
                raise ValueError(str(row)[:80])
            found.append(make(row))
        except (TypeError, ValueError) as error:
            form = f"[{', '.join(columns)}]"
            raise ValueError(f"{path}: row {number} is no {form} ({error}): correct it, or remove the row") from error
    return found


def sentence(value: Any) -> str:
    """The words of a row. Raises TypeError for what is no text, ValueError for none."""
    if not words(value).strip():
        raise ValueError("the sentence is empty")
    return words(value)


def frame_name(value: Any) -> str:
    """Five digits of a frame's number. Raises ValueError for what is no number from 1 on."""
    if (number := whole(value)) < 1:
        raise ValueError(f"frame {number}: frames are numbered from 1 on")
    return f"{number:05d}"

"""Frames of a source one by one, as a network takes them, read ahead while the network works."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass

import torch

from episodes.batch import ClipBatch
from episodes.clip import Clip
from episodes.collation import collate_clips
from episodes.sources.base import Source
from episodes.transforms.clips import ResizeTransform


@dataclass(frozen=True)
class Frame:
    """A frame by name: the network input (one clip of one frame) and the original `(height, width)`."""

    name: str
    batch: ClipBatch
    size: tuple[int, int]


class FrameReader:
    """Reads frames from a source, resizes and normalises them.

    Args:
        source: of the videos or images.
        transform: from frames as read to network input.
        pad_multiple: of the system.
        device: of the system.
    """

    def __init__(
        self, source: Source, transform: ResizeTransform, pad_multiple: int, device: torch.device | str
    ) -> None:
        self.source, self.transform, self.pad_multiple, self.device = source, transform, pad_multiple, device

    def read(self, video: str, frame: str) -> Frame:
        """One frame. Raises FileNotFoundError or ValueError, naming the file."""
        clip = Clip(self.source.read_frames(video, (frame,)), video=video, frame_names=(frame,))
        return Frame(frame, self.batch(clip), clip.size)

    def batch(self, clip: Clip) -> ClipBatch:
        """A clip of frames as read, as network input; not on the device yet."""
        return collate_clips([self.transform(clip)], self.pad_multiple)

    def ahead(self, video: str, frames: Sequence[str]) -> Iterator[Frame]:
        """Frames in order, on the device; the next one is read while the caller works on this one.

        Raises ValueError for a frame of another size than the first, which a result could not hold.
        """
        with ThreadPoolExecutor(1) as reader:
            waiting: Future[Frame] = reader.submit(self.read, video, frames[0])
            size: tuple[int, int] | None = None
            for following in (*frames[1:], None):
                frame = waiting.result()
                if following is not None:
                    waiting = reader.submit(self.read, video, following)
                size = size or frame.size
                if frame.size != size:
                    raise ValueError(
                        f"video {video!r}: frame {frame.name} is {_words(frame.size)}, but {frames[0]} is "
                        f"{_words(size)}: all must be of one size"
                    )
                yield Frame(frame.name, frame.batch.to(self.device), frame.size)


def _words(size: tuple[int, int]) -> str:
    return f"{size[0]}x{size[1]}"

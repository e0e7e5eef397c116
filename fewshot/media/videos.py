"""Video files as media; `episodes.decoding` reads them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import torch
from torch import Tensor

from episodes.decoding import decode, pyav
from fewshot.media.media import FRAMES_PER_SECOND, Media


def open_video(path: Path) -> Media:
    """A video file. Frames are turned as the file says, and decoded one after the other.

    Raises:
        ValueError: PyAV is not installed, or the file is broken or holds no picture.
    """
    av = pyav(path)

    def read() -> Iterator[Tensor]:
        return (torch.from_numpy(frame).permute(2, 0, 1).contiguous() for frame in decode(path))

    first = next(read(), None)
    if first is None:
        raise ValueError(f"{path} holds no frame: it is empty or broken")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate, length = stream.average_rate, stream.frames or None
    size = (int(first.shape[1]), int(first.shape[2]))
    return Media(str(path), size, read, length=length, frames_per_second=float(rate or FRAMES_PER_SECOND))

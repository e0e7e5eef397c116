"""Video files, read with PyAV, which is the extra `video`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np
import torch
from torch import Tensor

from fewshot.media.media import FRAMES_PER_SECOND, Media


def open_video(path: Path) -> Media:
    """A video file. Frames are turned as the file says, and decoded one after the other.

    Raises:
        ValueError: PyAV is not installed, or the file is broken or holds no picture.
    """
    av = pyav(path)

    def read() -> Iterator[Tensor]:
        return decode(av, path)

    first = next(read(), None)
    if first is None:
        raise ValueError(f"{path} holds no frame: it is empty or broken")
    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        rate, length = stream.average_rate, stream.frames or None
    size = (int(first.shape[1]), int(first.shape[2]))
    return Media(str(path), size, read, length=length, frames_per_second=float(rate or FRAMES_PER_SECOND))


def pyav(path: Path) -> ModuleType:
    """The module `av`. Raises ValueError with the remedy where it is not installed."""
    try:
        import av
    except ImportError as error:
        raise ValueError(
            f"{path} is a video file, and reading one needs PyAV: pip install 'fewshot-segmentation[video]' (or "
            f"pip install av), or give a folder with the frames as images"
        ) from error
    return av


def decode(av: ModuleType, path: Path) -> Iterator[Tensor]:
    """The frames `(3, H, W)` uint8 of the first video stream. Raises ValueError where the file is broken."""
    done = 0
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no video stream: is it a sound file?")
            for frame in container.decode(container.streams.video[0]):
                turned = np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90))
                yield torch.from_numpy(turned.copy()).permute(2, 0, 1).contiguous()
                done += 1
    except av.FFmpegError as error:
        where = f"after frame {done}" if done else "at its start"
        raise ValueError(f"{path} cannot be read as a video {where} ({error}): it is broken or cut short") from error

"""Video files, decoded with PyAV, which is the extra `video`."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

import numpy as np


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


def decode(path: Path) -> Iterator[np.ndarray]:
    """The frames `(H, W, 3)` uint8 RGB of the first video stream, in time order, turned as the file says.

    A frame that is damaged, and that the decoder has patched up, is warned of, the first one of a video.

    Raises:
        ValueError: PyAV is not installed, or the file is broken; says after which frame.
    """
    av, done, told = pyav(path), 0, False
    try:
        with av.open(str(path)) as container:
            if not container.streams.video:
                raise ValueError(f"{path} holds no video stream: is it a sound file?")
            for frame in container.decode(container.streams.video[0]):
                if frame.is_corrupt and not told:
                    told = True
                    warnings.warn(
                        f"{path}: frame {done + 1} is damaged, the decoder has patched it up: get the file again",
                        stacklevel=2,
                    )
                yield np.rot90(frame.to_ndarray(format="rgb24"), round(frame.rotation / 90)).copy()
                done += 1
    except av.FFmpegError as error:
        where = f"after frame {done}" if done else "at its start"
        raise ValueError(
            f"{path} cannot be read as a video {where} ({error}): it is broken or cut short, get the file again"
        ) from error


def count_frames(path: Path) -> int:
    """Number of frames of the first video stream, as the file's head says it, or else counted.

    Raises:
        ValueError: as `decode`.
    """
    av = pyav(path)
    try:
        with av.open(str(path)) as container:
            said = container.streams.video[0].frames if container.streams.video else 0
    except av.FFmpegError as error:
        raise ValueError(
            f"{path} cannot be read as a video at its start ({error}): it is broken or cut short, get the file again"
        ) from error
    return said or sum(1 for _ in decode(path))

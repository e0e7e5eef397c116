"""Generated data sets: written once to a cache folder, whole or not at all, in the layout of a real one."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from episodes.plain_files import make_folder
from episodes.whole_files import clear_stale, partial_of

log = logging.getLogger(__name__)
PALETTE = (0, 0, 0, 230, 60, 60, 60, 200, 60, 60, 90, 230)


def written_once(base: Path, name: str, what: str, write: Callable[[Path], None]) -> Path:
    """The folder `name` under `base`, which `write(folder)` fills if it is not there.

    What is half written is never left under the final name. `what` says what is written, for the log.
    """
    folder = base / name
    if folder.exists():
        return folder
    log.info("writing %s to %s", what, folder)
    make_folder(base, "data.cache")
    clear_stale(folder)
    partial = partial_of(folder)
    try:
        write(partial)
        try:
            partial.rename(folder)
        except OSError:
            if not folder.exists():  # another process may have finished first
                raise
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    return folder


def write_video(
    folder: Path, video: str, names: Sequence[str], frames: Iterable[tuple[NDArray[np.uint8], NDArray[np.uint8]]]
) -> None:
    """Write frames as `JPEGImages/<video>/<name>.jpg` and `Annotations/<video>/<name>.png` under `folder`.

    `frames`: RGB `(H, W, 3)` and object ids `(H, W)` of each.
    """
    images, masks = folder / "JPEGImages" / video, folder / "Annotations" / video
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for name, (frame, mask) in zip(names, frames, strict=True):
        Image.fromarray(frame).save(images / f"{name}.jpg", quality=95, subsampling=0)
        picture = Image.fromarray(mask, mode="P")
        picture.putpalette([*PALETTE, *[0] * (768 - len(PALETTE))])
        picture.save(masks / f"{name}.png")

"""Every picture and every mask of a data set, read whole: damage inside a file is not seen in its head."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from episodes.episode import ClipSpec
from episodes.sources.base import Source
from episodes.sources.images import FRAME, ImageSource
from episodes.sources.mevis import MevisSource
from episodes.sources.task_source import TaskSource
from episodes.sources.video_files import VOID, VideoFiles
from episodes.sources.vocabulary import VocabularySource
from episodes.sources.vos_layouts import VOSSource

THREADS = 4
SHOWN = 5  # broken files of one video, before they are counted only
Watch = Callable[[Sequence[str]], Iterator[str]]  # goes through names, and may tell how far it is


@dataclass(frozen=True)
class Looked:
    """What was seen in an image or a video.

    Attributes:
        broken: sentences on what cannot be read, or does not fit together.
        odd: sentences on masks with values that the lists do not have.
        digest: of the picture, or of the first frame; empty where it cannot be read.
    """

    broken: tuple[str, ...] = ()
    odd: tuple[str, ...] = ()
    digest: str = ""


def names_of(source: Source) -> list[str]:
    """Every image or video of a data set."""
    if isinstance(source, ImageSource):
        return list(source.files)
    if isinstance(source, TaskSource):
        return list(source.names())
    classes = source.folds.classes if hasattr(source, "folds") else ()
    return sorted({video for c in range(1, len(classes) + 1) for video in source.videos(c)})


def look_at_all(source: Source, names: Sequence[str], watch: Watch = iter) -> dict[str, Looked]:
    """Read every picture and mask of the images or videos `names`, several at a time."""
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(watch(names), pool.map(partial(look_at, source), names), strict=True))


def look_at(source: Source, name: str) -> Looked:
    """Read every picture and mask of one image or video."""
    if isinstance(source, ImageSource):
        return _look_at_image(source, name)
    if isinstance(source, VideoFiles) and not isinstance(source, MevisSource):  # whose masks are no files
        return _look_at_files(source, name)
    return _look_at_clip(source, name)


def _look_at_image(source: ImageSource, name: str) -> Looked:
    """The picture; its mask has been read whole to be counted."""
    if source.picture_error(name):  # told by the source
        return Looked()
    try:
        source.read_frames(name, (FRAME,))
    except ValueError as error:
        return Looked((str(error),))
    return Looked(digest=_digest(source.files[name][0]))


def _look_at_files(source: VideoFiles, video: str) -> Looked:
    """Frames and masks one by one, and of masks the values."""
    broken, odd = list[str](), dict[int, str]()
    listed, masked = source.listed_objects(video), set(source.frames(video))
    for frame in source.all_frames(video) if isinstance(source, VOSSource) else source.frames(video):
        try:
            size = tuple(source.read_frames(video, (frame,)).shape[-2:])
            path = source.mask_path(video, frame)
            if frame not in masked or not path.is_file():  # a missing one is told by the source, where it has to be
                continue
            labels = source.read_label_map(path)
        except FileNotFoundError:  # told by the source, in one line for a whole folder
            continue
        except ValueError as error:
            broken.append(str(error))
            continue
        if labels.shape != size:
            (h, w), (hm, wm) = size, labels.shape
            broken.append(f"{path} is {hm}x{wm}, but its frame is {h}x{w}: they must be of one size")
        if listed is not None and not source.merge_objects:
            odd |= dict.fromkeys({*np.unique(labels).tolist()} - {0, VOID, *listed}, path.name)
    sentences = [f"video {video!r}: value {k} of masks ({name}) is no listed object" for k, name in sorted(odd.items())]
    first = source.image_path(video, source.frames(video)[0]) if source.frames(video) else Path()
    return Looked(_cut(broken), tuple(sentences), _digest(first) if first.is_file() else "")


def _look_at_clip(source: Source, video: str) -> Looked:
    """Frames and masks of a layout whose truth is not one file for each frame."""
    broken = []
    digest = hashlib.sha256()
    for frame in source.frames(video):
        try:
            pixels = source.read_frames(video, (frame,))
            digest.update(pixels.numpy().tobytes() if frame == source.frames(video)[0] else b"")
            if isinstance(source, VocabularySource):
                masks = [source.read_objects(video, (frame,)).masks] if source.object_ids(video) else []
            else:
                shown = {e.object_id for e in source.expressions(video) if source.visible(video, frame, e.object_id)}
                masks = [source.read(ClipSpec(video, k, (frame,))).masks for k in sorted(shown)]
            if any(mask is not None and mask.shape[-2:] != pixels.shape[-2:] for mask in masks):
                broken.append(f"{source.where(video, frame)}: its masks are not of the size of the frame")
        except (FileNotFoundError, ValueError) as error:
            broken.append(str(error))
    return Looked(_cut(list(dict.fromkeys(broken))), digest=digest.hexdigest())


def _cut(broken: list[str]) -> tuple[str, ...]:
    """The first sentences on a video, and how many more there are."""
    more = [f"and {len(broken) - SHOWN} more like the one before"] if len(broken) > SHOWN else []
    return (*broken[:SHOWN], *more)


def _digest(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()

"""Images and videos of a user's own, from whatever holds them, as RGB frames.

`open_media` takes arrays `(H, W, 3)` or `(T, H, W, 3)`, tensors `(3, H, W)` or `(T, 3, H, W)`, PIL images, and the
paths of image files, folders of frames and video files. Frames are read when they are asked for, a few at a time, so
that a long video needs no more memory than a short one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Union

import numpy as np
import torch
from PIL import Image, ImageOps, UnidentifiedImageError
from torch import Tensor

from episodes.plain_files import UnsuitableFile, open_image, refuse_deep_pixels, refuse_special
from fewshot.media.media import FRAMES_PER_SECOND, Media

MediaSource = Union[str, Path, np.ndarray, Tensor, Image.Image, "Media"]

IMAGES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif")
VIDEOS = (".mp4", ".mov", ".avi", ".mkv", ".webm", ".m4v", ".mpg", ".mpeg", ".wmv", ".ogv")
KINDS = (
    "an array (H, W, 3) or (T, H, W, 3) of uint8, a tensor (3, H, W) or (T, 3, H, W), a PIL image, or the path of an "
    "image, of a folder of frames or of a video"
)


def open_media(source: MediaSource, name: str = "the input") -> Media:
    """An image or a video from any of its forms. Colours are RGB; a photo is turned as its EXIF entry says.

    Args:
        source: see the head of this module; an animated GIF or WebP counts as a video.
        name: what messages call an array, a tensor or a PIL image; files are called by their path.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: it cannot be read, holds no frame, or is no picture in colours; says what was found and what to do.
        TypeError: it is none of the forms.
    """
    if isinstance(source, Media):
        return source
    if isinstance(source, (str, Path)):
        return _open_path(Path(source).expanduser())
    if isinstance(source, Image.Image):
        return _open_pictures(source, name)
    if isinstance(source, np.ndarray):
        return _open_array(source, name)
    if isinstance(source, Tensor):
        return _open_tensor(source, name)
    hint = "; stack the frames of a video to one array (T, H, W, 3)" if isinstance(source, (list, tuple)) else ""
    raise TypeError(f"{name} is a {type(source).__name__}: give {KINDS}{hint}")


def _open_path(path: Path) -> Media:
    if path.is_dir():
        return open_frames(frame_files(path), str(path))
    if not path.exists():
        raise FileNotFoundError(f"no file or folder at {path}")
    refuse_special(path, str(path))
    if path.suffix.lower() in VIDEOS:
        from fewshot.media.videos import open_video

        return open_video(path)
    return _open_pictures(open_picture(path), str(path), path)


def open_picture(path: Path) -> Image.Image:
    """An image file, fully read where it holds one picture.

    Raises:
        FileNotFoundError: no such file.
        ValueError: it is no image, or broken, or its pixels have more than 8 bits.
    """
    if not path.exists():
        raise FileNotFoundError(f"no image at {path}")
    with reading(str(path)):
        picture = open_image(path, str(path))
        if getattr(picture, "n_frames", 1) == 1:
            picture.load()
        return picture


@contextmanager
def reading(name: str) -> Iterator[None]:
    """Tells what PIL makes of a broken file as a ValueError with its name."""
    try:
        yield
    except UnsuitableFile:
        raise
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, EOFError) as error:
        raise ValueError(
            f"{name} cannot be read as an image ({error}): it is broken or of another kind; images end in "
            f"{', '.join(IMAGES)}, videos in {', '.join(VIDEOS)}"
        ) from error


def _open_pictures(picture: Image.Image, name: str, path: Path | None = None) -> Media:
    """A picture, or the frames of an animated one."""
    count = getattr(picture, "n_frames", 1)
    if count == 1:
        frame, stem = picture_pixels(picture, name), path.stem if path is not None else "image"
        return Media(name, _size(frame), lambda: iter([frame]), still=True, length=1, frame_names=(stem,))

    def read() -> Iterator[Tensor]:
        for number in range(count):
            with reading(name):
                picture.seek(number)
                picture.load()
            yield picture_pixels(picture, name)

    milliseconds = picture.info.get("duration") or 1000 / FRAMES_PER_SECOND
    return Media(name, _size(next(read())), read, length=count, frames_per_second=1000 / milliseconds)


def picture_pixels(picture: Image.Image, name: str) -> Tensor:
    """A PIL image as RGB `(3, H, W)` uint8. Raises ValueError for one of no pixels, or of more than 8 bits each."""
    _refuse_empty((picture.height, picture.width), name)
    refuse_deep_pixels(picture, name)
    turned = ImageOps.exif_transpose(picture)
    return torch.from_numpy(np.array(turned.convert("RGB"))).permute(2, 0, 1).contiguous()


def open_frames(paths: Sequence[Path], name: str) -> Media:
    """Image files as the frames of one video. Raises ValueError as `open_media`."""
    first = picture_pixels(open_picture(paths[0]), str(paths[0]))

    def read() -> Iterator[Tensor]:
        for path in paths:
            yield picture_pixels(open_picture(path), str(path))

    return Media(name, _size(first), read, length=len(paths), frame_names=tuple(p.stem for p in paths))


def frame_files(folder: Path) -> list[Path]:
    """The images in a folder; `frame_2` comes before `frame_10`.

    Raises:
        ValueError: there are none, or two of one name (a photo and its mask, say).
    """
    entries = [p for p in folder.iterdir() if p.is_file() and not p.name.startswith(".")]
    paths = sorted((p for p in entries if p.suffix.lower() in IMAGES), key=lambda p: by_numbers(p.name))
    if not paths:
        held = f"{len(entries)} other files" if entries else "no files"
        raise ValueError(f"{folder} holds no images ({', '.join(IMAGES)}), but {held}: give a folder with the frames")
    distinct_names(paths, folder)
    return paths


def distinct_names(paths: Sequence[Path], source: Path | str) -> None:
    """Refuse two images of one name, which a photo and its mask would have. Raises ValueError that names them."""
    known: dict[str, Path] = {}
    for path in paths:
        if path.stem in known:
            one, two = known[path.stem], path
            names = (one.name, two.name) if one.name != two.name else (str(one), str(two))
            raise ValueError(
                f"{source} holds {names[0]} and {names[1]}: which of them is the frame? Give one image of each name, "
                f"and masks in a folder of their own"
            )
        known[path.stem] = path


def by_numbers(name: str) -> list[tuple[int, str]]:
    """A key that sorts numbers inside names by value."""
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in re.split(r"(\d+)", name)]


def _open_array(array: np.ndarray, name: str) -> Media:
    if array.ndim not in (3, 4) or array.shape[-1] != 3:
        raise ValueError(f"{name} is an array {array.shape}: give RGB, (H, W, 3) for an image or (T, H, W, 3)")
    if array.dtype != np.uint8:
        raise ValueError(f"{name} is an array of {array.dtype}: give uint8 in 0..255")
    frames = array[None] if array.ndim == 3 else array
    _refuse_empty(frames.shape, name)

    def read() -> Iterator[Tensor]:
        for frame in frames:
            yield torch.from_numpy(np.array(frame)).permute(2, 0, 1).contiguous()

    return _in_memory(read, name, (frames.shape[1], frames.shape[2]), len(frames), still=array.ndim == 3)


def _open_tensor(tensor: Tensor, name: str) -> Media:
    if tensor.ndim not in (3, 4) or tensor.shape[-3] != 3:
        shape = tuple(tensor.shape)
        raise ValueError(f"{name} is a tensor {shape}: give RGB, (3, H, W) for an image or (T, 3, H, W)")
    frames = (tensor[None] if tensor.ndim == 3 else tensor).detach().cpu()
    _refuse_empty(tuple(frames.shape), name)
    if frames.is_floating_point():
        low, high = float(frames.min()), float(frames.max())
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"{name} is a tensor of {frames.dtype} in {low:g}..{high:g}: give uint8, or floats in 0..1 that have "
                f"not been normalised"
            )
        frames = (frames * 255).round().to(torch.uint8)
    if frames.dtype != torch.uint8:
        raise ValueError(f"{name} is a tensor of {frames.dtype}: give uint8 in 0..255 or floats in 0..1")
    return _in_memory(lambda: iter(frames), name, _size(frames), len(frames), still=tensor.ndim == 3)


def _in_memory(
    read: Callable[[], Iterator[Tensor]], name: str, size: tuple[int, int], length: int, still: bool
) -> Media:
    return Media(name, size, read, still, length, ("image",) if still else ())


def _refuse_empty(shape: tuple[int, ...], name: str) -> None:
    if 0 in shape:
        raise ValueError(f"{name} is empty: its shape is {shape}")


def _size(frame: Tensor) -> tuple[int, int]:
    return int(frame.shape[-2]), int(frame.shape[-1])

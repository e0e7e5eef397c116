"""Masks of a user's own, from whatever holds them: where is the object in each frame?"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Union

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from fewshot.media.media import width_by_height
from fewshot.media.reading import frame_files, open_picture

MaskSource = Union[str, Path, np.ndarray, Tensor, Image.Image]
VOID = 255  # label of a palette image where nobody knows (PASCAL VOC, DAVIS)
SHOWN = 8  # values that a message lists
WHICH = "Support(image, mask, object_id=...), or image:mask#id in the shell"


@dataclass(frozen=True)
class Labels:
    """Values of masks as they were found: `values` `(T, H, W)`, and whether they are ids into a palette."""

    values: np.ndarray
    palette: bool = False
    names: tuple[str, ...] = ()


@dataclass(frozen=True)
class Masks:
    """`masks` `(T, H, W)` bool, True on the object; `ignore` alike, True where nobody knows, None: nowhere."""

    masks: Tensor
    ignore: Tensor | None = None


def read_masks(source: MaskSource, name: str, object_id: int | None = None) -> Masks:
    """The masks of one object.

    Args:
        source: bool, 0/1 or 0/255 as an array or tensor `(H, W)` or `(T, H, W)`, a PIL image, the path of an image
            or of a folder with one for each frame. Palette images hold ids: 0 is background, 255 is not known.
        name: what messages call it.
        object_id: which id is meant; needed where there are several.

    Raises:
        FileNotFoundError: there is nothing at the path.
        ValueError: values that are no mask; says which were found.
        TypeError: it is none of the forms.
    """
    labels = read_labels(source, name)
    found = np.unique(labels.values)
    if object_id is not None:
        if object_id not in found:
            raise ValueError(f"{name} has no pixel of id {object_id}: it holds the values {listed(found)}")
        return _of_object(labels, object_id)
    if labels.palette:
        return _of_object(labels, _only_id(found, name))
    for high in (1, 255):
        if set(found.tolist()) <= {0, high}:
            return Masks(torch.from_numpy(labels.values == high))
    raise ValueError(
        f"{name} holds the values {listed(found)}: a mask is bool, 0 and 1, or 0 and 255. Several objects: say "
        f"which is meant, {WHICH}. Soft edges: cut it, mask > 127"
    )


def _only_id(found: np.ndarray, name: str) -> int:
    """The one id of a palette image (1 where there is none: its mask is empty)."""
    ids = [int(value) for value in found if value not in (0, VOID)] or [VOID if VOID in found else 1]
    if len(ids) > 1:
        raise ValueError(f"{name} holds several objects, the ids {listed(np.array(ids))}: say which is meant, {WHICH}")
    return ids[0]


def _of_object(labels: Labels, object_id: int) -> Masks:
    unknown = labels.values == VOID
    ignored = labels.palette and object_id != VOID and bool(unknown.any())
    return Masks(torch.from_numpy(labels.values == object_id), torch.from_numpy(unknown) if ignored else None)


def read_labels(source: MaskSource, name: str) -> Labels:
    """The values of masks in any form, not judged yet. Raises as `read_masks`."""
    if isinstance(source, (str, Path)):
        return _of_path(Path(source).expanduser())
    if isinstance(source, Image.Image):
        return _of_picture(source, name)
    if isinstance(source, Tensor):
        source = source.detach().cpu().numpy()
    if not isinstance(source, np.ndarray):
        raise TypeError(
            f"{name} is a {type(source).__name__}: give an array or tensor (H, W) or (T, H, W), a PIL image or a path"
        )
    if source.ndim not in (2, 3) or 0 in source.shape:
        raise ValueError(f"{name} has the shape {source.shape}: a mask is (H, W), those of a clip are (T, H, W)")
    return Labels(source[None] if source.ndim == 2 else source)


def _of_path(path: Path) -> Labels:
    if not path.exists():
        raise FileNotFoundError(f"no mask at {path}")
    if not path.is_dir():
        return _of_picture(open_picture(path), str(path))
    paths = frame_files(path)
    parts = [_of_picture(open_picture(p), str(p)) for p in paths]
    for p, part in zip(paths, parts, strict=True):
        if part.values.shape != parts[0].values.shape or part.palette != parts[0].palette:
            raise ValueError(
                f"{p} is {width_by_height(part.values.shape[1:])}, {paths[0].name} is "
                f"{width_by_height(parts[0].values.shape[1:])}: the masks of a clip have one size, and all or none of "
                f"them are palette images"
            )
    return Labels(np.concatenate([p.values for p in parts]), parts[0].palette, tuple(p.stem for p in paths))


def _of_picture(picture: Image.Image, name: str) -> Labels:
    if picture.mode in ("RGB", "RGBA", "LA"):
        picture = _grey(picture, name)
    if picture.mode not in ("P", "L", "1"):
        raise ValueError(f"{name} has pixels of mode {picture.mode!r}: a mask is a greyscale, 1-bit or palette image")
    return Labels(np.array(picture)[None], picture.mode == "P")


def _grey(picture: Image.Image, name: str) -> Image.Image:
    """Black and white that was saved in colours; other colours have no meaning that is known here."""
    colours = np.array(picture.convert("RGB"))
    if (colours != colours[..., :1]).any():
        raise ValueError(f"{name} has colours: save the mask as greyscale (0 and 255) or as a palette image of ids")
    return Image.fromarray(colours[..., 0].copy())


def listed(values: np.ndarray) -> str:
    """The first few of some values, and how many there are."""
    shown = ", ".join(f"{value:g}" if isinstance(value, float) else str(value) for value in values[:SHOWN].tolist())
    return shown if len(values) <= SHOWN else f"{shown} and {len(values) - SHOWN} others"

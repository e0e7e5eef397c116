"""Supports of a user's own: images or clips with masks of the object, as the clips that systems take."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Union

from torch import Tensor

from episodes.clip import Clip, Objects
from fewshot.media.masks import Masks, MaskSource, read_masks
from fewshot.media.media import width_by_height
from fewshot.media.reading import MediaSource, open_media

PAIRS = "support=[(image, mask), ...]"


@dataclass(frozen=True)
class Support:
    """One example of the object; a pair `(image, mask)` is short for it.

    Attributes:
        image: an image, or the frames of a clip, in any form that `fewshot.media.reading.open_media` takes.
        mask: where the object is, in any form that `fewshot.media.masks.read_masks` takes.
        object_id: which object of the mask is meant, where it shows several.
        text: the words that refer to the object in this image; None: those that the query is asked with.
    """

    image: MediaSource
    mask: MaskSource
    object_id: int | None = None
    text: str | None = None


SupportList = Sequence[Union[Support, tuple[Any, Any]]]


def read_supports(support: SupportList | Mapping[str, SupportList]) -> dict[str, tuple[Clip, ...]]:
    """The supports of each class, raw: uint8 frames and masks of the same size.

    Args:
        support: a list of supports of one class (its name is then `object`), or a list for each class.

    Raises:
        ValueError: no supports, or one that shows no object or is not complete; says which.
        FileNotFoundError, TypeError: as `open_media` and `read_masks`.
    """
    if not isinstance(support, Mapping):
        return {"object": _of_class(support, "")}
    if not support:
        raise ValueError(f"support names no class: give {PAIRS}, or one such list for each class")
    return {str(name): _of_class(entries, f" of class {name!r}") for name, entries in support.items()}


def _of_class(entries: SupportList, whose: str) -> tuple[Clip, ...]:
    if isinstance(entries, Support):
        entries = [entries]
    if isinstance(entries, (str, Path)) or not isinstance(entries, Sequence):
        raise TypeError(f"the supports{whose} are a {type(entries).__name__}: give {PAIRS}")
    if not entries:
        raise ValueError(f"there are no supports{whose}: give at least one, {PAIRS}")
    clips = tuple(_read(_complete(entry, k, whose), k, whose) for k, entry in enumerate(entries, 1))
    lengths = [len(clip.frames) for clip in clips]
    if len(set(lengths)) > 1:
        raise ValueError(f"the supports{whose} have {lengths} frames: give clips of one length, or images alone")
    return clips


def _complete(entry: Any, k: int, whose: str) -> Support:
    if isinstance(entry, (tuple, list)) and len(entry) == 2:
        entry = Support(*entry)
    if not isinstance(entry, Support):
        shown = repr(str(entry)) if isinstance(entry, (str, Path)) else f"a {type(entry).__name__}"
        raise ValueError(f"support {k}{whose} is {shown}, not an image with its mask: write {PAIRS}")
    if entry.image is None or entry.mask is None:
        missing = "image" if entry.image is None else "mask"
        raise ValueError(f"support {k}{whose} has no {missing}: write {PAIRS}")
    if entry.text is not None and not isinstance(entry.text, str):
        raise TypeError(f"the text of support {k}{whose} is a {type(entry.text).__name__}: give its words as a string")
    return entry


def _read(entry: Support, k: int, whose: str) -> Clip:
    media = open_media(entry.image, f"the image of support {k}{whose}")
    found = read_masks(entry.mask, _mask_name(entry.mask, k, whose), entry.object_id)
    where = f"support {k}{whose} ({media.name})"
    frames = media.frames()
    _check_fit(found, frames, where)
    if not found.masks.any():
        raise ValueError(
            f"{where}: its mask is empty, no pixel belongs to the object. Give another support or another mask"
        )
    return Clip(
        frames=frames,
        objects=Objects.one(found.masks),
        ignore=found.ignore,
        expression=entry.text,
        video=media.name,
        frame_names=tuple(media.frame_name(index) for index in range(len(frames))),
    )


def _mask_name(mask: Any, k: int, whose: str) -> str:
    return str(mask) if isinstance(mask, (str, Path)) else f"the mask of support {k}{whose}"


def _check_fit(found: Masks, frames: Tensor, where: str) -> None:
    images, masks = len(frames), len(found.masks)
    if masks != images:
        raise ValueError(f"{where}: {images} image(s) but {masks} mask(s); every frame of a support needs its mask")
    size, mask_size = frames.shape[-2:], found.masks.shape[-2:]
    if size != mask_size:
        raise ValueError(
            f"{where} is {width_by_height(size)}, its mask {width_by_height(mask_size)} (width x height): a mask has "
            f"the size of its image (as it is shown: photos of a turned camera are turned)"
        )

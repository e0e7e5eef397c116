"""Transforms of whole clips: frames, masks, boxes and words together, with `torchvision.transforms.v2`."""

from __future__ import annotations

import re
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torchvision import tv_tensors
from torchvision.transforms.v2 import functional as F

from episodes.clip import Clip, Objects
from episodes.sources.base import clean_boxes
from episodes.transforms.colour import GENTLE, WIDE, distort
from episodes.transforms.imagenet import MEAN, STD
from episodes.transforms.motion import Drift

ORDINALS = ("first", "second", "third", "fourth", "fifth", "sixth", "seventh", "eighth", "ninth", "tenth")
CROP_TRIES = 8  # draws of a crop that keeps the object before the whole frame is taken
MOST_TIMES_AS_LONG = 100  # of any picture's sides
OBJECT_KEPT = 0.25  # fraction of the object's pixels that such a crop keeps
STILL = Drift()


class TrainTransform:
    """Augmentation of CMA's data set (after DETR's): the whole clip gets one draw, colours one per frame.

    In this order: horizontal flip with probability 0.5, photometric distortion, then with probability 0.5 either a
    resize to one of `sizes`, or a resize to one of `crop_sizes`, a random crop and the former resize; then ImageNet
    normalisation. A size is the length of the short side.

    Args:
        sizes: short sides to draw from.
        max_size: limit of the long side.
        crop, flip, colour: switch a part off.
        whole_words: a flip exchanges the words left and right; False: also inside other words (`bright`), as CMA's
            released code does.
        wrap_colours: colours wrap around at 0 and 255, as in CMA's released code; False: they are clipped.
        visible_by_box: an object counts as visible while its clipped box has an area, even without a pixel, as in CMA's
            released code; False: it needs both.
        crop_sizes: short sides before cropping; none: the crop is taken at the original size.
        crop_range: least and largest side of the crop, both limited to the frame.
        keep_object: a crop that leaves less than a quarter of the object is drawn again, up to eight times and then
            not taken, and the object keeps at least one pixel in every resize. A still image needs it: a support that
            does not show the object is refused.
        cropped_sizes, cropped_max_size: `sizes` and `max_size` after a crop; none: the same.
        keep_order: clips whose expression has an ordinal (first to tenth) are not cropped, which would change who is
            the second from the left (UniRef++).
        gentle_colours: colours in the narrower ranges of SgMg, without hue.
        alike: one draw of colours for all frames of a clip.
        resize_first: flip and colours come after the resize (SgMg on Ref-YouTube-VOS).
        drift: of images that are repeated as clips, before all other parts.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        max_size: int,
        *,
        crop: bool = True,
        flip: bool = True,
        colour: bool = True,
        whole_words: bool = True,
        wrap_colours: bool = False,
        visible_by_box: bool = False,
        crop_sizes: Sequence[int] = (400, 500, 600),
        crop_range: tuple[int, int] = (384, 600),
        keep_object: bool = False,
        keep_order: bool = False,
        cropped_sizes: Sequence[int] = (),
        cropped_max_size: int | None = None,
        gentle_colours: bool = False,
        alike: bool = False,
        resize_first: bool = False,
        drift: Drift = STILL,
    ) -> None:
        if not sizes or min(sizes) < 1 or max_size < max(sizes):
            raise ValueError(f"train_sizes must be positive and at most train_max_size, got {list(sizes)}, {max_size}")
        self.sizes, self.max_size = tuple(sizes), max_size
        self.crop, self.flip, self.colour = crop, flip, colour
        self.whole_words, self.wrap_colours, self.visible_by_box = whole_words, wrap_colours, visible_by_box
        self.crop_sizes, self.crop_range = tuple(crop_sizes), crop_range
        self.keep_object, self.keep_order = keep_object, keep_order
        self.cropped_sizes, self.cropped_max_size = tuple(cropped_sizes) or self.sizes, cropped_max_size or max_size
        self.ranges, self.alike = GENTLE if gentle_colours else WIDE, alike
        self.resize_first, self.drift = resize_first, drift

    def __call__(self, clip: Clip, generator: torch.Generator) -> Clip:
        """Transform a clip of uint8 frames. Equal generators give clips that share frames the same draw.

        Raises ValueError for frames that are a strip, see `refuse_strip`.
        """
        refuse_strip(clip)
        steps = (self._resized, self._changed) if self.resize_first else (self._changed, self._resized)
        for step in (self.drift, *steps):
            clip = step(clip, generator)
        return normalise_frames(self._validate(clip))

    def _changed(self, clip: Clip, generator: torch.Generator) -> Clip:
        """Flipped and with other colours, or not."""
        if self.flip and _coin(generator):
            clip = flip_clip(clip, whole_words=self.whole_words)
        if not self.colour:
            return clip
        return replace(clip, frames=distort(clip.frames, generator, self.wrap_colours, self.ranges, self.alike))

    def _resized(self, clip: Clip, generator: torch.Generator) -> Clip:
        """Cropped or not, at a size of the network."""
        sizes, max_size = self.sizes, self.max_size
        if self.crop and _coin(generator) and not (self.keep_order and has_ordinal(clip.expression)):
            sizes, max_size = self.cropped_sizes, self.cropped_max_size
            if self.crop_sizes:
                clip = self._resize(clip, short_side_size(clip.size, _pick(self.crop_sizes, generator)))
            clip = self._crop_with_object(clip, generator) if self.keep_object else self._crop(clip, generator)
        return self._resize(clip, short_side_size(clip.size, _pick(sizes, generator), max_size))

    def _resize(self, clip: Clip, size: tuple[int, int]) -> Clip:
        resized = resize_clip(clip, size)
        if not self.keep_object or clip.masks is None or resized.masks is None:
            return resized
        return resized.with_masks(keep_pixel(clip.masks, resized.masks))

    def _crop_with_object(self, clip: Clip, generator: torch.Generator) -> Clip:
        if clip.masks is None or not clip.masks.any():
            return self._crop(clip, generator)
        for _ in range(CROP_TRIES):
            cropped = self._crop(clip, generator)
            if cropped.masks is not None and cropped.masks.sum() >= OBJECT_KEPT * clip.masks.sum():
                return cropped
        return clip

    def _crop(self, clip: Clip, generator: torch.Generator) -> Clip:
        least, most = self.crop_range
        size = [_between(min(least, side), min(most, side), generator) for side in clip.size]
        top, left = (_between(0, side - part, generator) for side, part in zip(clip.size, size, strict=True))
        return _apply(clip, F.crop, top=top, left=left, height=size[0], width=size[1])

    def _validate(self, clip: Clip) -> Clip:
        """The clip with what is still visible of its objects; of an exhaustive one the others are taken out."""
        objects = clip.objects
        if objects is None or objects.boxes is None:
            return clip
        boxes, valid = clean_boxes(objects.boxes)
        if objects.masks is not None and (objects.exhaustive or not self.visible_by_box):
            valid = valid & objects.masks.flatten(2).any(2)
        objects = replace(objects, boxes=boxes * valid[..., None], valid=valid)
        return replace(clip, objects=objects.visible() if objects.exhaustive else objects)


class ResizeTransform(ABC):
    """A transform for testing: frames resized to `target(size)` and normalised; masks keep their resolution."""

    @abstractmethod
    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width of the frames after the transform, for `size` before it."""

    def __call__(self, clip: Clip, generator: torch.Generator | None = None) -> Clip:
        """Transform a clip of uint8 frames; nothing is drawn. Raises ValueError for a strip, see `refuse_strip`."""
        refuse_strip(clip)
        bare = replace(clip, objects=_with_masks_of(clip.objects, None), ignore=None)
        resized = resize_clip(bare, self.target(clip.size))
        objects = _with_masks_of(resized.objects, clip.objects)
        return normalise_frames(replace(resized, objects=objects, ignore=clip.ignore))


class TestTransform(ResizeTransform):
    """Resize of the short side of the frames to `short_side` pixels (CMA's test)."""

    def __init__(self, short_side: int) -> None:
        self.short_side = _side(short_side)

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width in proportion to `size`, the short side at `short_side`."""
        return short_side_size(size, self.short_side)


class SquareTransform(ResizeTransform):
    """Resize of the frames to `side` x `side`, whatever their shape (HSNet)."""

    def __init__(self, side: int) -> None:
        self.side = _side(side)

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """`(side, side)`."""
        return self.side, self.side


class PadTransform(ResizeTransform):
    """Resize of the long side of the frames to `side`. The batch pads the rest."""

    def __init__(self, side: int) -> None:
        self.side = _side(side)

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width in proportion to `size`, rounded, the long side at `side`."""
        height, width = (max(1, round(length * self.side / max(size))) for length in size)
        return height, width


class EightsTransform(PadTransform):
    """Resize of the long side of the frames to `side`, then both sides cut down to multiples of 8 (PFENet)."""

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width in proportion to `size`; a side below 8 pixels stays as it is."""
        height, width = (max(1, length * self.side // max(size)) for length in size)
        return height // 8 * 8 or height, width // 8 * 8 or width


class ShortLongTransform(ResizeTransform):
    """Resize of the short side to `short`, less if the long side would pass `long` (UniRef++)."""

    def __init__(self, short: int, long: int) -> None:
        if _side(long) < _side(short):
            raise ValueError(f"the limit of the long side must be at least the short side {short}, got {long}")
        self.short, self.long = short, long

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width in proportion to `size`, see `short_side_size`."""
        return short_side_size(size, self.short, self.long)


class FitTransform(ResizeTransform):
    """Resize of the short side to `short`, less where the long side would pass `long`, rounded as in Detectron2."""

    def __init__(self, short: int, long: int) -> None:
        self.short, self.long = _side(short), _side(long)

    def target(self, size: tuple[int, int]) -> tuple[int, int]:
        """Height and width in proportion to `size`, rounded to the nearest pixel, halves up."""
        scale = min(self.long / max(size), self.short / min(size))
        height, width = (max(1, int(side * scale + 0.5)) for side in size)
        return height, width


def short_side_size(size: tuple[int, int], short: int, max_size: int | None = None) -> tuple[int, int]:
    """`(height, width)` with the short side at `short`, less if the long side would pass `max_size` (DETR's rule)."""
    height, width = size
    low, high = min(size), max(size)
    if max_size is not None and high / low * short > max_size:
        short = round(max_size * low / high)
    if short == low:
        return size
    return (int(short * height / width), short) if width < height else (short, int(short * width / height))


def refuse_strip(clip: Clip) -> None:
    """Raise ValueError for frames more than 100 times as long as wide.

    With the short side at the size of a network the long one would have no end.
    """
    if max(clip.size) > MOST_TIMES_AS_LONG * min(clip.size):
        height, width = clip.size
        raise ValueError(
            f"{clip.video or 'a picture'} is a strip of {width}x{height} pixels (width x height): the long side may be "
            f"{MOST_TIMES_AS_LONG} times the short one at most; cut it"
        )


def resize_clip(clip: Clip, size: tuple[int, int]) -> Clip:
    """Frames bilinear with antialiasing (as PIL), masks nearest, boxes scaled. A clip of that size is left alone."""
    return clip if clip.size == size else _apply(clip, F.resize, size=list(size), antialias=True)


def keep_pixel(before: Tensor, after: Tensor) -> Tensor:
    """Masks `(T, H, W)` bool after a resize, with one pixel at the object's centre where it got lost on the way.

    `before`: the masks `(T, H', W')` bool that were resized.
    """
    lost = before.flatten(1).any(1) & ~after.flatten(1).any(1)
    if not lost.any():
        return after
    kept = after.clone()
    for t in lost.nonzero()[:, 0].tolist():
        points = before[t].nonzero()
        centre = points[len(points) // 2]  # a pixel of the object, which its centre of mass need not be
        y, x = (int(c) * new // old for c, new, old in zip(centre, after.shape[1:], before.shape[1:], strict=True))
        kept[t, y, x] = True
    return kept


def flip_clip(clip: Clip, whole_words: bool = True) -> Clip:
    """Mirror left and right, in the pixels and in the words."""
    flipped = _apply(clip, F.horizontal_flip)
    if clip.expression is None:
        return flipped
    return replace(flipped, expression=swap_sides(clip.expression, whole_words))


def has_ordinal(text: str | None) -> bool:
    """True if a text counts things: first to tenth, also inside longer words."""
    return text is not None and any(word in text.lower() for word in ORDINALS)


def swap_sides(text: str, whole_words: bool = True) -> str:
    """Exchange `left` and `right`; `whole_words` False also in `bright`."""
    pattern = r"\b(left|right)\b" if whole_words else r"(left|right)"
    return re.sub(pattern, lambda m: "right" if m.group() == "left" else "left", text)


def normalise_frames(clip: Clip) -> Clip:
    """uint8 frames to float32, minus the ImageNet mean, divided by the standard deviation.

    Raises ValueError for frames that are not uint8.
    """
    if clip.frames.dtype != torch.uint8:
        raise ValueError(f"clip {clip.video!r}: frames must be uint8 as read from disk, got {clip.frames.dtype}")
    frames = F.normalize(F.to_dtype(clip.frames, torch.float32, scale=True), list(MEAN), list(STD), inplace=True)
    return replace(clip, frames=frames)


def _with_masks_of(objects: Objects | None, others: Objects | None) -> Objects | None:
    """`objects` with the masks of `others`; no `others`, no masks."""
    return None if objects is None else replace(objects, masks=None if others is None else others.masks)


def _apply(clip: Clip, kernel: Callable[..., Any], **arguments: Any) -> Clip:
    """Run one torchvision functional on frames, masks and boxes."""
    objects, ignore = clip.objects, clip.ignore
    if objects is not None:
        objects = _apply_to_objects(objects, clip.size, kernel, **arguments)
    if ignore is not None:
        ignore = _apply_to_masks(ignore, kernel, **arguments)
    frames = _plain(kernel(tv_tensors.Image(clip.frames), **arguments))
    return replace(clip, frames=frames, objects=objects, ignore=ignore)


def _apply_to_objects(
    objects: Objects, canvas: tuple[int, int], kernel: Callable[..., Any], **arguments: Any
) -> Objects:
    """The same functional on masks and boxes of the objects of frames of size `canvas`."""
    masks, boxes = objects.masks, objects.boxes
    if masks is not None:
        masks = _apply_to_masks(masks, kernel, **arguments)
    if boxes is not None:
        wrapped = tv_tensors.BoundingBoxes(boxes.flatten(0, 1), format="XYXY", canvas_size=canvas)
        boxes = _plain(kernel(wrapped, **arguments)).view(boxes.shape)
    return replace(objects, masks=masks, boxes=boxes)


def _apply_to_masks(masks: Tensor, kernel: Callable[..., Any], **arguments: Any) -> Tensor:
    """The same functional on masks `(..., H, W)` bool."""
    return _plain(kernel(tv_tensors.Mask(masks.to(torch.uint8)), **arguments)).bool()


def _plain(tensor: Tensor) -> Tensor:
    return tensor.as_subclass(Tensor)


def _side(length: int) -> int:
    if length < 1:
        raise ValueError(f"test_size must be at least 1, got {length}")
    return length


def _coin(generator: torch.Generator) -> bool:
    return torch.rand((), generator=generator).item() < 0.5


def _between(low: int, high: int, generator: torch.Generator) -> int:
    return int(torch.randint(low, high + 1, (), generator=generator))


def _pick(values: Sequence[int], generator: torch.Generator) -> int:
    return values[_between(0, len(values) - 1, generator)]

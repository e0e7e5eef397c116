"""Motion for images that stand for clips: picture and masks drift along the frames."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as F

from episodes.clip import Clip, Objects
from episodes.sources.base import boxes_of
from episodes.transforms.imagenet import MEAN

FILL = [round(255 * mean) for mean in MEAN]  # around the picture: about 0 in the network, as padding


@dataclass(frozen=True)
class Drift:
    """A random affine drift of an image that is repeated as the frames of a clip; other clips are left alone.

    One draw a clip, uniform up to these limits in both directions, for the way from the first frame to the last. It is
    gone evenly, and in the middle of the clip the image is as on disk. That ReferFormer (Wu et al., CVPR 2022) turns
    images into sequences by augmentation is known here, by how much is not: no number of these has a source.

    Attributes:
        turn: rotation in degrees.
        shift: way to the side and way down, fractions of the sides.
        zoom: growth, a fraction of the size.
    """

    turn: float = 0.0
    shift: float = 0.0
    zoom: float = 0.0

    def __call__(self, clip: Clip, generator: torch.Generator) -> Clip:
        """The clip of uint8 frames in motion, boxes of objects drawn anew around their masks.

        Raises ValueError for objects without masks.
        """
        if max(self.turn, self.shift, self.zoom) == 0 or not is_still(clip):
            return clip
        angle, x, y, zoom = (2 * torch.rand(4, generator=generator) - 1).tolist()
        height, width = clip.size
        places: list[dict[str, Any]] = [
            {
                "angle": step * angle * self.turn,
                "translate": [step * x * self.shift * width, step * y * self.shift * height],
                "scale": (1 + self.zoom) ** (step * zoom),
                "shear": [0.0, 0.0],
            }
            for step in torch.linspace(-0.5, 0.5, len(clip.frames)).tolist()
        ]
        bilinear: dict[str, Any] = {"interpolation": InterpolationMode.BILINEAR, "fill": FILL}
        frames = [F.affine_image(x, **bilinear, **place) for x, place in zip(clip.frames, places, strict=True)]
        ignore = None if clip.ignore is None else _moved(clip.ignore, places)
        return replace(clip, frames=torch.stack(frames), ignore=ignore, objects=_drifted(clip, places))


def is_still(clip: Clip) -> bool:
    """Whether the frames of a clip are one image several times."""
    return len(clip.frame_names) > 1 and len(set(clip.frame_names)) == 1


def _drifted(clip: Clip, places: list[dict[str, Any]]) -> Objects | None:
    """The objects of a clip at the places of its frames."""
    objects = clip.objects
    if objects is None:
        return None
    if objects.masks is None:
        raise ValueError(
            f"{clip.video}: boxes without masks cannot drift: set still_turn, still_shift, still_zoom to 0"
        )
    masks = _moved(objects.masks, places)
    boxes, shown = boxes_of(masks.flatten(0, 1))
    apart = masks.shape[:2]
    return replace(objects, masks=masks, boxes=boxes.view(*apart, 4), valid=shown.view(apart))


def _moved(masks: Tensor, places: list[dict[str, Any]]) -> Tensor:
    """Masks `(..., T, H, W)` bool, frame `t` at place `t`."""
    frames = masks.to(torch.uint8).unbind(-3)
    return torch.stack([F.affine_mask(x, **place) for x, place in zip(frames, places, strict=True)], -3).bool()

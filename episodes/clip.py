"""`Clip`: some frames of one video, with the mask and box of one object. An image is a clip of one frame."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from episodes.instances import Instances


@dataclass(frozen=True)
class Clip:
    """Frames of a video, with the mask and box of the one object that is meant, where they are known.

    Attributes:
        frames: `(T, 3, H, W)` RGB, either uint8 in 0..255 (as read) or float32 (after the transforms).
        masks: `(T, Hm, Wm)` bool, True on the object; None where it is to be found. `(Hm, Wm)` may differ from
            `(H, W)`: testing keeps masks at the original resolution while the frames are resized.
        ignore: `(T, Hm, Wm)` bool like `masks`, True on void pixels (label 255 of PASCAL VOC); None: there are none.
        boxes: `(T, 4)` float32 `x0, y0, x1, y1` in pixels of `frames`; zeros where the object is absent.
        valid: `(T,)` bool, True where the object is visible (and its box has a positive area).
        expression: the words that refer to the object, or None.
        video: name of the video (or image) on disk; `frame_names` the `T` names of its frames.
        original_size: `(height, width)` of the frames on disk, before any transform.
        instances: of an image in which no single object is meant, all of its objects; None otherwise.
    """

    frames: Tensor
    masks: Tensor | None = None
    boxes: Tensor | None = None
    valid: Tensor | None = None
    expression: str | None = None
    video: str = ""
    frame_names: tuple[str, ...] = ()
    original_size: tuple[int, int] | None = None
    ignore: Tensor | None = None
    instances: Instances | None = None

    def __post_init__(self) -> None:
        t = self.frames.shape[0] if self.frames.ndim == 4 else 0
        if self.frames.ndim != 4 or self.frames.shape[1] != 3 or t == 0:
            raise ValueError(
                f"Clip {self.video!r}: frames must be (T, 3, H, W) with T >= 1, got {tuple(self.frames.shape)}"
            )
        if self.masks is not None and (self.masks.ndim != 3 or self.masks.shape[0] != t):
            raise ValueError(f"Clip {self.video!r}: masks must be ({t}, H, W), got {tuple(self.masks.shape)}")
        if self.masks is not None and self.masks.dtype != torch.bool:
            raise ValueError(f"Clip {self.video!r}: masks must be bool, got {self.masks.dtype}")
        if self.ignore is not None and (self.masks is None or self.ignore.shape != self.masks.shape):
            found = tuple(self.ignore.shape)
            raise ValueError(f"Clip {self.video!r}: ignore must have the shape of masks, got {found}")
        if self.boxes is not None and tuple(self.boxes.shape) != (t, 4):
            raise ValueError(f"Clip {self.video!r}: boxes must be ({t}, 4), got {tuple(self.boxes.shape)}")
        if self.valid is not None and tuple(self.valid.shape) != (t,):
            raise ValueError(f"Clip {self.video!r}: valid must be ({t},), got {tuple(self.valid.shape)}")
        if self.instances is not None and t != 1:
            raise ValueError(f"Clip {self.video!r}: instances are those of one image, got {t} frames")
        if self.frame_names and len(self.frame_names) != t:
            raise ValueError(f"Clip {self.video!r}: {len(self.frame_names)} frame names for {t} frames")

    @property
    def size(self) -> tuple[int, int]:
        """`(height, width)` of `frames`."""
        return self.frames.shape[-2], self.frames.shape[-1]

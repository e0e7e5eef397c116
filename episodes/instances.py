"""`Instances`: all annotated objects of an image, for the tasks in which no single object is meant."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor


@dataclass(frozen=True)
class Instances:
    """The `M` objects of one image; `M` may be 0.

    Attributes:
        boxes: `(M, 4)` float32 `x0, y0, x1, y1` in pixels of the frame.
        labels: `(M,)` int64, the class of each, counted from 0.
        masks: `(M, H, W)` bool of the frame's size, or None where only boxes are known.
        original_height: of the image on disk, in pixels.
    """

    boxes: Tensor
    labels: Tensor
    masks: Tensor | None
    original_height: int

    def __post_init__(self) -> None:
        m = len(self.labels)
        if tuple(self.boxes.shape) != (m, 4):
            raise ValueError(f"instances: {m} labels need boxes ({m}, 4), got {tuple(self.boxes.shape)}")
        if self.masks is not None and (self.masks.ndim != 3 or len(self.masks) != m or self.masks.dtype != torch.bool):
            raise ValueError(
                f"instances: {m} labels need masks ({m}, H, W) bool, got {tuple(self.masks.shape)} {self.masks.dtype}"
            )

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, keep: Tensor) -> Instances:
        """Those that `keep` selects: `(M,)` bool, or indices."""
        masks = None if self.masks is None else self.masks[keep]
        return replace(self, boxes=self.boxes[keep], labels=self.labels[keep], masks=masks)

    def visible(self) -> Instances:
        """Those that are still there after a transform: the box has an area and the mask a pixel."""
        keep = (self.boxes[:, 2] > self.boxes[:, 0]) & (self.boxes[:, 3] > self.boxes[:, 1])
        return self[keep if self.masks is None else keep & self.masks.flatten(1).any(1)]

    def to(self, device: torch.device | str) -> Instances:
        """The same on `device`."""
        masks = None if self.masks is None else self.masks.to(device)
        return replace(self, boxes=self.boxes.to(device), labels=self.labels.to(device), masks=masks)

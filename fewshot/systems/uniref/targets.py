"""Targets of the queries of an image: the objects of each frame, taken from a batch of query clips.

Legend: N clips, T frames, M objects of a frame, (H, W) padded network size.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from episodes.clip import Objects
from fewshot.losses.boxinst import fill_boxes
from fewshot.losses.masks import target_masks


@dataclass(frozen=True)
class ImageTargets:
    """The objects of one image.

    Attributes:
        labels: `(M,)` int64.
        boxes: `(M, 4)` `cx, cy, w, h` as fractions of the unpadded image.
        masks: `(M, H, W)` float, 0 or 1; the padding is background.
    """

    labels: Tensor
    boxes: Tensor
    masks: Tensor

    def __len__(self) -> int:
        return len(self.labels)


def targets_of(queries: ClipBatch) -> list[ImageTargets]:
    """Targets of the `N * T` frames, clip by clip: the one object of class 0, nothing in frames that do not show it.

    Where the batch carries all `objects`, those that a frame shows are its targets. Boxes are those of the masks,
    right and bottom edge included, where there are masks. Void pixels count as background.

    Raises:
        ValueError: if a clip carries no masks (and no boxes of all objects), or masks of another size than its frames.
    """
    size = (queries.frames.shape[-2], queries.frames.shape[-1])
    if queries.objects:
        clips = zip(queries.objects, queries.sizes.tolist(), strict=True)
        frames = range(queries.frames.shape[1])
        return [all_objects(objects.in_frame(t), unpadded, size) for objects, unpadded in clips for t in frames]
    return [single_object(mask, size) for masks in target_masks(queries) for mask in masks]


def single_object(mask: Tensor, size: tuple[int, int]) -> ImageTargets:
    """Targets of an image from the mask `(h, w)` bool of its one object, which may be empty; `size` is padded."""
    masks = mask[None] if mask.any() else mask[None][:0]
    labels = torch.zeros(len(masks), dtype=torch.long, device=mask.device)
    return ImageTargets(labels, mask_boxes(masks), pad_masks(masks, size))


def all_objects(objects: Objects, unpadded: list[int], size: tuple[int, int]) -> ImageTargets:
    """Targets of an image of `unpadded` height and width from all of its objects; without masks these are the boxes."""
    if objects.masks is None:
        if objects.boxes is None:
            raise ValueError("the objects of an image have neither masks nor boxes: there is nothing to learn from")
        corners = objects.boxes[:, 0]
        low, high = (corners / corners.new_tensor([unpadded[1], unpadded[0]] * 2)).split(2, -1)
        boxes = torch.cat([(low + high) / 2, high - low], -1)
        return ImageTargets(objects.labels, boxes, fill_boxes(corners, size).float())
    masks = objects.masks[:, 0]
    if list(masks.shape[1:]) != unpadded:
        raise ValueError(f"objects have masks of {tuple(masks.shape[1:])} for a frame of {tuple(unpadded)}")
    return ImageTargets(objects.labels, mask_boxes(masks), pad_masks(masks, size))


def mask_boxes(masks: Tensor) -> Tensor:
    """Boxes `(M, 4)` `cx, cy, w, h`, fractions of the mask size, of masks `(M, h, w)` bool that are not empty."""
    sides = []
    for length, touched in ((masks.shape[2], masks.any(1)), (masks.shape[1], masks.any(2))):
        low, high = touched.int().argmax(1), length - touched.flip(1).int().argmax(1)
        sides.append(torch.stack([(low + high) / 2, high - low], -1) / length)
    return torch.stack(sides, -1).flatten(1).float()


def pad_masks(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks `(M, h, w)` padded with background at the bottom and right: `(M, H, W)` float."""
    return F.pad(masks.float(), (0, size[1] - masks.shape[2], 0, size[0] - masks.shape[1]))


def at_stride(masks: Tensor, stride: int) -> Tensor:
    """Masks `(..., H, W)` sampled at the middle of each cell of a grid of `stride` pixels."""
    return masks[..., stride // 2 :: stride, stride // 2 :: stride]

"""Masks that are given of the objects of a video: what is refused, their size in the network, and what they leave.

Legend: (Ho, Wo) the size of the result, (h, w) that of the frames in the network.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.systems.video_tasks import VideoQuestion

BACKGROUND = 0  # id of the rest of a frame, where that is asked for as one more object
Given = Mapping[int, Mapping[int, Tensor]]  # frame -> id -> mask


def check_given(question: VideoQuestion, given: Mapping[int, Tensor]) -> None:
    """Refuse masks of other objects than were announced, and empty ones."""
    for k, mask in given.items():
        if k not in question.objects:
            raise ValueError(f"object {k} is given, but the objects of this video are {question.objects}")
        if mask.ndim != 2 or not mask.any():
            raise ValueError(f"the mask given for object {k} must be (h, w) with at least one pixel on the object")


def shrunk(mask: Tensor, size: tuple[int, int]) -> Tensor:
    """A mask `(Ho, Wo)` bool at network size by the nearest pixel; what vanishes so keeps all cells that it touches."""
    small = F.interpolate(mask[None, None].float(), size, mode="nearest")[0, 0] > 0.5
    if small.any():
        return small
    return F.adaptive_max_pool2d(mask[None, None].float(), size)[0, 0] > 0.5


def with_rest(given: Given, first: int) -> dict[int, dict[int, Tensor]]:
    """Masks `(h, w)` bool, and in the frame that is the first to have any what they leave, as `BACKGROUND`.

    Args:
        first: that frame, where it is known; -1: the first one of these.
    """
    known = {frame: dict(own) for frame, own in given.items()}
    frame = min(known, default=-1) if first < 0 else first
    if frame in known:
        known[frame][BACKGROUND] = ~torch.stack(list(known[frame].values())).any(0)
    return known

"""Visual prompts of mixed kinds, as UniVS is trained: of one object a point, of another its box, else its mask.

Legend: P prompts, R dense tokens of each, (H, W) the mask.
"""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.visual_prompts import (
    Scene,
    VisualPrompts,
    box_prompts,
    mask_prompts,
    point_prompts,
)

A_POINT, A_BOX = 0.25, 0.5  # a draw up to the first gives a point, up to the second a box, else the mask


def mixed_prompts(
    scene: Scene, masks: Tensor, boxes: Tensor, count: int, draws: Draws, *, shuffled: bool = False
) -> VisualPrompts:
    """Prompts from masks `(P, H, W)` bool and their boxes `(P, 4)` in 0..1, of each by a kind that is drawn.

    Args:
        count: R.
        shuffled: the tokens stay in the order masks, points, boxes, while the positions are in that of the objects, as
            in the released training: an object may have the looks of another one.
    """
    kind = draws.kinds(len(masks)).to(masks.device)
    point, box = kind <= A_POINT, (kind > A_POINT) & (kind <= A_BOX)
    whole = ~(point | box)
    parts = (
        mask_prompts(scene, masks[whole].float(), boxes[whole], count, draws, extremes=True),
        point_prompts(scene, points_anywhere(masks[point], draws), count),
        box_prompts(scene, boxes[box], count, draws, training=True),
    )
    tokens, positions, points = (torch.cat([getattr(x, name) for x in parts]) for name in NAMES)
    objects = torch.cat([x.nonzero()[:, 0] for x in (whole, point, box)]).argsort()
    found = VisualPrompts(tokens[objects], positions[objects], points[objects])
    return replace(found, tokens=tokens) if shuffled else found


NAMES = ("tokens", "positions", "points")


def points_anywhere(masks: Tensor, draws: Draws) -> Tensor:
    """One point `x, y` in 0..1 of each mask `(P, H, W)` bool, any of its pixels; beyond the frame for an empty one."""
    height, width = masks.shape[-2:]
    points = torch.full((len(masks), 2), -1.0, device=masks.device)
    for n, mask in enumerate(masks):
        found = mask.nonzero()
        if len(found):
            row, column = found[draws.order(len(found))[0]].tolist()
            points[n] = points.new_tensor([(column + 0.5) / width, (row + 0.5) / height])
    return points

"""Visual prompts of UniVS: features at the cells of a mask, a box or a point (Li et al., 2024, section 3.2).

No parameters. A feature map is the level at stride 8 with its level embedding.

Legend: P prompts, R dense tokens of each, C width, (h, w) the feature map, (H, W) the mask.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.nn.positions import sine_points_in_time
from fewshot.systems.univs.decoder import Scenes
from fewshot.systems.univs.draws import Draws

SURE, SURER, LIKELY = 0.75, 0.95, 0.5  # values of a mask from which a pixel may be its point, or is part of it
NEAR = 0.25  # of a box: how far from the centre its point may lie
LARGE = 0.09  # normalised area from which a box is jittered in training
JITTER = 0.1


@dataclass(frozen=True)
class Scene:
    """A frame in which prompts are shown.

    Attributes:
        features: `(C, h, w)`.
        positions: `(C, h, w)` codes of the cells.
        moment: of the frame, in 0..1.
    """

    features: Tensor
    positions: Tensor
    moment: Tensor

    def at(self, points: Tensor) -> Tensor:
        """Features at points `x, y` in 0..1, bilinear: `(P, 2) -> (P, C)`."""
        grid = (2 * points - 1)[None, None]
        return F.grid_sample(self.features[None], grid, align_corners=False)[0, :, 0].T

    def code(self, points: Tensor) -> Tensor:
        """Position codes of points `x, y` in 0..1: `(P, 2) -> (P, C)`."""
        return sine_points_in_time(self.moment[None], points[None], self.features.shape[0])[0]


def scene_of(scenes: Scenes, frame: int) -> Scene:
    """One frame of all that `scenes` hold, counted over all videos, at stride 8."""
    moment = scenes.moments.flatten()[frame]
    return Scene(scenes.levels[-1][frame], scenes.positions[-1][frame], moment)


@dataclass(frozen=True)
class VisualPrompts:
    """What `P` prompts look like.

    Attributes:
        tokens: `(P, R, C)` features at some cells of each; zeros for an object that is not there.
        positions: `(P, R, C)` their position codes, zeros likewise.
        points: `(P, 2)` x, y in 0..1 of one point of each.
    """

    tokens: Tensor
    positions: Tensor
    points: Tensor


def mask_prompts(
    scene: Scene,
    masks: Tensor,
    boxes: Tensor,
    count: int,
    draws: Draws,
    *,
    extremes: bool = False,
    touched: bool = False,
) -> VisualPrompts:
    """Prompts from masks `(P, H, W)` with values in 0..1.

    Args:
        boxes: `(P, 4)` x0, y0, x1, y1 of the masks in 0..1, edges as of `box_of_masks`.
        count: R.
        extremes: the outermost cells of each mask come first, as in training.
        touched: a mask that has the middle of no cell is of all cells that it touches. As released it is none, and if
            there is no other mask the whole frame.
    """
    there = (masks > 0.5).flatten(1).any(1)
    points = points_of_masks(masks, boxes, draws)
    cells = cells_of_masks(masks.float(), (scene.features.shape[-2], scene.features.shape[-1]), touched)
    # the threshold follows the best of all masks, so that one soft mask among hard ones may be lost: as released
    chosen = cells >= cells.max().clamp(max=LIKELY) if len(cells) else cells.bool()
    weights = (cells * chosen).flatten(1)
    mean = weights @ scene.features.flatten(1).T / weights.sum(1, keepdim=True).clamp(min=0.5)
    return _dense(scene, chosen, mean, points, there, count, draws, extremes)


def cells_of_masks(masks: Tensor, size: tuple[int, int], touched: bool) -> Tensor:
    """Values of masks `(P, H, W)` at the cells of a map of `size`: `(P, h, w)`; `touched`: see `mask_prompts`."""
    cells = F.interpolate(masks[:, None], size, mode="nearest")[:, 0]
    if not touched or not len(masks):
        return cells
    empty = (cells <= LIKELY).flatten(1).all(1)[:, None, None]
    return torch.where(empty, F.adaptive_max_pool2d(masks[:, None], size)[:, 0], cells)


def box_prompts(scene: Scene, boxes: Tensor, count: int, draws: Draws, *, training: bool = False) -> VisualPrompts:
    """Prompts from boxes `(P, 4)` x0, y0, x1, y1 in 0..1; in training large boxes are shifted and scaled a little."""
    there = ((boxes[:, 2:] - boxes[:, :2]) > 0).all(1)
    points = points_of_boxes(boxes, draws)
    if training:
        boxes = jittered(boxes, draws)
    chosen = cells_of_boxes(boxes, (scene.features.shape[-2], scene.features.shape[-1]))
    weights = chosen.flatten(1).float()
    mean = weights @ scene.features.flatten(1).T / weights.sum(1, keepdim=True).clamp(min=0.5)
    mean = torch.where(chosen.flatten(1).any(1, keepdim=True), mean, scene.at(points))
    return _dense(scene, chosen, mean, points, there, count, draws, training)


def point_prompts(scene: Scene, points: Tensor, count: int) -> VisualPrompts:
    """Prompts from points `(P, 2)` x, y in 0..1: the feature there, R times. A point outside stands for nothing."""
    there = ((points >= 0) & (points <= 1)).all(1).float()[:, None, None]
    tokens, positions = (x[:, None].expand(-1, count, -1) * there for x in (scene.at(points), scene.code(points)))
    return VisualPrompts(tokens, positions, points)


def _dense(
    scene: Scene,
    chosen: Tensor,
    mean: Tensor,
    points: Tensor,
    there: Tensor,
    count: int,
    draws: Draws,
    extremes: bool,
) -> VisualPrompts:
    """Tokens of the `chosen` cells `(P, h, w)`; without any, the `mean` `(P, C)` at the points."""
    features, positions = (x.flatten(1).T for x in (scene.features, scene.positions))
    codes = scene.code(points)
    tokens, places = [], []
    for n, cells in enumerate(chosen):
        index = some_cells(cells, count, draws, extremes)
        tokens.append(mean[n].expand(count, -1) if index is None else features[index])
        places.append(codes[n].expand(count, -1) if index is None else positions[index])
    shape = (len(chosen), count, features.shape[1])
    valid = there[:, None, None].to(features.dtype)
    seen, lie = ((torch.stack(x) if x else features.new_zeros(shape)) * valid for x in (tokens, places))
    return VisualPrompts(seen, lie, points)


def some_cells(cells: Tensor, count: int, draws: Draws, extremes: bool) -> Tensor | None:
    """Indices `(count,)` of cells of a mask `(h, w)` bool, repeated where there are fewer; None without any.

    With `extremes` the leftmost, topmost, rightmost and lowest cells replace the first four of a choice.
    """
    rows, columns = cells.nonzero(as_tuple=True)
    index = rows * cells.shape[1] + columns
    found = len(index)
    if found == 0:
        return None
    if found < count:
        index = index.repeat(-(-count // found))[:count]
        return index
    index = index[draws.order(found)[:count].to(index.device)]
    if extremes:
        outermost = extreme_cells(rows, columns, cells.shape[1])[:count]
        index = torch.cat([outermost, index[len(outermost) :]])
    return index


def extreme_cells(rows: Tensor, columns: Tensor, width: int) -> Tensor:
    """Indices `(4,)` of the leftmost, topmost, rightmost and lowest of the cells; the first one of each edge."""
    ends = (
        (rows, columns, columns.min()),
        (columns, rows, rows.min()),
        (rows, columns, columns.max()),
        (columns, rows, rows.max()),
    )
    found = []
    for n, (along, across, edge) in enumerate(ends):
        first = along[across == edge].min()
        row, column = (first, edge) if n % 2 == 0 else (edge, first)
        found.append(row * width + column)
    return torch.stack(found)


def points_of_masks(masks: Tensor, boxes: Tensor, draws: Draws) -> Tensor:
    """One point `x, y` in 0..1 of each mask `(P, H, W)`, near the centre of its box where the mask is sure there."""
    height, width = masks.shape[-2:]
    y = (torch.arange(height, device=masks.device) + 0.5) / height
    x = (torch.arange(width, device=masks.device) + 0.5) / width
    points = []
    for mask, (x0, y0, x1, y1) in zip(masks.float(), boxes, strict=True):
        best = mask.max()
        near = (y - (y0 + y1) / 2).abs()[:, None] < NEAR * (y1 - y0)
        near = near & ((x - (x0 + x1) / 2).abs() < NEAR * (x1 - x0))
        found = ((mask >= best.clamp(max=SURE)) & near).nonzero()
        if len(found) == 0:
            found = (mask >= best.clamp(max=SURER)).nonzero()
        row, column = found[draws.order(len(found))[0]].tolist()
        points.append(torch.stack([x[column], y[row]]))
    return torch.stack(points) if points else masks.new_zeros(0, 2, dtype=torch.float32)


def points_of_boxes(boxes: Tensor, draws: Draws) -> Tensor:
    """One point `x, y` in 0..1 of each box `(P, 4)`, in the middle half."""
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    return centre + (2 * draws.uniform(len(boxes), 2).to(boxes) - 1) * NEAR * size


def jittered(boxes: Tensor, draws: Draws) -> Tensor:
    """Boxes `(P, 4)` x0, y0, x1, y1 in 0..1, the large ones shifted and scaled by up to a tenth, cut to the frame."""
    centre, size = (boxes[:, :2] + boxes[:, 2:]) / 2, boxes[:, 2:] - boxes[:, :2]
    by = (2 * draws.uniform(len(boxes), 4).to(boxes) - 1) * JITTER
    large = size.prod(1, keepdim=True) > LARGE
    moved, scaled = centre + by[:, :2] * size, size + by[:, 2:] * size
    return torch.where(large, torch.cat([moved - scaled / 2, moved + scaled / 2], 1).clamp(0, 1), boxes)


def cells_of_boxes(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Cells of a map of `size` in boxes `(P, 4)` in 0..1: `(P, h, w)` bool.

    The first row and column of each box are left out: released weights were trained so.
    """

    def inside(low: Tensor, high: Tensor, count: int) -> Tensor:
        cells = torch.arange(count, device=boxes.device)
        return (cells > (low * count).floor()[:, None]) & (cells <= (high * count).ceil()[:, None])

    x0, y0, x1, y1 = boxes.unbind(1)
    return inside(y0, y1, size[0])[:, :, None] & inside(x0, x1, size[1])[:, None]


def box_of_masks(masks: Tensor) -> Tensor:
    """First and last column and row of masks `(..., H, W)` bool, in pixels: `(..., 4)` x0, y0, x1, y1; 0 if empty."""
    rows, columns = masks.any(-1), masks.any(-2)

    def ends(line: Tensor) -> tuple[Tensor, Tensor]:
        first = line.int().argmax(-1)
        last = line.shape[-1] - 1 - line.flip(-1).int().argmax(-1)
        return first, torch.where(line.any(-1), last, 0)

    (y0, y1), (x0, x1) = ends(rows), ends(columns)
    return torch.stack([x0, y0, x1, y1], -1)


def relative(boxes: Tensor, size: tuple[int, int]) -> Tensor:
    """Boxes in pixels as fractions of the frame of `size` (height, width)."""
    height, width = size
    return boxes / boxes.new_tensor([width, height, width, height], dtype=torch.float32)

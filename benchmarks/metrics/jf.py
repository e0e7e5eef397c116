"""J and F of one object in one frame: region overlap and boundary match, as the DAVIS evaluation defines them.

Perazzi et al., "A Benchmark Dataset and Evaluation Methodology for Video Object Segmentation", CVPR 2016, section 4.
A pixel is on the boundary of a mask if it differs from its right, lower or lower-right neighbour; nothing outside
the image is compared, so a mask of the whole image has no boundary.

How it is fast: both masks are cut to their joint bounding box plus one pixel (exact: outside it nothing differs from
its neighbours), each boundary map becomes ONE Python integer (a bit per pixel, rows one after the other with a gap as
wide as the radius), and the dilation with the disk is a handful of shifts and ORs of such integers.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
DAVIS_TOLERANCE = 0.008
CMA_TOLERANCE = 0.010


def jaccard(pred: NDArray, gt: NDArray, void: NDArray | None = None) -> float:
    """Intersection over union of two `(H, W)` masks outside `void`, in 0..1; 1 if both are empty."""
    return _jaccard(*_checked(pred, gt, void))


def boundary_f(pred: NDArray, gt: NDArray, void: NDArray | None = None, bound_th: float = DAVIS_TOLERANCE) -> float:
    """F of precision and recall of the boundary pixels of two `(H, W)` masks, in 0..1.

    A boundary pixel is right if it lies within `radius` of the other mask's boundary (Euclidean, not one-to-one).
    Void pixels become background in both masks first. Two empty boundaries score 1, one empty boundary 0.

    Args:
        bound_th: the radius as a share of the image diagonal (rounded up), or in pixels if it is 1 or more.
    """
    pred, gt = _checked(pred, gt, void)
    radius = boundary_radius(pred.shape, bound_th)
    box = joint_box(pred, gt)
    return 1.0 if box is None else _boundary_f(pred[box], gt[box], radius)


def j_and_f(
    pred: NDArray, gt: NDArray, void: NDArray | None = None, bound_th: float = DAVIS_TOLERANCE
) -> tuple[float, float]:
    """Region overlap and boundary match, `(jaccard, boundary_f)`, of two `(H, W)` masks with one crop for both."""
    pred, gt = _checked(pred, gt, void)
    radius = boundary_radius(pred.shape, bound_th)
    box = joint_box(pred, gt)
    if box is None:
        return 1.0, 1.0
    pred, gt = pred[box], gt[box]
    return _jaccard(pred, gt), _boundary_f(pred, gt, radius)


def boundary_radius(shape: tuple[int, ...], bound_th: float) -> int:
    """Tolerance in pixels for images of `shape` (height, width): 480x854 at 0.008 gives 8, at 0.010 gives 10."""
    if bound_th <= 0 or (bound_th >= 1 and bound_th != int(bound_th)):
        raise ValueError(
            f"bound_th must be a share of the diagonal in (0, 1) or a whole number of pixels, got {bound_th}"
        )
    height, width = shape
    return int(bound_th) if bound_th >= 1 else math.ceil(bound_th * math.sqrt(height * height + width * width))


def boundary_map(mask: Mask) -> Mask:
    """Pixels of the `(H, W)` mask that differ from their right, lower or lower-right neighbour inside the image."""
    edge = np.zeros_like(mask)
    edge[:, :-1] = mask[:, :-1] ^ mask[:, 1:]
    edge[:-1] |= mask[:-1] ^ mask[1:]
    edge[:-1, :-1] |= mask[:-1, :-1] ^ mask[1:, 1:]
    return edge


def _checked(pred: NDArray, gt: NDArray, void: NDArray | None) -> tuple[Mask, Mask]:
    """Both masks as bool arrays of one size, void pixels set to background in both."""
    pred, gt = np.asarray(pred), np.asarray(gt)
    if pred.ndim != 2 or pred.shape != gt.shape or (void is not None and void.shape != gt.shape):
        shapes = f"prediction {pred.shape}, truth {gt.shape}" + ("" if void is None else f", void {void.shape}")
        raise ValueError(f"masks must be (H, W) and of one size, got {shapes}: resize the prediction first")
    pred, gt = pred.astype(bool, copy=False), gt.astype(bool, copy=False)
    if void is None:
        return pred, gt
    scored = ~void.astype(bool, copy=False)
    return pred & scored, gt & scored


def joint_box(pred: Mask, gt: Mask) -> tuple[slice, slice] | None:
    """Rows and columns of the joint bounding box plus one pixel, clipped to the image; None if both are empty."""
    union = pred | gt
    rows = np.flatnonzero(union.any(1))
    if rows.size == 0:
        return None
    cols = np.flatnonzero(union.any(0))
    return slice(max(rows[0] - 1, 0), rows[-1] + 2), slice(max(cols[0] - 1, 0), cols[-1] + 2)


def _jaccard(pred: Mask, gt: Mask) -> float:
    union = np.count_nonzero(pred | gt)
    return np.count_nonzero(pred & gt) / union if union else 1.0


def _boundary_f(pred: Mask, gt: Mask, radius: int) -> float:
    pred_bits, stride = pack_bits(boundary_map(pred), radius)
    gt_bits, _ = pack_bits(boundary_map(gt), radius)
    pred_count, gt_count = pred_bits.bit_count(), gt_bits.bit_count()
    if pred_count == 0 or gt_count == 0:
        return float(pred_count == gt_count)
    precision = (pred_bits & _dilate(gt_bits, radius, stride)).bit_count() / pred_count
    recall = (gt_bits & _dilate(pred_bits, radius, stride)).bit_count() / gt_count
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def pack_bits(edge: Mask, radius: int) -> tuple[int, int]:
    """The map as one integer, pixel (y, x) at bit `y * stride + x`, and the stride.

    Each row is followed by at least `radius` zero bits, so that a sideways shift never reaches the next row's pixels.
    """
    height, width = edge.shape
    row_bytes = (width + radius + 7) // 8
    rows = np.zeros((height, row_bytes), np.uint8)
    rows[:, : (width + 7) // 8] = np.packbits(edge, axis=1, bitorder="little")
    return int.from_bytes(rows.tobytes(), "little"), 8 * row_bytes


def _dilate(bits: int, radius: int, stride: int) -> int:
    """Dilation with the disk `dx^2 + dy^2 <= radius^2`: one run of pixels per row `dy` of the disk.

    The run grows from the disk's top row to its middle row. All shifts go up, `radius` rows and columns too far, and
    one shift at the end puts the result in its place; what then lies in the gaps or below row 0 is never looked at.
    """
    disk, run, reach = 0, bits, 0  # `run` = bits dilated to the right by 0..reach
    for dy in range(radius, -1, -1):
        half = math.isqrt(radius * radius - dy * dy)
        while reach < 2 * half:
            step = min(2 * half - reach, reach + 1)
            run |= run << step
            reach += step
        disk |= run << ((radius + dy) * stride + radius - half)
        if dy:
            disk |= run << ((radius - dy) * stride + radius - half)
    return disk >> (radius * stride + radius)

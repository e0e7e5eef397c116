"""Boundary IoU: overlap of two masks near their borders, as the panoptic VOS evaluation computes it.

Cheng et al., "Boundary IoU: Improving Object-Centric Image Segmentation Evaluation", CVPR 2021. The border region of a
mask is what erosion takes away: all of it that is at most `width` pixels, counted along rows and columns, from a pixel
outside of it. Beyond the image everything is outside. Masks are cut to their joint box and become one integer each, as
in `benchmarks.metrics.jf`; erosion with a square is a few shifts and ANDs of it.
"""

from __future__ import annotations

import math

from benchmarks.metrics.jf import Mask, pack_bits

SHARE = 0.02  # of the diagonal


def boundary_width(shape: tuple[int, int], share: float = SHARE) -> int:
    """Width of the border region in pixels for images of `shape` (height, width), at least 1."""
    return max(1, round(share * math.hypot(*shape)))


def mask_and_boundary_iou(prediction: Mask, truth: Mask, width: int) -> tuple[float, float]:
    """Overlap of two masks `(H, W)` and of their border regions, in 0..1; both 1 if both masks are empty.

    The masks may be cut to a box that holds both of them.
    """
    (found, stride), (true, _) = pack_bits(prediction, 1), pack_bits(truth, 1)
    edges = [bits ^ _eroded(bits, width, stride) for bits in (found, true)]
    return _overlap(found, true), _overlap(*edges)


def _eroded(bits: int, width: int, stride: int) -> int:
    """Erosion with a square of `2 * width + 1` pixels; the zeros after each row keep rows apart."""
    for step in (1, stride):
        reach = 0  # `bits` = those that are followed by `reach` others in this direction
        while reach < 2 * width:
            more = min(2 * width - reach, reach + 1)
            bits &= bits >> (more * step)
            reach += more
    return bits << (width * stride + width)


def _overlap(a: int, b: int) -> float:
    union = (a | b).bit_count()
    return (a & b).bit_count() / union if union else 1.0

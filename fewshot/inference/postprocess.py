"""From a prediction to the answer for an image, as UniRef++ is tested in referring and few-shot image segmentation.

The mask is cut at 0.5 at network size, and the binary mask is then resized by nearest pixel. (Other systems and the
video tasks resize probabilities and cut at the original size.) Wu et al., UniRef++, 2023, released inference code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.ops import box_convert, clip_boxes_to_image

from episodes.batch import ClipBatch
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import System


@dataclass(frozen=True)
class ImageResult:
    """The answer for one image.

    Attributes:
        mask: `(Ho, Wo)` bool at the original size.
        score: of the best candidate, as the prediction holds it (a logit for UniRef); 0 for a system without scores.
        box: `(4,)` x0, y0, x1, y1 in pixels of the original image, cut at its border; None for a system without boxes.
        found: whether there is a prediction at all: the released code drops one whose box has no area. Benchmarks
            count what is not found as an empty mask.
    """

    mask: Tensor
    score: float
    box: Tensor | None
    found: bool


def masks_by_nearest(probabilities: Tensor, size: tuple[int, int]) -> Tensor:
    """Masks `(T, *size)` bool: probabilities `(T, H, W)` above 0.5 at network size, then the nearest pixel."""
    return F.interpolate((probabilities > 0.5)[:, None].float(), size)[:, 0] > 0.5


def boxes_in_pixels(boxes: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Boxes `(n, 4)` cx, cy, w, h as fractions -> x0, y0, x1, y1 in pixels of `size`, and which have an area `(n,)`."""
    height, width = size
    scaled = box_convert(boxes.float(), "cxcywh", "xyxy") * boxes.new_tensor([width, height, width, height])
    clipped = clip_boxes_to_image(scaled, size)
    return clipped, (clipped[:, 2:] > clipped[:, :2]).all(1)


@torch.no_grad()
def image_results(
    system: System,
    prediction: Prediction,
    queries: ClipBatch,
    sizes: Sequence[tuple[int, int]],
    by_nearest: bool = True,
) -> list[ImageResult]:
    """The answer for each of `N` images, clips of one frame; `sizes` are their original heights and widths.

    Args:
        by_nearest: masks are cut at network size and resized by the nearest pixel (UniRef++, ReferFormer); else logits
            are resized bilinearly and cut at 0 (SgMg).

    Raises:
        ValueError: a clip has several frames, or the number of sizes is another.
    """
    if queries.frames.shape[1] != 1 or len(sizes) != len(queries):
        raise ValueError(
            f"{len(queries)} images (clips of one frame) and their sizes are expected, got clips of "
            f"{queries.frames.shape[1]} frames and {len(sizes)} sizes"
        )
    best = prediction.best()[:, 0]
    return [_result(system, prediction, queries, n, int(best[n]), size, by_nearest) for n, size in enumerate(sizes)]


def _result(
    system: System, prediction: Prediction, queries: ClipBatch, n: int, best: int, size: tuple[int, int], nearest: bool
) -> ImageResult:
    if nearest:
        mask = masks_by_nearest(system.probabilities(prediction, queries, n), size)[0]
    else:
        logits = system.logits(prediction, queries, n)[None].float()
        mask = F.interpolate(logits, size, mode="bilinear", align_corners=False)[0, 0] > 0
    score = 0.0 if prediction.scores is None else float(prediction.scores[n, 0, best])
    if prediction.boxes is None:
        return ImageResult(mask, score, None, True)
    boxes, found = boxes_in_pixels(prediction.boxes[n, 0, best][None], size)
    return ImageResult(mask, score, boxes[0], bool(found[0]))

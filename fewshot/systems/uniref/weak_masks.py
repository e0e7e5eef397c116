"""Learning masks from boxes alone, as in the pretraining of UniRef++ on Objects365 (BoxInst, CVPR 2021).

Legend: n images, P matched pairs, (h, w) mask resolution.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from episodes.transforms.clips import MEAN, STD
from fewshot.losses.boxinst import colour_similarity, pairwise_loss, projection_loss, rgb_to_lab
from fewshot.systems.uniref.targets import at_stride

BOTTOM = 10  # lowest rows of the image on disk that say nothing of colours: many pictures have a border there


@dataclass(frozen=True)
class WeakMasks:
    """Substitute for masks where only boxes are known.

    Attributes:
        similarity: `(n, 8, h, w)`, see `colour_similarity`.
        calls: mask losses computed so far in the training; the pairwise term grows over the first `warmup` of them.
        warmup: calls until it has its full weight. There is one call per decoder layer and batch.
        most: matched pairs of a layer that are used, drawn at random if there are more.
    """

    similarity: Tensor
    calls: int = 0
    warmup: int = 10_000
    most: int = 64

    def terms(self, logits: Tensor, boxes: Tensor, images: Tensor, call: int) -> dict[str, Tensor]:
        """Projection and pairwise loss of matched pairs.

        Args:
            logits: `(P, h, w)`; boxes: `(P, h, w)`, the filled boxes of their objects.
            images: `(P,)` the image of each pair.
            call: number of the decoder layer in this batch, from 1, in order of computation.
        """
        if len(logits) == 0:
            return {name: logits.sum() * 0.0 for name in ("loss_prj", "loss_pairwise")}
        similarity = self.similarity[images]
        if len(logits) > self.most:
            drawn = torch.randperm(len(logits), device=logits.device)[: self.most]
            logits, boxes, similarity = logits[drawn], boxes[drawn], similarity[drawn]
        ripe = min((self.calls + call) / self.warmup, 1.0)
        return {
            "loss_prj": projection_loss(logits, boxes).mean(),
            "loss_pairwise": pairwise_loss(logits, similarity, boxes) * ripe,
        }


@torch.no_grad()
def similarity_of(queries: ClipBatch, stride: int, swapped: bool = False) -> Tensor:
    """Colour similarity of neighbouring mask cells of the images of `queries`: `(n, 8, h, w)`.

    Colours are means over a cell. Padding and the lowest rows of an image are not known.

    Args:
        swapped: exchange red and blue first, as the official pretraining does by mistake.

    Raises:
        ValueError: clips of more than one frame, or images of unknown size on disk.
    """
    if queries.frames.shape[1] != 1:
        raise ValueError(f"masks are learnt from the boxes of single images, got clips of {queries.frames.shape[1]}")
    frames = queries.frames[:, 0].float()
    colours = frames * frames.new_tensor(STD)[:, None, None] + frames.new_tensor(MEAN)[:, None, None]
    colours = F.avg_pool2d(colours * ~queries.padding[:, None], stride)
    colours = rgb_to_lab(colours.flip(1) if swapped else colours)
    return colour_similarity(colours, at_stride(_known(queries), stride))


def _known(queries: ClipBatch) -> Tensor:
    """`(n, H, W)` bool, False on the padding and on the lowest rows of each image."""
    known = ~queries.padding
    original = queries.original_sizes or (None,) * len(queries)
    for image, height, on_disk in zip(known, queries.sizes[:, 0].tolist(), original, strict=True):
        if on_disk is None:
            raise ValueError("learning masks from boxes needs the sizes of the images on disk: give original_sizes")
        removed = int(BOTTOM * height / on_disk[0])
        image[height - removed :] = False
    return known

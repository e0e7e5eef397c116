"""From the segmented query of an image episode to its pixel counts, at the resolution that the protocol names."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from benchmarks.image_scores import ImageScore
from benchmarks.metrics.iou import pair_counts
from benchmarks.protocols.images import ImageProtocol
from fewshot.evaluation import QueryResult, votes
from fewshot.segmentation import nearest

LEAST = 1e-6  # probability that a logit is taken of


def image_score(result: QueryResult, protocol: ImageProtocol) -> ImageScore:
    """Intersections and unions of background and object over the pixels whose truth is known.

    Raises:
        ValueError: the query image has no true mask.
    """
    clip, spec = result.clip, result.spec
    if clip.masks is None:
        raise ValueError(f"query image {clip.video!r} has no true mask to score against")
    network = (result.maps[0].shape[-2], result.maps[0].shape[-1])
    original = (clip.masks.shape[-2], clip.masks.shape[-1])
    ignore = clip.ignore if clip.ignore is not None and protocol.ignore == "left out" else torch.zeros_like(clip.masks)
    if protocol.resolution == "network":
        masks = [found > 0.5 for found in result.maps]
        truth, ignore = nearest(clip.masks, network), nearest(ignore, network)
    else:
        masks, truth = [_enlarged(found, original, protocol.resolution) for found in result.maps], clip.masks
    mask = masks[0] if len(masks) == 1 else votes(masks) >= 0.5
    counts = pair_counts(mask[0].numpy(), truth[0].numpy(), ignore[0].numpy())
    return ImageScore(
        seed=spec.seed,
        group=spec.group,
        probe=result.probe,
        episode=spec.index,
        class_id=spec.class_id,
        class_name=spec.class_name,
        image=spec.queries[result.query].video,
        inter_bg=int(counts.inter_bg),
        inter_fg=int(counts.inter_fg),
        union_bg=int(counts.union_bg),
        union_fg=int(counts.union_fg),
    )


def _enlarged(found: Tensor, size: tuple[int, int], resolution: str) -> Tensor:
    """A probability map `(T, H, W)` as a mask `(T, *size)`; `original` cuts at 0.5 and then enlarges.

    `square` enlarges the logits of the padded square to the longer side, corners aligned, and crops (PFENet, Tian et
    al., TPAMI 2020). The padding, which is no longer there, has the values of the last row and column.
    """
    if resolution == "original":
        return nearest(found > 0.5, size)
    height, width = found.shape[-2:]
    side, longer = max(height, width), max(size)
    square = F.pad(torch.logit(found, LEAST)[:, None], (0, side - width, 0, side - height), mode="replicate")
    enlarged = F.interpolate(square, size=(longer, longer), mode="bilinear", align_corners=True)
    return enlarged[:, 0, : size[0], : size[1]] > 0

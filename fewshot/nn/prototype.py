"""Prototypes by masked average pooling, and what a query looks like next to them.

Wang et al., PANet: Few-Shot Image Semantic Segmentation with Prototype Alignment, ICCV 2019, sections 3.2 and 3.3.
Legend: N clips, T frames, S support frames, C channels, (h, w) feature resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.nn.masks import cells_of, masks_at_frames, pad_to_frames


def mask_weights(clips: ClipBatch, size: tuple[int, int], patches: bool = True) -> Tensor:
    """Foreground and background fraction of every feature cell: `(N, 2, S, h, w)` in 0..1, both 0 on the padding.

    Masks come at their own resolution, the features from padded frames: each mask is brought to the unpadded frame
    size (nearest), padded, and averaged over the area of a cell. `patches` as of `Backbone`.
    """
    weights, stride = [], -(-clips.frames.shape[-2] // size[0])
    for masks in masks_at_frames(clips):
        sides = pad_to_frames(torch.cat([masks, 1 - masks], 1), clips)
        weights.append(cells_of(sides, stride, size, patches).transpose(0, 1))
    return torch.stack(weights)


def prototypes(features: Tensor, weights: Tensor) -> Tensor:
    """Weighted mean feature over all frames: `(N, S, C, h, w), (N, 2, S, h, w) -> (N, 2, C)`.

    A side without weight (an empty mask) gives zeros, whose cosine with anything is 0.
    """
    sums = torch.einsum("nkshw,nschw->nkc", weights, features)
    return sums / weights.sum((2, 3, 4)).clamp(min=1e-6)[..., None]


def prototype_logits(features: Tensor, pair: Tensor, scale: float = 10.0) -> Tensor:
    """`scale` times (cosine to foreground minus cosine to background): `(N, T, C, h, w), (N, 2, C) -> (N, T, h, w)`."""
    cosines = torch.einsum("ntchw,nkc->nkthw", F.normalize(features, dim=2), F.normalize(pair, dim=2))
    return scale * (cosines[:, 0] - cosines[:, 1])

"""From coarse patches to masks at full resolution with the backbone's finest features.

Miao et al., Spectrum-guided Multi-granularity Referring Video Object Segmentation, ICCV 2023, section 3.4.
Legend: n masks, P = side * side mask pixels of a cell, (h, w) a map.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class MaskRefinement(nn.Module):
    """Two 3x3 convolutions over patches and features, added to the patches.

    The ReLU before the first one also cuts the patches and the raw features: released weights were trained so.
    """

    def __init__(self, patch: int, channels: int) -> None:
        super().__init__()
        self.conv1, self.conv2 = nn.Conv2d(patch + channels, patch, 3, padding=1), nn.Conv2d(patch, patch, 3, padding=1)

    def forward(self, patches: Tensor, features: Tensor) -> Tensor:
        """Patches `(n, P, h, w)` and features `(n, C, h, w)` to patches."""
        return patches + self.conv2(F.relu(self.conv1(F.relu(torch.cat([patches, features], 1)))))


class MultiScaleOptimiser(nn.Module):
    """Patches at stride 8 refined there and at stride 4, then laid out as pixels.

    Args:
        fine, coarse: channels of the raw backbone features at strides 4 and 8.
        side: mask pixels along a side of a patch.
    """

    def __init__(self, fine: int, coarse: int, side: int = 4) -> None:
        super().__init__()
        self.side = side
        self.coarse, self.fine = MaskRefinement(side**2, coarse), MaskRefinement(side**2, fine)

    def forward(self, patches: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """Patches `(n, P, h8, w8)`, features `(n, C, h4, w4)` and `(n, C, h8, w8)` to masks `(n, h4*side, w4*side)`."""
        return as_pixels(self.refine(patches, fine, coarse), self.side)

    def refine(self, patches: Tensor, fine: Tensor, coarse: Tensor) -> Tensor:
        """The same as patches `(n, P, h4, w4)`."""
        patches = self.coarse(patches, coarse)
        patches = F.interpolate(patches, fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.fine(patches, fine)


def as_pixels(patches: Tensor, side: int) -> Tensor:
    """Patches, row by row, as pixels: `(..., side * side, h, w) -> (..., h * side, w * side)`."""
    return F.pixel_shuffle(patches, side).squeeze(-3)

"""A small feature pyramid to few mask channels, without norms: the semantic branch of UniRef's masks.

Wu et al., UniRef++, arXiv 2312.15715, section 3.3; the pyramid is that of DETR's mask head (Carion et al., ECCV 2020).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch.nn.functional as F
from torch import Tensor, nn


class SmallFPN(nn.Module):
    """Encoded levels at strides 8, 16 and 32 and the backbone's feature at stride 4 to mask features.

    Args:
        fine_channels: of the backbone's feature at stride 4.
        dim: channels of the encoded levels, a multiple of 4.
        channels: of the mask features.
    """

    def __init__(self, fine_channels: int, dim: int = 256, channels: int = 8) -> None:
        super().__init__()
        self.levels = nn.ModuleList(_conv3(dim, dim) for _ in range(3))  # strides 8, 16, 32
        self.narrow = nn.ModuleList([_conv3(dim, dim // 4), _conv3(dim // 4, channels)])
        self.lateral = nn.Conv2d(fine_channels, channels, 1)
        self.smooth = _conv3(channels, channels)
        self.out = nn.Conv2d(channels, channels, 1)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_uniform_(module.weight, a=1)
                assert module.bias is not None
                nn.init.zeros_(module.bias)

    @property
    def inner_convolutions(self) -> list[nn.Conv2d]:
        """All convolutions but the lateral one, from the coarsest level's input to the mask features."""
        modules = (*self.levels, *self.narrow, self.smooth, self.out)
        return [module for module in modules if isinstance(module, nn.Conv2d)]

    def forward(self, fine: Tensor, memory: Sequence[Tensor]) -> Tensor:
        """Mask features `(n, channels, h, w)` at stride 4.

        Args:
            fine: `(n, fine_channels, h, w)`, stride 4.
            memory: `(n, dim, h_l, w_l)` at strides 8, 16 and 32.
        """
        x = F.interpolate(self.pyramid(memory), fine.shape[-2:], mode="bilinear", align_corners=False)
        return self.out(F.relu(self.smooth(self.lateral(fine) + x)))

    def pyramid(self, memory: Sequence[Tensor]) -> Tensor:
        """The encoded levels from coarse to fine: `(n, channels, h, w)` at stride 8."""
        x = F.relu(self.levels[2](memory[2]))
        for level in (1, 0):
            larger = F.interpolate(x, memory[level].shape[-2:], mode="nearest")
            x = F.relu(self.levels[level](memory[level] + larger))
        for conv in self.narrow:
            x = F.relu(conv(x))
        return x


def _conv3(inputs: int, outputs: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, 3, padding=1)

"""Spectral filters around the fusion with words: a learned low-pass, and a map of the whole spectrum.

Miao et al., Spectrum-guided Multi-granularity Referring Video Object Segmentation, ICCV 2023, section 3.2.
Legend: n frames, C channels, (h, w) a map.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

SIGMA = 7.0  # of the Gaussian, in cells of the finest level


class SpectralFilter(nn.Module):
    """Damp frequencies by a Gaussian with a gate for each image, map the spectrum, and add what comes back.

    Only the real part of the inverse transform is used, so the mapped spectrum need not be that of a real image.

    Args:
        dim: channels C.
        padding: cells around a map for the convolution of the gate. 0 as released: a map has then to be at least 3x3.
    """

    def __init__(self, dim: int, padding: int = 0) -> None:
        super().__init__()
        self.padding = padding
        self.texture = nn.Conv2d(dim, dim, 3)
        self.gate = nn.Sequential(nn.Linear(dim, dim, bias=False), nn.ReLU(), nn.Linear(dim, 1, bias=False))
        self.conv1, self.conv2 = nn.Conv2d(2 * dim, 2 * dim, 1), nn.Conv2d(2 * dim, 2 * dim, 1)

    def forward(self, x: Tensor, damping: Tensor) -> Tensor:
        """`(n, C, h, w)` to the same, in float32 but for the convolutions of the spectrum.

        Args:
            damping: `(h, w)` of `damping_chain`, 0..1.
        """
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            gate = self.openness(x)[..., None, None]
            spectrum = torch.fft.fft2(x) * (1 - gate * damping)
            parts = torch.cat([spectrum.real, spectrum.imag], 1)
        parts = self.conv2(F.relu(self.conv1(parts)))
        with torch.autocast(x.device.type, enabled=False):
            real, imaginary = parts.float().chunk(2, 1)
            return x + torch.fft.ifft2(torch.complex(real.contiguous(), imaginary.contiguous())).real

    def openness(self, x: Tensor) -> Tensor:
        """How far the Gaussian counts for each image: `(n, C, h, w) -> (n, 1)`, 0..1.

        The mean of the texture is that convolution of nine means, those of the map and of its shifts by one cell.
        """
        if self.padding:
            x = F.pad(x, (self.padding,) * 4)
        h, w = x.shape[-2:]
        means = x.unfold(-1, w - 2, 1).mean(-1).unfold(-2, h - 2, 1).mean(-1)  # (n, C, 3, 3)
        texture = F.conv2d(means, self.texture.weight, self.texture.bias)
        return self.gate(texture.flatten(1)).sigmoid()


def damping_chain(sizes: Sequence[tuple[int, int]], device: torch.device | None = None) -> list[Tensor]:
    """A Gaussian for the finest level, and for every later one the resized Gaussian of the level before: `(h, w)` each.

    It stands in the middle of a spectrum that is not shifted, on the high frequencies. Each is a bilinear resize of
    the one before and no Gaussian of its own, and their middle depends on the padding of the image: released weights
    were trained so.
    """
    h, w = sizes[0]
    rows, columns = (torch.arange(side, device=device, dtype=torch.float32) - side // 2 for side in (h, w))
    chain = [torch.exp(-(rows[:, None] ** 2 + columns**2) / (2 * SIGMA**2))]
    for size in sizes[1:]:
        chain.append(F.interpolate(chain[-1][None, None], size, mode="bilinear", align_corners=False)[0, 0])
    return chain

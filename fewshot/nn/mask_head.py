"""Dynamic mask head: every query brings the weights of its own 1x1 convolutions.

Tian et al., Conditional Convolutions for Instance Segmentation, ECCV 2020, section 3; relative coordinates as in
ReferFormer. Legend: n frames, Q queries, C feature channels, D dynamic channels, (h, w) mask resolution.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class DynamicMaskHead(nn.Module):
    """Convolutions, ReLU between them, on mask features and coordinates relative to the query's reference point.

    Args:
        dim: channels of the mask features.
        channels: width of the dynamic layers but the last.
        stride: network pixels per cell of the mask features.
        out_stride: network pixels per cell of the masks, a divisor of `stride`.
        coordinates_first: whether the coordinates are the first or the last two inputs.
        layers: dynamic layers, at least 2.
        outputs: channels of the last one; more than one are a patch of mask pixels for each cell.
    """

    def __init__(
        self,
        dim: int,
        channels: int = 8,
        stride: int = 4,
        out_stride: int = 4,
        coordinates_first: bool = False,
        layers: int = 3,
        outputs: int = 1,
    ) -> None:
        super().__init__()
        self.coordinates_first = coordinates_first
        if stride % out_stride:
            raise ValueError(f"out_stride {out_stride} must divide stride {stride}")
        self.stride, self.factor, self.outputs = stride, stride // out_stride, outputs
        widths = (dim + 2, *(channels,) * (layers - 1), outputs)
        self.shapes = tuple(zip(widths[1:], widths[:-1], strict=True))  # of the weights
        # all weights, then all biases
        self.splits = (*(a * b for a, b in self.shapes), *widths[1:])

    @property
    def num_parameters(self) -> int:
        """Numbers a query has to bring."""
        return sum(self.splits)

    def forward(self, features: Tensor, parameters: Tensor, points: Tensor, sizes: Tensor) -> Tensor:
        """Mask logits `(n, Q, h, w)`, or patches of them `(n, Q, outputs, h, w)`.

        In float32 also under autocast: coordinates are in pixels, too large for bf16.

        Args:
            features: `(n, C, h, w)`.
            parameters: `(n, Q, num_parameters)`.
            points: `(n, Q, 2)` reference points x, y as fractions of the unpadded frame.
            sizes: `(n, 2)` unpadded height and width in pixels.
        """
        with torch.autocast(features.device.type, enabled=False):
            patches = self._convolve(features.float(), parameters.float(), points, sizes)
            if self.outputs > 1:
                return patches
            return aligned_bilinear(patches[:, :, 0], self.factor)

    def _convolve(self, features: Tensor, parameters: Tensor, points: Tensor, sizes: Tensor) -> Tensor:
        n, _, h, w = features.shape
        q, count = parameters.shape[1], len(self.shapes)
        numbers = parameters.split(self.splits, -1)
        weights = [x.unflatten(-1, shape) for x, shape in zip(numbers[:count], self.shapes, strict=True)]
        biases = numbers[count:]
        first = weights[0]
        at_places, at_features = (first[..., :2], first[..., 2:]) if self.coordinates_first else _last_two(first)
        # the feature channels are shared by the queries: one product instead of Q copies of the features
        x = (at_features.flatten(1, 2) @ features.flatten(2)).view(n, q, -1, h * w)
        x = x + at_places @ self.relative(points, sizes, (h, w)) + biases[0][..., None]
        for weight, bias in zip(weights[1:], biases[1:], strict=True):
            x = weight @ F.relu(x) + bias[..., None]
        return x.view(n, q, -1, h, w)

    def relative(self, points: Tensor, sizes: Tensor, grid: tuple[int, int]) -> Tensor:
        """Offsets from each cell to each reference point: `(n, Q, 2, h * w)`, x then y.

        In pixels of the network input, not normalised by anything: released weights need it so.
        """
        pixels = points * sizes.flip(-1)[:, None].to(points.dtype)
        return pixels[..., None] - cell_centres(grid, self.stride, points.device).T


def _last_two(weight: Tensor) -> tuple[Tensor, Tensor]:
    return weight[..., -2:], weight[..., :-2]


def cell_centres(grid: tuple[int, int], stride: int, device: torch.device | None = None) -> Tensor:
    """Pixel coordinates x, y of the cells of an `(h, w)` grid, row by row: `(h * w, 2)`."""
    ys, xs = (torch.arange(length, device=device, dtype=torch.float32) * stride + stride // 2 for length in grid)
    y, x = torch.meshgrid(ys, xs, indexing="ij")
    return torch.stack([x, y], -1).flatten(0, 1)


def aligned_bilinear(maps: Tensor, factor: int) -> Tensor:
    """Enlarge `(n, c, h, w)` by an integer so that sample `i` of the input stays at `factor * i + factor // 2`."""
    if factor == 1:
        return maps
    h, w = maps.shape[-2:]
    padded = F.pad(maps, (0, 1, 0, 1), mode="replicate")
    large = F.interpolate(padded, (factor * h + 1, factor * w + 1), mode="bilinear", align_corners=True)
    large = F.pad(large, (factor // 2, 0, factor // 2, 0), mode="replicate")
    return large[..., : factor * h, : factor * w]

"""Swin transformer as a backbone with four taps.

Liu et al., Swin Transformer, ICCV 2021, sections 3.1 and 3.2, in the form that detectors use: a norm on each tap and no
classifier. Maps of any size are padded to whole windows *after* the norm, padded places take part in the attention, and
every second block shifts its windows, also where the map is smaller than one window. torchvision and transformers
differ there: they shrink the window or leave out the shift, which changes the features of images below some 400
pixels. Tensor names are those of the official code.

Legend: n images, C channels, (h, w) a map, M window side, W windows, L = M * M places of a window, d head width.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import count

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from fewshot.nn.backbones import Backbone
from fewshot.nn.recompute import run

HEAD_DIM, PATCH, FEEDFORWARD = 32, 4, 4  # width of a head, side of a patch, widening of the feed-forward
OTHER_REGION = -100.0  # added to the logits of places that a shift brought together


@dataclass(frozen=True)
class SwinSize:
    """Channels of the first tap, blocks of each stage, and the side of a window."""

    embed: int
    depths: tuple[int, int, int, int]
    window: int


SIZES = {
    "tiny": SwinSize(96, (2, 2, 6, 2), 7),
    "small": SwinSize(96, (2, 2, 18, 2), 7),
    "base": SwinSize(128, (2, 2, 18, 2), 12),
    "large": SwinSize(192, (2, 2, 18, 2), 12),
}


class Swin(Backbone):
    """A Swin transformer; sizes as in the paper, base and large with windows of 12 (pretrained at 384 pixels).

    Args:
        size: `tiny`, `small`, `base` or `large`, or the numbers themselves.
        drop_path: probability of skipping the last block's branches in training; it rises linearly from 0.
        checkpointing: recompute each stage in the backward pass instead of storing it.
    """

    body: SwinBody
    patches = True

    def __init__(self, size: str | SwinSize = "tiny", drop_path: float = 0.3, checkpointing: bool = False) -> None:
        if isinstance(size, str):
            if size not in SIZES:
                raise ValueError(f"unknown size of Swin {size!r}: choose one of {', '.join(SIZES)}")
            size = SIZES[size]
        embed = size.embed
        super().__init__((embed, 2 * embed, 4 * embed, 8 * embed), checkpointing)
        self.body = SwinBody(self.channels, size, drop_path)

    def stages(self) -> list[nn.Module]:
        """The patches with the first stage, then the other stages; from and to maps `(n, h, w, C)`, without norms."""
        stages = [layer for layer in self.body.layers if isinstance(layer, Stage)]
        merging = [stage.downsample for stage in stages if stage.downsample is not None]  # the last one has none
        downs = (self.body.patch_embed, *merging)
        return [nn.Sequential(down, stage) for down, stage in zip(downs, stages, strict=True)]

    def forward(self, x: Tensor) -> list[Tensor]:
        """`(n, 3, H, W)` to the four taps `(n, C_i, h_i, w_i)`, each normed."""
        learns = any(p.requires_grad for p in self.parameters())
        taps = []
        for index, stage in enumerate(self.stages()):
            x = run(stage, x, checkpointing=self.checkpointing and learns)
            tap = self.body.get_submodule(f"norm{index}")(x)
            taps.append(rearrange(tap, "n h w c -> n c h w").contiguous())
        return taps


class SwinBody(nn.Module):
    """All weights of a Swin transformer, under their official names."""

    def __init__(self, channels: tuple[int, ...], size: SwinSize, drop_path: float) -> None:
        super().__init__()
        self.patch_embed = PatchEmbed(channels[0])
        last = max(sum(size.depths) - 1, 1)
        rates = (drop_path * block / last for block in count())
        self.layers = nn.ModuleList(
            Stage(dim, size.window, [next(rates) for _ in range(depth)], last=dim == channels[-1])
            for dim, depth in zip(channels, size.depths, strict=True)
        )
        for index, dim in enumerate(channels):
            self.add_module(f"norm{index}", nn.LayerNorm(dim))
        for module in self.modules():
            if isinstance(module, nn.Linear):
                nn.init.trunc_normal_(module.weight, std=0.02)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)


class PatchEmbed(nn.Module):
    """Non-overlapping 4x4 patches, projected and normed; the image is padded with zeros to whole patches."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.proj, self.norm = nn.Conv2d(3, dim, PATCH, stride=PATCH), nn.LayerNorm(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, 3, H, W) -> (n, ceil(H / 4), ceil(W / 4), C)`."""
        h, w = x.shape[-2:]
        x = self.proj(F.pad(x, (0, -w % PATCH, 0, -h % PATCH)))
        return self.norm(rearrange(x, "n c h w -> n h w c"))


class PatchMerging(nn.Module):
    """2x2 places to one of twice the width; odd sizes are padded with zeros."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.reduction, self.norm = nn.Linear(4 * dim, 2 * dim, bias=False), nn.LayerNorm(4 * dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, h, w, C) -> (n, ceil(h / 2), ceil(w / 2), 2 C)`."""
        h, w = x.shape[1:3]
        x = F.pad(x, (0, 0, 0, w % 2, 0, h % 2))
        # the column is the slower of the two: (even row, even column), (odd, even), (even, odd), (odd, odd)
        return self.reduction(self.norm(rearrange(x, "n (h i) (w j) c -> n h w (j i c)", i=2, j=2)))


class Stage(nn.Module):
    """Blocks at one resolution, every second one with shifted windows; it owns the merging that follows it."""

    def __init__(self, dim: int, window: int, rates: list[float], last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(dim, window, shift=window // 2 if index % 2 else 0, drop_path=rate)
            for index, rate in enumerate(rates)
        )
        self.downsample = None if last else PatchMerging(dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(n, h, w, C)` to the same: the blocks only."""
        for block in self.blocks:
            x = block(x)
        return x


class Block(nn.Module):
    """Attention within windows and a feed-forward, each behind its norm."""

    def __init__(self, dim: int, window: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.window, self.shift = window, shift
        self.norm1, self.norm2 = nn.LayerNorm(dim), nn.LayerNorm(dim)
        self.attn, self.mlp = WindowAttention(dim, window), GELUFeedForward(dim)
        self.drop_path = StochasticDepth(drop_path, "row")

    def forward(self, x: Tensor) -> Tensor:
        """`(n, h, w, C)` to the same."""
        x = x + self.drop_path(self.look_around(self.norm1(x)))
        return x + self.drop_path(self.mlp(self.norm2(x)))

    def look_around(self, x: Tensor) -> Tensor:
        """Attention within the (shifted) windows of the padded map."""
        h, w = x.shape[1:3]
        m, shift = self.window, self.shift
        x = F.pad(x, (0, 0, 0, -w % m, 0, -h % m))
        height, width = x.shape[1:3]
        if shift:
            x = x.roll((-shift, -shift), (1, 2))
        windows = rearrange(x, "n (a i) (b j) c -> n (a b) (i j) c", i=m, j=m)
        apart = other_regions(height, width, m, shift, x.device) if shift else None
        windows = self.attn(windows, apart)
        x = rearrange(windows, "n (a b) (i j) c -> n (a i) (b j) c", a=height // m, i=m)
        if shift:
            x = x.roll((shift, shift), (1, 2))
        return x[:, :h, :w]


def other_regions(height: int, width: int, window: int, shift: int, device: torch.device) -> Tensor:
    """Pairs of places of each shifted window that are no neighbours in the map: `(W, L, L)` bool."""

    def region(size: int) -> Tensor:
        place = torch.arange(size, device=device)
        return (place >= size - window).int() + (place >= size - shift).int()

    regions = 3 * region(height)[:, None] + region(width)
    windows = rearrange(regions, "(a i) (b j) -> (a b) (i j)", i=window, j=window)
    return windows[:, None] != windows[:, :, None]


class WindowAttention(nn.Module):
    """Attention within each window, with a learned bias for each head and relative position."""

    def __init__(self, dim: int, window: int) -> None:
        super().__init__()
        self.heads = dim // HEAD_DIM
        side = 2 * window - 1
        table = nn.init.trunc_normal_(torch.empty(side * side, self.heads), std=0.02)
        self.relative_position_bias_table = nn.Parameter(table)
        self.relative_position_index: Tensor
        self.register_buffer("relative_position_index", relative_positions(window), persistent=False)
        self.qkv, self.proj = nn.Linear(dim, 3 * dim), nn.Linear(dim, dim)

    def forward(self, x: Tensor, apart: Tensor | None) -> Tensor:
        """`(n, W, L, C)` to the same; `apart` `(W, L, L)` bool marks pairs of places that must not meet."""
        windows = x.shape[1]
        q, k, v = rearrange(self.qkv(x), "n w l (three h d) -> three n (w h) l d", three=3, h=self.heads)
        bias = rearrange(self.relative_position_bias_table[self.relative_position_index], "l k h -> h l k")
        bias = bias.expand(windows, -1, -1, -1)
        if apart is not None:
            bias = bias + OTHER_REGION * apart[:, None].to(bias.dtype)
        bias = bias.flatten(0, 1)[None].to(q.dtype)
        read = F.scaled_dot_product_attention(q, k, v, attn_mask=bias)
        return self.proj(rearrange(read, "n (w h) l d -> n w l (h d)", w=windows))


def relative_positions(window: int) -> Tensor:
    """Row of the bias table for each pair of places of a window: `(L, L)` int64."""
    side = torch.arange(window)
    rows, columns = (x.flatten() for x in torch.meshgrid(side, side, indexing="ij"))
    down, right = (x[:, None] - x[None] + window - 1 for x in (rows, columns))
    return down * (2 * window - 1) + right


class GELUFeedForward(nn.Module):
    """`W2 gelu(W1 x)`."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.fc1, self.fc2 = nn.Linear(dim, FEEDFORWARD * dim), nn.Linear(FEEDFORWARD * dim, dim)

    def forward(self, x: Tensor) -> Tensor:
        """`(..., C) -> (..., C)`."""
        return self.fc2(F.gelu(self.fc1(x)))

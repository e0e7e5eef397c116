"""Video-Swin transformer as a backbone with four taps.

Liu et al., Video Swin Transformer, CVPR 2022, section 3, in the form of ReferFormer and SgMg: patches of one frame, so
that every frame keeps a map of its own, and no norm on the taps. The network is torchvision's, whose tensor names it
keeps. Where a map is no larger than a window, height or width pick rows of the bias table as if the window were
whole, as in the authors' code: released weights were trained so.

Legend: N clips, T frames, C channels, (h, w) a map.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn
from torchvision.models.swin_transformer import SwinTransformerBlock
from torchvision.models.video.swin_transformer import ShiftedWindowAttention3d, SwinTransformer3d

from fewshot.nn.backbones import Backbone
from fewshot.nn.recompute import run
from fewshot.nn.swin import OTHER_REGION

PATCH, WINDOW = (1, 4, 4), (8, 7, 7)  # frames, rows, columns
SIZES = {  # channels of the first tap, blocks of each stage, heads of the first stage
    "tiny": (96, (2, 2, 6, 2), 3),
    "small": (96, (2, 2, 18, 2), 3),
    "base": (128, (2, 2, 18, 2), 4),
}

# Names of the authors' files and ours: torchvision keeps stages and the merging of patches between them in one list.
# In files of pre-training the merging belongs to the stage before it, in those of ReferFormer and SgMg it stands apart.
NAMES = tuple(
    (official, f"features.{own}")
    for i in range(4)
    for official, own in (
        (f"layers.{i}.blocks.*.mlp.fc1.", f"{2 * i}.*.mlp.0."),
        (f"layers.{i}.blocks.*.mlp.fc2.", f"{2 * i}.*.mlp.3."),
        (f"layers.{i}.blocks.*.", f"{2 * i}.*."),
        (f"downsamples.{i}.", f"{2 * i + 1}."),
        (f"layers.{i}.downsample.", f"{2 * i + 1}."),
    )
)

PLACES_AT_ONCE = 16_384  # of windows that attend together without gradients; their weights take 80 MB with 3 heads


class VideoSwin(Backbone):
    """A Video-Swin transformer that looks at all frames of a clip together, 8 at a time.

    Args:
        size: `tiny`, `small` or `base`.
        drop_path: probability of skipping the last block's branches in training; it rises linearly from 0.
        checkpointing: recompute each stage in the backward pass instead of storing it.
    """

    body: SwinTransformer3d
    patches = True

    def __init__(self, size: str = "tiny", drop_path: float = 0.2, checkpointing: bool = False) -> None:
        if size not in SIZES:
            raise ValueError(f"unknown size of Video-Swin {size!r}: choose one of {', '.join(SIZES)}")
        embed, depths, heads = SIZES[size]
        super().__init__((embed, 2 * embed, 4 * embed, 8 * embed), checkpointing)
        self.body = SwinTransformer3d(
            list(PATCH),
            embed,
            list(depths),
            [heads * 2**stage for stage in range(len(depths))],
            list(WINDOW),
            stochastic_depth_prob=drop_path,
            block=_block,
        )
        del self.body.norm, self.body.avgpool, self.body.head
        for module in self.body.modules():
            if isinstance(module, ShiftedWindowAttention3d):  # which follows from the window: no weight
                module.register_buffer("relative_position_index", module.relative_position_index, persistent=False)

    def stages(self) -> list[nn.Module]:
        """The patches with the first stage, then each merging of patches with its stage; maps are `(N, T, h, w, C)`."""
        first, *pairs = self.body.features
        merged = [nn.Sequential(down, stage) for down, stage in zip(pairs[::2], pairs[1::2], strict=True)]
        return [nn.Sequential(self.body.patch_embed, first), *merged]

    def forward(self, x: Tensor) -> list[Tensor]:
        """Images `(n, 3, H, W)`, each a clip of its own, to the four taps."""
        return self.encode_clips(x[:, None])

    def encode_clips(self, clips: Tensor) -> list[Tensor]:
        """Clips `(N, T, 3, H, W)` to the four taps `(N * T, C_i, h_i, w_i)`; the frames of a clip see each other."""
        learns = any(p.requires_grad for p in self.parameters())
        x, taps = rearrange(clips, "n t c h w -> n c t h w"), []
        for stage in self.stages():
            x = run(stage, x, checkpointing=self.checkpointing and learns)
            taps.append(rearrange(x, "n t h w c -> (n t) c h w").contiguous())
        return taps


class WindowAttention(ShiftedWindowAttention3d):
    """Torchvision's attention inside windows; without gradients fused, and some windows after the other.

    The weights of all windows of 36 frames of 360x640 pixels would take 2.8 GB, several times over.
    """

    def forward(self, x: Tensor) -> Tensor:
        """`(N, T, h, w, C)` to the same; numbers differ from torchvision's by rounding, and not with gradients."""
        if torch.is_grad_enabled():
            return super().forward(x)
        size = x.shape[1:4]
        window = [min(side, whole) for side, whole in zip(size, self.window_size, strict=True)]
        shift = [0 if side <= k else s for side, k, s in zip(size, self.window_size, self.shift_size, strict=True)]
        time, down, right = (-side % k for side, k in zip(size, window, strict=True))
        x = F.pad(x, (0, 0, 0, right, 0, down, 0, time))
        padded = x.shape[1:4]
        if any(shift):
            x = x.roll([-s for s in shift], (1, 2, 3))
        counts = dict(zip(("p", "q", "r"), window, strict=True))  # places of a window, by axis
        windows = rearrange(x, "n (t p) (h q) (w r) c -> (n t h w) (p q r) c", **counts)
        read = self.attend(windows, self.get_relative_position_bias(window), regions(padded, window, shift, x.device))
        grid = dict(zip(("t", "h", "w"), (side // k for side, k in zip(padded, window, strict=True)), strict=True))
        x = rearrange(read, "(n t h w) (p q r) c -> n (t p) (h q) (w r) c", **grid, **counts)
        if any(shift):
            x = x.roll(shift, (1, 2, 3))
        return x[:, : size[0], : size[1], : size[2]].contiguous()

    def get_relative_position_bias(self, window_size: list[int]) -> Tensor:
        """Bias of each pair of places of a window of this size, by head: `(1, heads, L, L)`.

        The same numbers as torchvision's, but picked by `index_select`: its backward takes a fifth of the time.
        """
        places = math.prod(window_size)
        index = self.relative_position_index[:places, :places].flatten()
        picked = self.relative_position_bias_table.index_select(0, index)
        return rearrange(picked, "(l k) heads -> 1 heads l k", l=places).contiguous()

    def attend(self, windows: Tensor, bias: Tensor, region: Tensor | None) -> Tensor:
        """Windows `(m, L, C)`, each attending to itself, to the same.

        Args:
            bias: `(1, heads, L, L)`.
            region: `(m / N, L)` number of the part of the clip that a place is from, of the windows of a clip: places
                that a shift has brought together do not see each other. None: all are from one part.
        """
        some, outputs = max(1, PLACES_AT_ONCE // windows.shape[1]), []
        for first in range(0, len(windows), some):
            projected = self.qkv(windows[first : first + some])
            q, k, v = rearrange(projected, "m l (x heads d) -> x m heads l d", x=3, heads=self.num_heads)
            mask = bias
            if region is not None:
                own = region[torch.arange(first, first + len(q), device=region.device) % len(region)]
                mask = bias + OTHER_REGION * (own[:, None, :, None] != own[:, None, None])
            outputs.append(rearrange(F.scaled_dot_product_attention(q, k, v, attn_mask=mask), "m h l d -> m l (h d)"))
        return self.proj(torch.cat(outputs))


def _block(*sizes: Any, **options: Any) -> SwinTransformerBlock:
    return SwinTransformerBlock(*sizes, **{**options, "attn_layer": WindowAttention})


def regions(size: Sequence[int], window: Sequence[int], shift: Sequence[int], device: torch.device) -> Tensor | None:
    """Number of the part of a shifted clip of this size that each place of its windows is from: `(windows, L)`."""
    if not any(shift):
        return None
    numbers = torch.zeros(tuple(size), dtype=torch.int64, device=device)
    for axis, (side, k, s) in enumerate(zip(size, window, shift, strict=True)):
        if s:
            index = torch.arange(side, device=device)
            part = (index >= side - k).long() + (index >= side - s).long()
            numbers = 3 * numbers + part.view([-1 if axis == other else 1 for other in range(3)])
    p, q, r = window
    return rearrange(numbers, "(t p) (h q) (w r) -> (t h w) (p q r)", p=p, q=q, r=r)


def sum_over_time(weight: Tensor) -> Tensor:
    """Kernel of the patches `(C, 3, t, 4, 4)` of a network trained on pairs of frames, for patches of one frame.

    A still clip gives the same features: every frame is then seen by the whole kernel.
    """
    return weight.sum(2, keepdim=True)

"""Cross-modal feature pyramid: mask features at stride 4 that have seen all frames and the words.

ReferFormer (Wu et al. 2022), section 3.4, on the pyramid of Lin et al. 2017.
Legend: N clips, T frames, C channels, (h, w) of one level, L words.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor, nn

from fewshot.nn.attention import MultiheadAttention
from fewshot.nn.fusion import Words
from fewshot.nn.mlp import FeedForward
from fewshot.nn.norms import group_norm
from fewshot.nn.padding import resize_padding
from fewshot.nn.portions import rows_at_once
from fewshot.nn.recompute import run


class VisionLanguageBlock(nn.Module):
    """Self-attention over all frames at 1/`reduction` resolution, attention to the words, feed-forward; post-norm."""

    def __init__(self, dim: int, heads: int, feedforward: int, dropout: float, reduction: int) -> None:
        super().__init__()
        self.self_attention = MultiheadAttention(dim, heads, dropout)
        self.word_attention = MultiheadAttention(dim, heads, dropout)
        self.feedforward = FeedForward(dim, feedforward, dropout)
        self.norm1, self.norm2, self.norm3 = (nn.LayerNorm(dim) for _ in range(3))
        self.dropout, self.reduction = nn.Dropout(dropout), reduction
        for attention in (self.self_attention, self.word_attention):
            nn.init.xavier_uniform_(attention.out_proj.weight)
        for linear in (self.feedforward.linear1, self.feedforward.linear2):
            nn.init.xavier_uniform_(linear.weight)

    def forward(self, x: Tensor, positions: Tensor, padding: Tensor, words: Words) -> Tensor:
        """`(N, T, C, h, w)` to the same.

        Args:
            positions: `(N, C, h, w)` and padding: `(N, h, w)`, the same for all frames of a clip.
        """
        seen = self.look_around(x, positions, padding)
        frames = rows_at_once(x[:, 0].numel(), x.device)
        parts = zip(x.split(frames, 1), seen.split(frames, 1), strict=True)
        return torch.cat([self.read(part, around, positions, words) for part, around in parts], 1)

    def look_around(self, x: Tensor, positions: Tensor, padding: Tensor) -> Tensor:
        """Joint attention over the tokens of all frames, at reduced resolution: `(N, T, C, h / r, w / r)`."""
        n, t, c, h, w = x.shape
        size = (h // self.reduction, w // self.reduction)
        if not all(size):
            raise ValueError(
                f"frames with maps of {h}x{w} cells at stride {32 // self.reduction} are too small for the pixel "
                "decoder: each side must have at least 29 pixels"
            )
        value = x.flatten(0, 1)
        if self.reduction > 1:
            value, positions = F.interpolate(value, size), F.interpolate(positions, size)
            padding = resize_padding(padding, size)
        maps = value.unflatten(0, (n, t))
        value, placed = (rearrange(y, "n t c h w -> n (t h w) c") for y in (maps, maps + positions[:, None]))
        ignored = padding[:, None].expand(-1, t, -1, -1).flatten(1)
        seen = self.self_attention(placed, placed, value, ignored)
        return rearrange(seen, "n (t h w) c -> n t c h w", t=t, h=size[0], w=size[1])

    def read(self, x: Tensor, seen: Tensor, positions: Tensor, words: Words) -> Tensor:
        """Frames `(N, t, C, h, w)`, with what they saw around them, attend to the words: `(N, t, C, h, w)`."""
        n, t, _, h, w = x.shape
        tokens, codes = (rearrange(y, "n t c h w -> n (t h w) c") for y in (x, positions[:, None].expand_as(x)))
        if self.reduction > 1:
            seen = F.interpolate(seen.flatten(0, 1), (h, w), mode="bilinear", align_corners=False).unflatten(0, (n, t))
        tokens = self.norm1(tokens + self.dropout(rearrange(seen, "n t c h w -> n (t h w) c")))
        keys = words.features + words.positions
        read = self.word_attention(tokens + codes, keys, words.features, words.padding)
        tokens = self.norm2(tokens + self.dropout(read))
        tokens = self.norm3(tokens + self.dropout(self.feedforward(tokens)))
        return rearrange(tokens, "n (t h w) c -> n t c h w", t=t, h=h, w=w)


class CrossModalFPN(nn.Module):
    """From stride 32 down to stride 4: project, mix with frames and words, add the coarser level, smooth.

    Args:
        channels: of the raw backbone feature at stride 4; the coarser inputs have `dim` channels.
    """

    REDUCTIONS = (8, 4, 2, 1)  # at strides 4, 8, 16, 32

    def __init__(
        self, channels: int, dim: int, heads: int, feedforward: int, dropout: float, checkpointing: bool = False
    ) -> None:
        super().__init__()
        inputs = (channels, dim, dim, dim)
        self.adapters = nn.ModuleList(nn.Sequential(_conv(c, dim, 1), group_norm(dim, 8)) for c in inputs)
        self.blocks = nn.ModuleList(
            VisionLanguageBlock(dim, heads, feedforward, dropout, reduction) for reduction in self.REDUCTIONS
        )
        self.layers = nn.ModuleList(
            nn.Sequential(_conv(dim, dim, 3), group_norm(dim, 8), nn.ReLU()) for _ in self.REDUCTIONS
        )
        self.mask_features = _conv(dim, dim, 3, bias=True)
        self.checkpointing = checkpointing

    def forward(
        self, maps: Sequence[Tensor], paddings: Sequence[Tensor], positions: Sequence[Tensor], words: Words
    ) -> Tensor:
        """Mask features `(N * T, C, h, w)` at stride 4.

        Args:
            maps: `(N * T, C_i, h_i, w_i)` at strides 4 (raw backbone feature), 8, 16 and 32 (encoder memory).
            paddings: `(N, h_i, w_i)` bool, and positions: `(N, C, h_i, w_i)`, of the same strides.
        """
        clips = paddings[0].shape[0]
        y: Tensor | None = None
        for i in reversed(range(len(maps))):
            x = rearrange(self.adapters[i](maps[i]), "(n t) c h w -> n t c h w", n=clips)
            x = run(self.blocks[i], x, positions[i], paddings[i], words, checkpointing=self.checkpointing).flatten(0, 1)
            if y is not None:
                x = x + F.interpolate(y, x.shape[-2:], mode="nearest")
            y = self.layers[i](x)
        return self.mask_features(y)


def _conv(inputs: int, outputs: int, kernel: int, bias: bool = False) -> nn.Conv2d:
    conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias)
    nn.init.kaiming_uniform_(conv.weight, a=1)
    if conv.bias is not None:
        nn.init.zeros_(conv.bias)
    return conv

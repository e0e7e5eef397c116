"""Pixel decoder of UniVS: that of Mask2Former (Cheng et al., CVPR 2022), as transformers has it, to the last bit.

Legend: n frames, C width; levels are maps at strides 32, 16 and 8, in this order.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerPixelDecoder

from fewshot.nn.deformable_attention import DeformableAttention

LEVELS, POINTS = 3, 4
GROUPS = 32  # of the group normalisation, which the width must be a multiple of


class PixelDecoder(nn.Module):
    """Deformable self-attention over three levels, and one step of a feature pyramid up to stride 4.

    Padded places are ordinary pixels: released weights were trained without padding masks.

    Args:
        channels: of the four taps of the backbone.
        dim: C.
        heads: of the deformable attention.
        layers: of the encoder.
        hidden: width of its feed-forward layers.
    """

    def __init__(self, channels: Sequence[int], dim: int, heads: int, layers: int, hidden: int) -> None:
        super().__init__()
        if dim % GROUPS:
            raise ValueError(f"the width of the pixel decoder must be a multiple of {GROUPS}, got {dim}")
        config = Mask2FormerConfig(
            feature_size=dim,
            mask_feature_size=dim,
            num_attention_heads=heads,
            encoder_layers=layers,
            encoder_feedforward_dim=hidden,
            dropout=0.0,
        )
        self.body = Mask2FormerPixelDecoder(config, list(channels))
        self._initialise(dim, heads)

    def _initialise(self, dim: int, heads: int) -> None:
        """Start as Mask2Former does; transformers leaves that to its own models."""
        nn.init.normal_(self.body.level_embed)
        start = DeformableAttention(dim, heads, LEVELS, POINTS).state_dict()
        for layer in self.body.encoder.layers:
            attention = layer.get_submodule("self_attn")
            attention.load_state_dict(start)
            for name in ("value_proj", "output_proj"):
                nn.init.xavier_uniform_(attention.get_submodule(name).get_parameter("weight"))
        for module in self.body.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, taps: Sequence[Tensor]) -> tuple[list[Tensor], Tensor]:
        """The backbone's taps `(n, C_i, h_i, w_i)` to the three levels `(n, C, h, w)` and mask features at stride 4.

        In float32 even under mixed precision.
        """
        with torch.autocast(taps[0].device.type, enabled=False):
            out = self.body([tap.float() for tap in taps])
        return list(out.multi_scale_features), out.mask_features

"""Segment Anything, cut where a reference can come in: between its image encoder and its mask decoder.

Kirillov et al., Segment Anything, ICCV 2023, appendix A; the networks are those of transformers.
Legend: n images, side of the square plane in pixels, g = side / 16 cells, C = 256 channels.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from transformers import SamConfig, SamMaskDecoderConfig, SamModel, SamPromptEncoderConfig, SamVisionConfig

PATCH = 16


@dataclass(frozen=True)
class SAMSize:
    """Numbers of the image encoder; the mask decoder is the same in all released models.

    Attributes:
        width, layers, heads: of the vision transformer.
        whole: layers that attend to the whole image; the others attend within windows of `window` patches.
        side: of the square plane that images are padded to, in pixels.
        dim: channels C.
    """

    width: int
    layers: int
    heads: int
    whole: tuple[int, ...]
    side: int = 1024
    window: int = 14
    dim: int = 256


SIZES = {
    "base": SAMSize(768, 12, 12, (2, 5, 8, 11)),
    "large": SAMSize(1024, 24, 16, (5, 11, 17, 23)),
    "huge": SAMSize(1280, 32, 16, (7, 15, 23, 31)),
    "tiny": SAMSize(32, 2, 2, (1,), side=64, window=2, dim=32),  # not a released size: for tests on a CPU
}


class SAM(nn.Module):
    """Image encoder, prompt encoder and mask decoder, with random weights.

    They start as layers of PyTorch do; the library's own start, nearly zero, is for weights that a file replaces.

    Args:
        size: `base`, `large`, `huge` or `tiny`, or the numbers themselves.
    """

    def __init__(self, size: str | SAMSize = "huge") -> None:
        super().__init__()
        if isinstance(size, str):
            if size not in SIZES:
                raise ValueError(f"unknown size of SAM {size!r}: choose one of {', '.join(SIZES)}")
            size = SIZES[size]
        model = SamModel(_config(size))
        self.side, self.dim = size.side, size.dim
        self.image_encoder, self.prompt_encoder = model.vision_encoder, model.prompt_encoder
        self.mask_decoder = model.mask_decoder
        for module in self.modules():
            if isinstance(module, (nn.Linear, nn.Conv2d, nn.ConvTranspose2d, nn.Embedding)):
                module.reset_parameters()
        nn.init.normal_(self.prompt_encoder.shared_embedding.positional_embedding)

    def padded(self, maps: Tensor) -> Tensor:
        """Images or maps `(..., H, W)` with zeros at the bottom and right, up to the plane: `(..., side, side)`.

        Raises:
            ValueError: they are larger than the plane.
        """
        height, width = maps.shape[-2:]
        if max(height, width) > self.side:
            raise ValueError(
                f"frames of {height}x{width} pixels do not fit into the {self.side}x{self.side} pixels of this SAM: "
                f"resize them so that the longer side is {self.side}"
            )
        return F.pad(maps, (0, self.side - width, 0, self.side - height))

    def encode(self, images: Tensor) -> Tensor:
        """Normalised images `(n, 3, side, side)` to features `(n, C, g, g)`."""
        return self.image_encoder(images).last_hidden_state

    def decode(self, features: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        """The single mask that one prompt token asks for, and how good the decoder thinks it is.

        Args:
            features: `(n, C, g, g)`; prompts: `(n, C)`.

        Returns:
            Logits `(n, 4 g, 4 g)` of the whole plane, and predicted IoUs `(n,)`, which may leave 0..1.
        """
        nothing = self.prompt_encoder.no_mask_embed.weight[:, :, None, None]
        masks, quality = self.mask_decoder(
            image_embeddings=features,
            image_positional_embeddings=self.positions(features.shape[-1]).expand(len(features), -1, -1, -1),
            sparse_prompt_embeddings=prompts[:, None, None],
            dense_prompt_embeddings=nothing.expand_as(features),
            multimask_output=False,
        )
        return masks[:, 0, 0], quality[:, 0, 0]

    def positions(self, cells: int) -> Tensor:
        """Random Fourier codes of the cell centres: `(1, C, g, g)`."""
        code = self.prompt_encoder.shared_embedding
        centres = (torch.arange(cells, device=code.positional_embedding.device) + 0.5) / cells
        y, x = torch.meshgrid(centres, centres, indexing="ij")
        return code(torch.stack([x, y], -1)).permute(2, 0, 1)[None]

    def unused(self) -> list[nn.Module]:
        """Parts of the decoder that have no share in the single mask: heads of the other masks, and of the quality."""
        return [*self.mask_decoder.output_hypernetworks_mlps[1:], self.mask_decoder.iou_prediction_head]


def _config(size: SAMSize) -> SamConfig:
    vision = SamVisionConfig(
        hidden_size=size.width,
        output_channels=size.dim,
        num_hidden_layers=size.layers,
        num_attention_heads=size.heads,
        image_size=size.side,
        patch_size=PATCH,
        window_size=size.window,
        global_attn_indexes=list(size.whole),
        num_pos_feats=size.dim // 2,
    )
    prompt = SamPromptEncoderConfig(hidden_size=size.dim, image_size=size.side, patch_size=PATCH)
    decoder = SamMaskDecoderConfig(
        hidden_size=size.dim, mlp_dim=8 * size.dim, iou_head_hidden_dim=size.dim, layer_norm_eps=1e-5
    )
    return SamConfig(vision_config=vision, prompt_encoder_config=prompt, mask_decoder_config=decoder)

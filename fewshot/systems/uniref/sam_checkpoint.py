"""Tensor names of the official SAM variant of UniRef++, and of SAM's own files, from which its training starts."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING

from torch import Tensor

from fewshot.systems.uniref.part_keys import FUSION, TEXT_PROJECTION, VALUE_ENCODER, Rows, under
from fewshot.weights.key_table import KeyTable, Plan

if TYPE_CHECKING:
    from fewshot.systems.uniref.sam import UniRefSAM

_IMAGE_ENCODER: Rows = (
    ("patch_embed.proj.", "patch_embed.projection."),
    ("blocks.*.norm1.", "layers.*.layer_norm1."),
    ("blocks.*.norm2.", "layers.*.layer_norm2."),
    ("blocks.*.", "layers.*."),
    ("neck.0.", "neck.conv1."),
    ("neck.1.", "neck.layer_norm1."),
    ("neck.2.", "neck.conv2."),
    ("neck.3.", "neck.layer_norm2."),
    ("pos_embed", "pos_embed"),
)
_PROMPT_ENCODER: Rows = (
    ("pe_layer.positional_encoding_gaussian_matrix", "shared_embedding.positional_embedding"),
    ("point_embeddings.*.", "point_embed.*."),
    ("not_a_point_embed.", "not_a_point_embed."),
    ("no_mask_embed.", "no_mask_embed."),
    ("mask_downscaling.0.", "mask_embed.conv1."),
    ("mask_downscaling.1.", "mask_embed.layer_norm1."),
    ("mask_downscaling.3.", "mask_embed.conv2."),
    ("mask_downscaling.4.", "mask_embed.layer_norm2."),
    ("mask_downscaling.6.", "mask_embed.conv3."),
)
_MASK_DECODER: Rows = (
    ("transformer.layers.*.norm", "transformer.layers.*.layer_norm"),
    ("transformer.norm_final_attn.", "transformer.layer_norm_final_attn."),
    ("transformer.", "transformer."),
    ("iou_token.", "iou_token."),
    ("mask_tokens.", "mask_tokens."),
    ("output_upscaling.0.", "upscale_conv1."),
    ("output_upscaling.1.", "upscale_layer_norm."),
    ("output_upscaling.3.", "upscale_conv2."),
    ("output_hypernetworks_mlps.*.layers.0.", "output_hypernetworks_mlps.*.proj_in."),
    ("output_hypernetworks_mlps.*.layers.1.", "output_hypernetworks_mlps.*.layers.0."),
    ("output_hypernetworks_mlps.*.layers.2.", "output_hypernetworks_mlps.*.proj_out."),
    ("iou_prediction_head.layers.0.", "iou_prediction_head.proj_in."),
    ("iou_prediction_head.layers.1.", "iou_prediction_head.layers.0."),
    ("iou_prediction_head.layers.2.", "iou_prediction_head.proj_out."),
)
SAM: Rows = (
    *under("image_encoder.", "image_encoder.", _IMAGE_ENCODER),
    *under("prompt_encoder.", "prompt_encoder.", _PROMPT_ENCODER),
    *under("mask_decoder.", "mask_decoder.", _MASK_DECODER),
)

TABLE = KeyTable(
    rows=(
        *under("model.sam.", "sam.", SAM),
        *under("model.fusion_module.", "fusion.", FUSION),
        ("model.text_encoder.", "text.encoder."),
        *under("model.resizer.", "text_projection.", TEXT_PROJECTION),
        *under("model.value_encoder.", "value_encoder.", VALUE_ENCODER),
    ),
    ignored=(
        (r"^model\.text_encoder\.embeddings\.position_ids$", "a counter that newer transformers versions compute"),
    ),
)
OWN_PARTS = ("fusion.", "text.", "text_projection.", "value_encoder.")
PARTS = {  # what a system may be without: attribute, prefixes of official tensors
    "text": ("text encoder", ("model.text_encoder.", "model.resizer.")),
    "value_encoder": ("value encoder", ("model.value_encoder.",)),
}


def plan(official: Mapping[str, Tensor], system: UniRefSAM) -> Plan:
    """Plan for reading a file with these tensors into this system.

    A file of SAM itself fills SAM alone. Parts that the system lacks are ignored.
    """
    if any(key.startswith("image_encoder.") for key in official):
        return Plan("checkpoint of Segment Anything", KeyTable(rows=under("", "sam.", SAM)), OWN_PARTS)
    ignored = [
        ("^" + "|^".join(map(re.escape, theirs)), f"this system has no {name}")
        for attribute, (name, theirs) in PARTS.items()
        if getattr(system, attribute) is None
    ]
    table = replace(TABLE, ignored=(*TABLE.ignored, *ignored))
    return Plan("official checkpoint of UniRef++ on Segment Anything", table)

"""Official tensor names that ReferFormer, CMA and SgMg share, and what the tensors of a checkpoint say of it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from torch import Tensor

from fewshot.nn.backbones import Backbone
from fewshot.nn.swin import SIZES as SWIN_SIZES
from fewshot.nn.swin import Swin
from fewshot.nn.video_swin import NAMES as VIDEO_NAMES
from fewshot.nn.video_swin import SIZES as VIDEO_SIZES
from fewshot.weights.key_table import KeyTable, count_numbered

FEEDFORWARD = "transformer.encoder.layers.0.linear1.weight"  # official tensor whose shape tells the widths
CMA, REFERFORMER, SGMG = "CMA", "ReferFormer", "SgMg"

_STAGES = range(4)
_BODY = ("backbone.0.body.", "backbone.body.")
_VIDEO_SWIN = tuple((f"{_BODY[0]}{official}", f"{_BODY[1]}{own}") for official, own in VIDEO_NAMES)
# of a Swin transformer of images the merging of patches belongs to the stage before it, wherever a file puts it
_SWIN = ((f"{_BODY[0]}downsamples.*.", f"{_BODY[1]}layers.*.downsample."),)
BACKBONE = (*_VIDEO_SWIN, _BODY)

_TRANSFORMER = (
    ("transformer.level_embed", "transformer.level_embed"),
    ("transformer.encoder.layers.*.self_attn.", "transformer.encoder.*.attention."),
    ("transformer.encoder.layers.*.linear", "transformer.encoder.*.feedforward.linear"),
    ("transformer.encoder.layers.*.norm", "transformer.encoder.*.norm"),
    ("transformer.decoder.layers.*.self_attn.", "transformer.decoder.*.self_attention."),
    ("transformer.decoder.layers.*.cross_attn.", "transformer.decoder.*.cross_attention."),
    ("transformer.decoder.layers.*.linear", "transformer.decoder.*.feedforward.linear"),
    # the official numbers do not follow the order of use: 2, 1, 3
    ("transformer.decoder.layers.*.norm2.", "transformer.decoder.*.norm_self."),
    ("transformer.decoder.layers.*.norm1.", "transformer.decoder.*.norm_cross."),
    ("transformer.decoder.layers.*.norm3.", "transformer.decoder.*.norm_feedforward."),
    ("transformer.reference_points.", "transformer.queries.reference_points."),
    ("query_embed.", "transformer.queries.places."),
    ("bbox_embed.*.", "transformer.box_heads.*."),
)
# what the three have in common, text encoders and projections of text apart
TRUNK = (
    *BACKBONE,
    ("input_proj.*.", "level_projection.levels.*."),
    ("fusion_module.multihead_attn.", "fusion.attention."),
    *_TRANSFORMER,
    ("class_embed.*.", "score_heads.*."),
    ("controller.", "controller."),
)
# text as ReferFormer and CMA read it: one projection for words and sentence
TEXT = (
    ("text_encoder.", "text.encoder."),
    ("resizer.fc.", "text_projection.linear."),
    ("resizer.layer_norm.", "text_projection.norm."),
)
PIXEL_DECODER = (
    *(
        (f"pixel_decoder.{official}_{i + 1}.{a}", f"pixel_decoder.{own}.{i}.{b}")
        for i in _STAGES  # official stage 1 is stride 4
        for official, own, a, b in (
            ("adapter", "adapters", "weight", "0.weight"),
            ("adapter", "adapters", "norm.", "1."),
            ("layer", "layers", "weight", "0.weight"),
            ("layer", "layers", "norm.", "1."),
            ("cross_attn", "blocks", "self_attn.", "self_attention."),
            ("cross_attn", "blocks", "multihead_attn.", "word_attention."),
            ("cross_attn", "blocks", "linear", "feedforward.linear"),
            ("cross_attn", "blocks", "norm", "norm"),
        )
    ),
    ("pixel_decoder.mask_features.", "pixel_decoder.mask_features."),
)
ALIASES = (("transformer.decoder.bbox_embed.*.", "bbox_embed.*."),)
IGNORED = (
    (
        r"^text_encoder\.(text_backbone\.)?embeddings\.position_ids$",
        "a counter that newer transformers versions compute",
    ),
    (r"\.relative_position_index$", "a table that follows from the size of the window"),
    (r"(^|\.)total_(params|ops)$", "a counter left by a profiler"),
)


def table(*rows: tuple[str, str]) -> KeyTable:
    """The table of a system of this family, from its rows."""
    return KeyTable(rows, ALIASES, IGNORED)


def for_backbone(table: KeyTable, backbone: Backbone) -> KeyTable:
    """The table for a system with this backbone: Video-Swin and the Swin of images share official names of stages."""
    if not isinstance(backbone, Swin):
        return table
    return replace(table, rows=(*_SWIN, *(row for row in table.rows if row not in _VIDEO_SWIN)))


def whose(official: Iterable[str]) -> str | None:
    """The system of the family that these official keys belong to; None: of none."""
    keys = set(official)
    if any(key.startswith(("support_qkv.", "conv_q.")) for key in keys):
        return CMA
    if any(key.startswith(("input_fft.", "mask_refine.")) for key in keys):
        return SGMG
    if any(key.startswith("resizer.") for key in keys) and any(key.startswith("pixel_decoder.") for key in keys):
        return REFERFORMER
    return None


def check_whose(official: Iterable[str], wanted: str, variant: str | None = None) -> None:
    """Refuse a checkpoint of another system of the family, and a variant of a system that has none.

    Raises:
        ValueError: says which it is.
    """
    found = whose(official)
    if found not in (wanted, None):
        raise ValueError(f"this is a checkpoint of {found}, not of {wanted}: give system={str(found).lower()}")
    if variant is not None:
        raise ValueError(f"variant={variant}: {wanted} has no variants; leave it away")


def sizes_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """The keys of the system configuration that the tensors of the trunk imply.

    Raises:
        ValueError: the checkpoint is not complete.
    """
    if FEEDFORWARD not in official:
        raise ValueError(f"this checkpoint is not complete: it lacks {FEEDFORWARD}")
    feedforward, dim = official[FEEDFORWARD].shape
    queries = official.get("query_embed.weight", official.get("refpoint_embed.weight"))
    return {
        **backbone_of(official),
        "num_queries": 0 if queries is None else len(queries),
        "hidden_dim": dim,
        "feedforward_dim": feedforward,
        "encoder_layers": count_numbered(official, "transformer.encoder.layers."),
        "decoder_layers": count_numbered(official, "transformer.decoder.layers."),
    }


def backbone_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """The keys of the backbone whose tensors these are.

    Raises:
        ValueError: there is no such backbone.
    """
    patches = official.get("backbone.0.body.patch_embed.proj.weight")
    if patches is None:
        return {"backbone": "resnet101" if "backbone.0.body.layer3.22.conv1.weight" in official else "resnet50"}
    kind, known = "video_swin", {name: (embed, depths) for name, (embed, depths, _) in VIDEO_SIZES.items()}
    if patches.ndim == 4:
        kind, known = "swin", {name: (size.embed, size.depths) for name, size in SWIN_SIZES.items()}
    blocks = count_numbered(official, "backbone.0.body.layers.2.blocks.")
    found = [name for name, (embed, depths) in known.items() if (embed, depths[2]) == (patches.shape[0], blocks)]
    if not found:
        raise ValueError(f"no {kind} has {patches.shape[0]} channels and {blocks} blocks in its third stage")
    if kind == "video_swin":
        return {"backbone": f"{kind}_{found[0]}"}
    rows = len(official["backbone.0.body.layers.0.blocks.0.attn.relative_position_bias_table"])
    return {"backbone": f"{kind}_{found[0]}", "backbone_window": (math.isqrt(rows) + 1) // 2}

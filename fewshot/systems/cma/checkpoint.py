"""Tensor names of the official CMA checkpoints, of its variants, and of ReferFormer's, from which CMA starts."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fewshot.nn.affinity import VARIANTS
from fewshot.weights.key_table import KeyTable, Plan

if TYPE_CHECKING:
    from fewshot.systems.cma.model import CMA

FEEDFORWARD = "transformer.encoder.layers.0.linear1.weight"  # official tensor whose shape tells the widths

_FPN = [
    (f"pixel_decoder.{official}_{i + 1}.{a}", f"pixel_decoder.{own}.{i}.{b}")
    for i in range(4)  # official stage 1 is stride 4
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
]

TABLE = KeyTable(
    rows=(
        ("backbone.0.body.", "backbone.body."),
        ("text_encoder.", "text.encoder."),
        ("resizer.fc.", "text_projection.linear."),
        ("resizer.layer_norm.", "text_projection.norm."),
        ("input_proj.*.", "level_projection.levels.*."),
        ("fusion_module.multihead_attn.", "fusion.attention."),
        ("support_qkv.query.", "affinity.support.query."),
        ("support_qkv.Key.", "affinity.support.key."),
        ("support_qkv.Value.", "affinity.support.value."),
        ("query_qkv.query.", "affinity.query.query."),
        ("query_qkv.Key.", "affinity.query.key."),
        ("query_qkv.Value.", "affinity.query.value."),
        ("conv_q.", "affinity.project."),
        ("layer_norm.", "affinity.norm."),
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
        ("transformer.decoder.query_scale.", "transformer.queries.scale."),
        ("transformer.decoder.ref_point_head.", "transformer.queries.place."),
        ("transformer.reference_points.", "transformer.queries.reference_points."),
        ("tgt_embed.", "transformer.queries.content."),
        ("refpoint_embed.", "transformer.queries.anchors."),
        ("query_embed.", "transformer.queries.places."),
        ("bbox_embed.*.", "transformer.box_heads.*."),
        ("class_embed.*.", "score_heads.*."),
        *_FPN,
        ("pixel_decoder.mask_features.", "pixel_decoder.mask_features."),
        ("controller.", "controller."),
    ),
    aliases=(("transformer.decoder.bbox_embed.*.", "bbox_embed.*."),),
    ignored=(
        (r"^text_encoder\.embeddings\.position_ids$", "a counter that newer transformers versions compute"),
        (r"(^|\.)total_(params|ops)$", "a counter left by a profiler"),
    ),
)


def plan_of(official: Mapping[str, Tensor], system: CMA) -> Plan:
    """`plan` for the variant of a system."""
    return plan(official, system.variant)


def plan(official: Mapping[str, Tensor], variant: str) -> Plan:
    """Plan for reading a file with these tensors into a CMA of this variant.

    ReferFormer's image-pretrained models, from which the official training starts, have the same families of keys
    without the support branch. Their score heads are dropped, and so are their query places and reference points
    where the variant has anchor boxes; what they lack starts from scratch.
    """
    if "query_embed.weight" not in official or any(key.startswith("support_qkv.") for key in official):
        return Plan("official CMA checkpoint", TABLE)
    dropped = [(r"^class_embed\.", "they scored another task")]
    fresh = ["affinity.", "score_heads."]
    if variant == "cma":
        dropped.append((r"^(query_embed|transformer\.reference_points)\.", "this variant decodes from anchor boxes"))
        fresh += [f"transformer.queries.{part}." for part in ("content", "anchors", "place", "scale")]
    table = replace(TABLE, ignored=(*TABLE.ignored, *dropped))
    return Plan("ReferFormer checkpoint, as initialisation", table, tuple(fresh))


def sizes_of(official: Mapping[str, Tensor], variant: str | None = None) -> dict[str, Any]:
    """The keys of the system configuration that an official CMA checkpoint implies.

    `base` and `self` have the same tensors, so that one of them has to be named; `cma` is recognised.

    Raises:
        ValueError: if the tensors are not those of a CMA, or do not say or contradict the variant.
    """
    if variant not in (None, *VARIANTS):
        raise ValueError(f"unknown variant {variant!r}: choose one of {', '.join(VARIANTS)}")
    if not {"refpoint_embed.weight", "query_embed.weight"} & set(official) or "conv_q.weight" not in official:
        raise ValueError("these are not the tensors of a CMA checkpoint (no conv_q, refpoint_embed or query_embed)")
    if FEEDFORWARD not in official:
        raise ValueError(f"this CMA checkpoint is not complete: it lacks {FEEDFORWARD}")
    anchored = "refpoint_embed.weight" in official
    if variant is None and not anchored:
        raise ValueError("variants base and self have the same tensors: say which with variant=base or variant=self")
    if variant is not None and anchored != (variant == "cma"):
        raise ValueError(f"the queries in this checkpoint are not those of variant {variant!r}")
    queries = official["refpoint_embed.weight" if anchored else "query_embed.weight"]
    feedforward, dim = official[FEEDFORWARD].shape
    return {
        "variant": variant or "cma",
        "backbone": "resnet101" if "backbone.0.body.layer3.22.conv1.weight" in official else "resnet50",
        "hidden_dim": dim,
        "feedforward_dim": feedforward,
        "num_queries": queries.shape[0],
        "encoder_layers": _count(official, r"transformer\.encoder\.layers\.(\d+)\."),
        "decoder_layers": _count(official, r"transformer\.decoder\.layers\.(\d+)\."),
    }


def _count(keys: Iterable[str], pattern: str) -> int:
    return len({found.group(1) for key in keys if (found := re.match(pattern, key))})

"""Tensor names of the official CMA checkpoints, of its variants, and of ReferFormer's, from which CMA starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fewshot.nn.affinity import VARIANTS
from fewshot.systems import trunk_checkpoint
from fewshot.systems.trunk_checkpoint import PIXEL_DECODER, TEXT, TRUNK
from fewshot.weights.key_table import Plan

if TYPE_CHECKING:
    from fewshot.systems.cma.model import CMA

TABLE = trunk_checkpoint.table(
    *TEXT,
    ("support_qkv.query.", "affinity.support.query."),
    ("support_qkv.Key.", "affinity.support.key."),
    ("support_qkv.Value.", "affinity.support.value."),
    ("query_qkv.query.", "affinity.query.query."),
    ("query_qkv.Key.", "affinity.query.key."),
    ("query_qkv.Value.", "affinity.query.value."),
    ("conv_q.", "affinity.project."),
    ("layer_norm.", "affinity.norm."),
    ("transformer.decoder.query_scale.", "transformer.queries.scale."),
    ("transformer.decoder.ref_point_head.", "transformer.queries.place."),
    ("tgt_embed.", "transformer.queries.content."),
    ("refpoint_embed.", "transformer.queries.anchors."),
    *TRUNK,
    *PIXEL_DECODER,
)


def plan_of(official: Mapping[str, Tensor], system: CMA) -> Plan:
    """`plan` for the variant of a system."""
    return plan(official, system.variant)


def plan(official: Mapping[str, Tensor], variant: str) -> Plan:
    """Plan for reading a file with these tensors into a CMA of this variant.

    ReferFormer's image-pretrained models, from which the official training starts, have the same families of keys
    without the support branch. Their score heads are dropped, and so are their query places and reference points
    where the variant has anchor boxes; what they lack starts from scratch.

    Raises:
        ValueError: it is a checkpoint of SgMg.
    """
    if trunk_checkpoint.whose(official) == trunk_checkpoint.SGMG:
        trunk_checkpoint.check_whose(official, trunk_checkpoint.CMA)
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
    sizes = trunk_checkpoint.sizes_of(official)
    anchored = "refpoint_embed.weight" in official
    if variant is None and not anchored:
        raise ValueError("variants base and self have the same tensors: say which with variant=base or variant=self")
    if variant is not None and anchored != (variant == "cma"):
        raise ValueError(f"the queries in this checkpoint are not those of variant {variant!r}")
    return {"variant": variant or "cma", **sizes}

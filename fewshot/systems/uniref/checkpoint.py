"""Tensor names of the official UniRef++ checkpoints: image-joint, video-joint, and the Objects365 pretraining."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from torch import Tensor

from fewshot.systems.detectron_keys import resnet_rows, swin_rows
from fewshot.systems.uniref.part_keys import FUSION, TEXT_PROJECTION, VALUE_ENCODER, under
from fewshot.weights.key_table import KeyTable, Plan, count_numbered

if TYPE_CHECKING:
    from fewshot.systems.uniref.model import UniRef

_BACKBONE = "detr.detr.backbone.0.backbone."
_TRANSFORMER = [
    (f"detr.detr.transformer.{official}", f"transformer.{own}")
    for official, own in (
        ("level_embed", "level_embed"),
        ("encoder.layers.*.self_attn.", "encoder.*.attention."),
        ("encoder.layers.*.linear", "encoder.*.feedforward.linear"),
        ("encoder.layers.*.norm", "encoder.*.norm"),
        ("decoder.layers.*.self_attn.", "decoder.*.self_attention."),
        ("decoder.layers.*.cross_attn.", "decoder.*.cross_attention."),
        ("decoder.layers.*.linear", "decoder.*.feedforward.linear"),
        # the official numbers do not follow the order of use: 2, 1, 3
        ("decoder.layers.*.norm2.", "decoder.*.norm_self."),
        ("decoder.layers.*.norm1.", "decoder.*.norm_cross."),
        ("decoder.layers.*.norm3.", "decoder.*.norm_feedforward."),
        ("enc_output.", "queries.token."),
        ("enc_output_norm.", "queries.token_norm."),
        ("pos_trans.", "queries.place."),
        ("pos_trans_norm.", "queries.place_norm."),
    )
]

_HEADS = [  # the seventh of each kind of head is for the proposals
    ("detr.detr.class_embed.6.", "transformer.queries.score_head."),
    ("detr.detr.bbox_embed.6.", "transformer.queries.box_head."),
    ("detr.detr.class_embed.*.", "score_heads.*."),
    ("detr.detr.bbox_embed.*.", "transformer.box_heads.*."),
    ("detr.detr.query_embed.", "transformer.queries.content."),
    ("detr.controller.", "controller."),
    # applied in the order lay3, lay4, jia_dcn, lay1, lay2
    ("detr.mask_head.lay3.", "pixel_decoder.levels.2."),
    ("detr.mask_head.lay4.", "pixel_decoder.levels.1."),
    ("detr.mask_head.jia_dcn.", "pixel_decoder.levels.0."),
    ("detr.mask_head.lay1.", "pixel_decoder.narrow.0."),
    ("detr.mask_head.lay2.", "pixel_decoder.narrow.1."),
    ("detr.lateral_conv.", "pixel_decoder.lateral."),
    ("detr.output_conv.", "pixel_decoder.smooth."),
    ("detr.mask_conv.", "pixel_decoder.out."),
]

TABLE = KeyTable(
    rows=(
        *resnet_rows(_BACKBONE),
        *swin_rows(_BACKBONE),
        ("detr.detr.input_proj.*.", "level_projection.levels.*."),
        *_TRANSFORMER,
        *_HEADS,
        *under("detr.fusion_module.", "fusion.", FUSION),
        ("text_encoder.", "text.encoder."),
        *under("resizer.", "text_projection.", TEXT_PROJECTION),
        *under("value_encoder.", "value_encoder.", VALUE_ENCODER),
    ),
    aliases=(
        ("detr.detr.transformer.decoder.bbox_embed.*.", "detr.detr.bbox_embed.*."),
        ("detr.detr.transformer.decoder.class_embed.*.", "detr.detr.class_embed.*."),
    ),
    ignored=(
        (r"^criterion\._iter$", "a counter of the pretraining's box-supervised mask loss"),
        (r"^text_encoder\.embeddings\.position_ids$", "a counter that newer transformers versions compute"),
        (r"\.relative_position_index$", "indices that are computed from the window size"),
    ),
)

CLASS_HEAD = "detr.detr.class_embed.6.weight"
OWN_CLASS_HEADS = ("score_heads.", "transformer.queries.score_head.")
PARTS = {  # what a file or a system may be without: attribute, prefixes of official tensors and of ours
    "text": ("text encoder", ("text_encoder.", "resizer."), ("text.", "text_projection.")),
    "value_encoder": ("value encoder", ("value_encoder.",), ("value_encoder.",)),
    "fusion": ("fusion, which is for references", ("detr.fusion_module.",), ("fusion.",)),
}


def plan(official: Mapping[str, Tensor], system: UniRef) -> Plan:
    """Plan for reading a file with these tensors into this system.

    Parts that the file lacks (Objects365 files have no text encoder, value encoder and fusion; those of the first image
    stage no value encoder) start from scratch; parts that the system lacks are ignored. Class heads for another number
    of classes are ignored and start from scratch, as in the official training.
    """
    missing: list[str] = ["mask_calls"]  # a counter of the training, not of the weights
    ignored: list[tuple[str, str]] = []
    for attribute, (name, theirs, ours) in PARTS.items():
        if not any(key.startswith(theirs) for key in official):
            missing += ours
        elif getattr(system, attribute) is None:
            ignored.append(("^" + "|^".join(map(re.escape, theirs)), f"this system has no {name}"))
    classes = official[CLASS_HEAD].shape[0] if CLASS_HEAD in official else system.num_classes
    if classes != system.num_classes:
        missing += OWN_CLASS_HEADS
        ignored.append((r"\.class_embed\.", f"heads for {classes} classes, where this system has {system.num_classes}"))
    kind = "official UniRef++ checkpoint" + (" of the Objects365 pretraining" if classes > 1 else "")
    return Plan(kind, replace(TABLE, ignored=(*TABLE.ignored, *ignored)), tuple(missing))


SWINS = {(96, 6): "swin_tiny", (96, 18): "swin_small", (128, 18): "swin_base", (192, 18): "swin_large"}


def sizes_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """The keys of the system configuration that an official UniRef++ checkpoint implies.

    Raises:
        ValueError: if the tensors are not those of a UniRef++, or of one with an unknown backbone.
    """
    needed = (CLASS_HEAD, "detr.detr.query_embed.weight", "detr.detr.transformer.encoder.layers.0.linear1.weight")
    missing = [key for key in needed if key not in official]
    if missing:
        raise ValueError(f"these are not the tensors of a UniRef++ checkpoint (no {missing[0]})")
    head, queries, feedforward = (official[key] for key in needed)
    return {
        "backbone": _backbone(official),
        "text": "bert" if "resizer.fc.weight" in official else "none",
        "value_encoder": "resnet18" if "value_encoder.conv1.weight" in official else "none",
        "hidden_dim": queries.shape[1],
        "feedforward_dim": feedforward.shape[0],
        "num_queries": queries.shape[0],
        "num_classes": head.shape[0],
        "encoder_layers": count_numbered(official, "detr.detr.transformer.encoder.layers."),
        "decoder_layers": count_numbered(official, "detr.detr.transformer.decoder.layers."),
    }


def _backbone(official: Mapping[str, Tensor]) -> str:
    if f"{_BACKBONE}stem.conv1.weight" in official:
        return "resnet101" if f"{_BACKBONE}res4.22.conv1.weight" in official else "resnet50"
    patches = official.get(f"{_BACKBONE}patch_embed.proj.weight")
    depth = count_numbered(official, f"{_BACKBONE}layers.2.blocks.")
    if patches is None or (patches.shape[0], depth) not in SWINS:
        raise ValueError("the backbone of this UniRef++ checkpoint is neither a ResNet nor a Swin transformer")
    return SWINS[patches.shape[0], depth]

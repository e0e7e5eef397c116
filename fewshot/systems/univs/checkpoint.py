"""Tensor names of the official UniVS checkpoints, of the student and of the teacher, and of the CLIP text tower."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from fewshot.systems.detectron_keys import resnet_rows, swin_rows
from fewshot.weights.key_table import KeyTable, Plan, count_numbered

if TYPE_CHECKING:
    from fewshot.systems.univs.model import UniVS

STUDENT, TEACHER = "student", "teacher"  # the trained weights, and their moving average, in one file
_SUFFIX = {STUDENT: "", TEACHER: "_t"}

_PIXEL_DECODER = (
    ("input_proj.*.", "input_projections.*."),
    ("transformer.level_embed", "level_embed"),
    ("transformer.encoder.layers.*.norm1.", "encoder.layers.*.self_attn_layer_norm."),
    ("transformer.encoder.layers.*.norm2.", "encoder.layers.*.final_layer_norm."),
    ("transformer.encoder.layers.*.linear1.", "encoder.layers.*.fc1."),
    ("transformer.encoder.layers.*.linear2.", "encoder.layers.*.fc2."),
    ("transformer.encoder.layers.*.", "encoder.layers.*."),
    ("adapter_1.norm.", "adapter_1.1."),
    ("adapter_1.", "adapter_1.0."),
    ("layer_1.norm.", "layer_1.1."),
    ("layer_1.", "layer_1.0."),
    ("mask_features.", "mask_projection."),
)
_READING = tuple(
    (f"pixel_decoder.transformer.encoder.vl_layers.*.b_attn.{a}", f"pixel_decoder.reading.*.{b}")
    for a, b in (
        ("gamma_v", "cell_weight"),
        ("gamma_l", "word_weight"),
        ("layer_norm_v.", "norm_cells."),
        ("layer_norm_l.", "norm_words."),
        ("attn.v_proj.", "query."),
        ("attn.l_proj.", "key."),
        ("attn.values_v_proj.", "cell_values."),
        ("attn.values_l_proj.", "word_values."),
        ("attn.out_v_proj.", "cell_out."),
        ("attn.out_l_proj.", "word_out."),
    )
)
_PREDICTOR = (
    ("transformer_self_attention_layers.*.self_attn.", "decoder.self_attention.*.attention."),
    ("transformer_self_attention_layers.*.norm.", "decoder.self_attention.*.norm."),
    ("transformer_cross_attention_layers.*.multihead_attn.", "decoder.cross_attention.*.attention."),
    ("transformer_cross_attention_layers.*.norm.", "decoder.cross_attention.*.norm."),
    ("transformer_ffn_layers.*.linear", "decoder.feedforward.*.feedforward.linear"),
    ("transformer_ffn_layers.*.norm.", "decoder.feedforward.*.norm."),
    ("transformer_prompt_self_attention_layers.*.multihead_attn.", "decoder.prompt_attention.*.attention."),
    ("transformer_prompt_self_attention_layers.*.norm.", "decoder.prompt_attention.*.norm."),
    ("decoder_norm.", "decoder.heads.norm."),
    ("mask_embed.", "decoder.heads.mask."),
    ("vis2text_projection.", "decoder.heads.to_text."),
    ("cls_temp.weight", "decoder.heads.log_scale"),
    ("query_feat.", "decoder.content."),
    ("static_query.", "decoder.content."),  # in old files of Mask2Former
    ("query_embed.", "decoder.places."),
    ("level_embed.", "decoder.level_embed."),
    ("text_norm.", "text_prompts.norm."),
    ("text2vis_projection.", "text_prompts.linear."),
    ("lang2vision_cross_attention_layer.multihead_attn.", "text_prompts.vision.attention."),
    ("lang2vision_cross_attention_layer.norm.", "text_prompts.vision.norm."),
    ("prompt_detection.", "tasks.detection."),
    ("prompt_sot.", "tasks.sot."),
    ("prompt_grounding.", "tasks.grounding."),
)
_IGNORED = (
    (r"\.relative_position_index$", "indices that are computed from the window size"),
    (r"\.reid_temp\.", "a temperature that nothing uses"),
    (r"\.class_embed\.", "the class head of Mask2Former, in whose place there are text embeddings"),
    (r"^(sem_seg_head\.predictor\.|)criterion", "numbers of the losses"),
)


def table(which: str = STUDENT) -> KeyTable:
    """The key table of the student or of the teacher; the other one's tensors are ignored.

    Raises:
        ValueError: there is no such one.
    """
    if which not in _SUFFIX:
        raise ValueError(f"unknown weights {which!r} of a UniVS checkpoint: choose {STUDENT} or {TEACHER}")
    suffix, other = _SUFFIX[which], TEACHER if which == STUDENT else STUDENT
    backbone, head = f"backbone{suffix}.", f"sem_seg_head{suffix}."
    leave = re.escape(f"{_SUFFIX[other]}.")
    return KeyTable(
        rows=(
            *resnet_rows(backbone),
            *swin_rows(backbone),
            *((f"{head}{a}", b) for a, b in _READING),
            *((f"{head}pixel_decoder.{a}", f"pixel_decoder.body.{b}") for a, b in _PIXEL_DECODER),
            *((f"{head}predictor.{a}", b) for a, b in _PREDICTOR),
        ),
        ignored=((f"^(backbone|sem_seg_head){leave}", f"weights of the {other}"), *_IGNORED),
    )


def plan(official: Mapping[str, Tensor], system: UniVS) -> Plan:
    """Plan for reading a file with these tensors into this system, as its `weights_of` says. Text is not in the file.

    Raises:
        ValueError: the teacher's weights are asked for, and the file has none.
    """
    which = system.weights_of
    if which == TEACHER and not any(key.startswith("backbone_t.") for key in official):
        raise ValueError("this UniVS checkpoint holds no teacher: leave out variant=teacher")
    own = any(key.startswith("sem_seg_head.predictor.prompt_") for key in official)
    if own:
        return Plan(f"official UniVS checkpoint, {which}", table(which), ("text.",))
    fresh = ("text.", "text_prompts.", "tasks.", "decoder.prompt_attention.", "decoder.heads.")
    return Plan("Mask2Former checkpoint, as a start", table(which), fresh)


SWINS = {(96, 6): "swin_tiny", (128, 18): "swin_base", (192, 18): "swin_large"}


def sizes_of(official: Mapping[str, Tensor]) -> dict[str, Any]:
    """The keys of the system configuration that an official UniVS checkpoint implies.

    Raises:
        ValueError: the tensors are not those of a UniVS, or of one with an unknown backbone.
    """
    head = "sem_seg_head.predictor."
    needed = ("query_feat.weight", "transformer_ffn_layers.0.linear1.weight", "vis2text_projection.weight")
    missing = [name for name in needed if head + name not in official]
    if missing:
        raise ValueError(f"these are not the tensors of a UniVS checkpoint (no {head}{missing[0]})")
    queries, feedforward, text = (official[head + name] for name in needed)
    encoder = official["sem_seg_head.pixel_decoder.transformer.encoder.layers.0.linear1.weight"]
    return {
        "backbone": _backbone(official),
        "hidden_dim": queries.shape[1],
        "num_queries": queries.shape[0],
        "feedforward_dim": feedforward.shape[0],
        "pixel_feedforward_dim": encoder.shape[0],
        "text_dim": text.shape[0],
        "decoder_layers": count_numbered(official, f"{head}transformer_ffn_layers."),
        "encoder_layers": count_numbered(official, "sem_seg_head.pixel_decoder.transformer.encoder.layers."),
    }


def _backbone(official: Mapping[str, Tensor]) -> str:
    if "backbone.stem.conv1.weight" in official:
        return "resnet50"
    patches = official.get("backbone.patch_embed.proj.weight")
    depth = count_numbered(official, "backbone.layers.2.blocks.")
    if patches is None or (patches.shape[0], depth) not in SWINS:
        raise ValueError("the backbone of this UniVS checkpoint is neither a ResNet-50 nor a Swin-T, -B or -L")
    return SWINS[patches.shape[0], depth]


# The CLIP text tower: its attention has one projection for queries, keys and values, transformers has three.

_CLIP = KeyTable(
    (
        ("token_embedding.", "text_model.embeddings.token_embedding."),
        ("positional_embedding", "text_model.embeddings.position_embedding.weight"),
        ("transformer.resblocks.*.attn.out_proj.", "text_model.encoder.layers.*.self_attn.out_proj."),
        ("transformer.resblocks.*.ln_1.", "text_model.encoder.layers.*.layer_norm1."),
        ("transformer.resblocks.*.ln_2.", "text_model.encoder.layers.*.layer_norm2."),
        ("transformer.resblocks.*.mlp.c_fc.", "text_model.encoder.layers.*.mlp.fc1."),
        ("transformer.resblocks.*.mlp.c_proj.", "text_model.encoder.layers.*.mlp.fc2."),
        ("ln_final.", "text_model.final_layer_norm."),
        ("text_projection", "text_projection.weight"),
    ),
    ignored=((r"^(visual|logit_scale|lang_encoder\.visual)", "no part of the text tower"),),
)
_PACKED = re.compile(r"^transformer\.resblocks\.(\d+)\.attn\.in_proj_(weight|bias)$")
_SPLIT = "text_model.encoder.layers.{}.self_attn.{}_proj.{}"


def clip_to_own(official: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], dict[str, str]]:
    """An official CLIP text tower under transformers' names, and what was left out, with the reason.

    Raises:
        ValueError: a tensor that no text tower has.
    """
    own, ignored, unknown = {}, {}, []
    for key, tensor in official.items():
        packed, name, reason = _PACKED.match(key), _CLIP.to_own(key), _CLIP.reason_to_ignore(key)
        if reason:
            ignored[key] = reason
        elif packed:
            layer, kind = packed.groups()
            parts = zip("qkv", tensor.chunk(3), strict=True)
            own.update({_SPLIT.format(layer, part, kind): values for part, values in parts})
        elif name is None:
            unknown.append(key)
        else:
            own[name] = tensor.T if key == "text_projection" else tensor
    if unknown:
        raise ValueError(f"{len(unknown)} unknown tensors: {', '.join(unknown[:5])}")
    return own, ignored


def clip_to_official(own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """A CLIP text tower of transformers under its official names."""
    official: dict[str, Tensor] = {}
    for key, tensor in own.items():
        found = re.match(r"^text_model\.encoder\.layers\.(\d+)\.self_attn\.([qkv])_proj\.(weight|bias)$", key)
        if found is None:
            name = _CLIP.to_official(key)[0]
            official[name] = tensor.T if name == "text_projection" else tensor
        elif found[2] == "q":
            parts = [own[_SPLIT.format(found[1], part, found[3])] for part in "qkv"]
            official[f"transformer.resblocks.{found[1]}.attn.in_proj_{found[3]}"] = torch.cat(parts)
    return official

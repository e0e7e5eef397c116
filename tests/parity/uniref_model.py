"""Runs UniRef or one of its parts on a reference case and gathers everything that it computes on the way."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from einops import rearrange
from torch import Tensor

from episodes.batch import ClipBatch, References
from fewshot.inference.postprocess import image_results
from fewshot.nn.backbones import Backbone, ResNet
from fewshot.nn.deformable_transformer import Decoded
from fewshot.nn.mask_head import aligned_bilinear
from fewshot.nn.padding import level_paddings
from fewshot.nn.positions import sine_2d
from fewshot.nn.swin import Swin
from fewshot.nn.text import BERT_CONTEXT, TextEncoder, bert, without_punctuation
from fewshot.nn.value_encoder import ValueEncoder
from fewshot.systems.uniref.checkpoint import plan
from fewshot.systems.uniref.detection import Detection
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.weights.load import load_official
from tests.parity.reference import filled
from tests.parity.uniref_reference import array_of, image_of, label_problems, mismatches, rectangle

PAD_MULTIPLE = 32
NO_DROPOUT = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


class GivenTokens:
    """A tokenizer that knows the texts of a case: the token ids, separated by blanks."""

    def __call__(self, texts: list[str], **options: Any) -> dict[str, Tensor]:
        rows = [[int(n) for n in text.split()] for text in texts]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [0] * (longest - len(row)) for row in rows])
        attention = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return {"input_ids": ids, "attention_mask": attention}


def expression(token_ids: Sequence[int]) -> str:
    """The text that `GivenTokens` reads as these tokens."""
    return " ".join(map(str, token_ids))


# -------------------------------------------------------------------------------------------------------- the model


def model_of(case: dict[str, Any], folder: Path) -> UniRef:
    """The model of a case in evaluation mode with its parameters; every dropout is 0.

    One model is kept; its buffers, which training changes, are put back at every call.
    """
    root = next(parent for parent in folder.parents if (parent / "models.json").is_file())
    models = json.loads((root / "models.json").read_text())
    name = models[case["model"]].get("keys", case["model"]).split()[-1]  # "identical to ..."
    model, buffers = _model(root, name)
    for key, buffer in model.named_buffers():
        buffer.data.copy_(buffers[key])
    model.zero_grad()
    return model.eval()


def forget_models() -> None:
    """Give the memory of the kept model back."""
    _model.cache_clear()


@lru_cache(maxsize=1)
def _model(root: Path, name: str) -> tuple[UniRef, dict[str, Tensor]]:
    numbers = json.loads((root / "models.json").read_text())[name]
    sizes = Sizes(
        hidden_dim=numbers["hidden_dim"],
        heads=numbers["nheads"],
        encoder_layers=numbers["enc_layers"],
        decoder_layers=numbers["dec_layers"],
        feedforward_dim=numbers["dim_feedforward"],
        num_queries=numbers["num_queries"],
        points=numbers["enc_points"],
        fusion_heads=numbers["fusion"]["nheads"],
        fusion_head_dim=numbers["fusion"]["head_dim"],
        fusion_dropout=0.0,
        num_classes=numbers["num_classes"],
    )
    text = TextEncoder(bert(NO_DROPOUT), GivenTokens(), BERT_CONTEXT, without_punctuation)
    options = dict(freeze_backbone="stem", text_projection_dropout=0.0)
    model = UniRef(
        _backbone(name),
        text if numbers["language"] else None,
        ValueEncoder(sizes.hidden_dim) if numbers["mask_reference"] else None,
        sizes,
        **options,
    )
    keys = json.loads((root / f"keys_{name}.json").read_text())
    state = filled(keys, json.loads((root / "aliases.json").read_text()))
    report = load_official(model, state, name, plan)
    assert not report.fresh and report.used + len(report.ignored) == report.total == len(state), str(report)
    return model, {key: buffer.clone() for key, buffer in model.named_buffers()}


def _backbone(name: str) -> Backbone:
    if name.startswith("swinl"):
        return Swin("large", drop_path=0.0)
    return ResNet(50)


def batch_of(images: Sequence[Tensor], texts: Sequence[str | None] = (), masks: Sequence[Tensor] = ()) -> ClipBatch:
    """Normalised images `(3, h, w)` as clips of one frame, padded to a common multiple of 32."""
    sizes = torch.tensor([image.shape[-2:] for image in images])
    height, width = (int(-(-v // PAD_MULTIPLE) * PAD_MULTIPLE) for v in sizes.max(0).values)
    frames = torch.zeros(len(images), 1, 3, height, width)
    padding = torch.ones(len(images), height, width, dtype=torch.bool)
    for n, image in enumerate(images):
        frames[n, 0, :, : image.shape[1], : image.shape[2]] = image
        padding[n, : image.shape[1], : image.shape[2]] = False
    expressions = tuple(texts) or (None,) * len(images)
    return ClipBatch(frames, padding, sizes, expressions, tuple(m[None] for m in masks) or (None,) * len(images))


# ---------------------------------------------------------------------------------------------------- what is recorded


@contextmanager
def recorded(model: UniRef, selected: Sequence[int] = (), stride: int = 4) -> Iterator[dict[str, list[Tensor]]]:
    """Everything the model computes, under the names of the reference cases, in the order of the calls.

    Args:
        selected: queries of the last layer whose masks are recorded; stride: of all masks.
    """
    calls: dict[str, list[Tensor]] = {}

    def add(name: str, value: Tensor) -> None:
        calls.setdefault(name, []).append(value)

    def saw(_m: Any, _i: Any, maps: list[Tensor]) -> None:
        for index, x in enumerate(maps):
            add(f"backbone.res{index + 2}", x)
            add(f"backbone.res{index + 2}.channel_mean", x.mean((2, 3)))

    def levels(name: str) -> Callable[..., None]:
        return lambda _m, _i, output: [add(f"{name}.level{i}", x) for i, x in enumerate(output)] and None

    def detected(_m: Any, _i: Any, found: Detection) -> None:
        frames = torch.arange(len(found.winner))
        add("out.pred_logits", found.class_logits[-1])
        add("out.pred_boxes", found.all_boxes[-1])
        add("out.best_query", found.winner.squeeze(0))
        add("out.pred_masks[best]", model.masks_of(found, -1, frames, found.winner, stride))
        if selected:
            queries = torch.tensor(list(selected))
            masks = model.masks_of(found, -1, torch.zeros_like(queries), queries, stride)
            add("out.pred_masks[sel]", masks[None, :, None])

    def decoded(_m: Any, _i: Any, output: Decoded) -> None:
        for name, value in transformer_arrays(output).items():
            add(name, value)

    fuse = model.fuse

    def fused(given: Sequence[Tensor], *rest: Any) -> list[Tensor]:
        output = fuse(given, *rest)
        levels("input_proj")(None, None, given)
        levels("fused")(None, None, output)
        return output

    hooks = [
        model.backbone.register_forward_hook(saw),
        model.transformer.register_forward_hook(decoded),
        model.register_forward_hook(detected),
        model.pixel_decoder.register_forward_hook(
            lambda _m, inputs, _o: add("mask_head.out", model.pixel_decoder.pyramid(inputs[1]))
        ),
    ]
    if model.text is not None and model.text_projection is not None:
        text, words = model.text, model.text_projection
        hooks.append(text.register_forward_hook(lambda _m, _i, out: add("text.last_hidden_state", out[0])))
        hooks.append(words.register_forward_hook(lambda _m, _i, out: add("text.resized", out.features)))
    if model.value_encoder is not None:
        hooks.append(model.value_encoder.register_forward_hook(levels("value_encoder")))
    model.fuse = fused  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        del model.fuse
        for hook in hooks:
            hook.remove()


def transformer_arrays(decoded: Decoded) -> dict[str, Tensor]:
    """What the transformer computed, under the names of the reference cases."""
    memory = torch.cat([rearrange(x, "n c h w -> n (h w) c") for x in decoded.memory], 1)
    assert decoded.proposals is not None
    return {
        "encoder.memory": memory,
        "encoder.memory.token_mean": memory.mean(1),
        "encoder.class_logits": decoded.proposals.logits,
        "encoder.topk_indices": decoded.proposals.chosen,
        "encoder.topk_init_reference": decoded.references[0],
        "decoder.hs_last": decoded.states[-1],
        "decoder.hs_all": decoded.states,
        "decoder.inter_references_last": decoded.boxes[-1],
        "decoder.inter_references_last_used": decoded.references[-1],
    }


# -------------------------------------------------------------------------------------------------------------- cases


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of the whole model on an image, of the transformer, or of the mask head."""
    module = case.get("module", "")
    if module.startswith("DeformableTransformer"):
        return transformer(case, folder)
    return mask_head(case, folder) if module.startswith("mask head") else image(case, folder)


def image(case: dict[str, Any], folder: Path) -> list[str]:
    """An image segmented by language, by supports, or without a reference."""
    model = model_of(case, folder)
    texts = [expression(case["token_ids"])] if "token_ids" in case else []
    queries = batch_of([image_of(case["image"])], texts)
    supports = case.get("supports", [])
    with recorded(model, case.get("selected_queries", ())) as calls:
        references = References(expressions=queries.expressions)
        if supports:
            images = [image_of(s["image"]) for s in supports]
            shape = [(x.shape[1], x.shape[2]) for x in images]
            masks = [rectangle(s["mask_rect_xyxy"], size) for s, size in zip(supports, shape, strict=True)]
            references = References(batch_of(images, masks=masks), len(supports), queries.expressions)
        found = model(queries, model.encode_reference(references))
    size = (case["height"], case["width"])
    (result,) = image_results(model, found, queries, [size])
    expected = dict(case["expected"])
    wanted = expected.pop("final.pred_mask", None)
    problems = []
    if wanted is not None:
        problems = label_problems("final.pred_mask", result.mask[None], wanted, final_logits(found, queries, size))
    assert result.found and result.box is not None
    calls["final.score"], calls["final.box_xyxy"] = [torch.tensor([result.score]).sigmoid()], [result.box[None]]
    return mismatches(expected, calls) + problems


def final_logits(found: Detection, queries: ClipBatch, size: tuple[int, int]) -> Tensor:
    """Mask logits `(1, H, W)` of the best query where each pixel of the final mask comes from."""
    logits = F.interpolate(found.masks[0], scale_factor=4, mode="bilinear", align_corners=False)
    height, width = queries.sizes[0].tolist()
    return F.interpolate(logits[..., :height, :width], size, mode="nearest")[0]


def transformer(case: dict[str, Any], folder: Path) -> list[str]:
    """The deformable transformer with its heads, on given levels."""
    model = model_of(case, folder)
    levels = [array_of(recipe) for recipe in case["srcs"]]
    padding = torch.ones(len(levels[0]), *case["image_hw_padded"], dtype=torch.bool)
    for mask, (height, width) in zip(padding, case["valid_hw"], strict=True):
        mask[:height, :width] = False
    paddings = level_paddings(padding, [(x.shape[2], x.shape[3]) for x in levels])
    positions = [sine_2d(p, levels[0].shape[1]) for p in paddings]
    decoded = model.transformer(levels, paddings, positions, None)
    arrays = transformer_arrays(decoded)
    assert decoded.proposals is not None
    calls = {
        **{f"pos_level{i}": [x] for i, x in enumerate(positions)},
        **{f"masks_level{i}": [x] for i, x in enumerate(paddings)},
        "memory": [arrays["encoder.memory"]],
        "enc_class": [decoded.proposals.logits],
        "enc_coord_unact_clamped": [decoded.proposals.boxes.clamp(-50, 50)],
        "topk_indices": [decoded.proposals.chosen],
        "init_reference": [decoded.references[0]],
        "hs_last": [decoded.states[-1]],
        "hs": [decoded.states],
        "inter_references": [decoded.boxes],
        "class_logits_all_layers": [
            torch.stack([head(x) for head, x in zip(model.score_heads, decoded.states, strict=True)])
        ],
        "boxes_last_layer": [decoded.boxes[-1]],
    }
    return mismatches(case["expected"], calls)


def mask_head(case: dict[str, Any], folder: Path) -> list[str]:
    """The small feature pyramid and the dynamic masks, on given memory and queries."""
    model = model_of(case, folder)
    shapes = [tuple(size) for size in case["memory_levels"]]
    parts = array_of(case["memory"]).transpose(1, 2).split([h * w for h, w in shapes], -1)
    memory = [x.unflatten(-1, size) for x, size in zip(parts, shapes, strict=True)]
    queries, points = array_of(case["queries"]), array_of(case["reference_xy"])
    n, q = queries.shape[:2]
    features = model.pixel_decoder(array_of(case["res2"]), memory[:3])
    parameters, sizes = model.controller(queries), torch.tensor(case["image_sizes_hw"])
    masks = model.mask_head(features, parameters, points, sizes)
    fine = aligned_bilinear(masks, 4)
    calls = {
        "fpn_stride8": [model.pixel_decoder.pyramid(memory[:3])],
        "controller": [parameters.view(1, n * q, -1)],
        "masks_stride4": [masks.view(1, n * q, 1, *masks.shape[2:])],
        "masks_stride1": [fine.view(1, n * q, 1, *fine.shape[2:])[..., ::2, ::2]],
    }
    return mismatches(case["expected"], calls)

"""Runs the whole CMA model on a reference case and gathers everything it computes on the way."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from episodes.batch import ClipBatch, References
from fewshot.nn.fusion import Words
from fewshot.nn.outputs import Prediction
from fewshot.nn.padding import resize_padding
from fewshot.nn.positions import sine_2d
from fewshot.nn.text import TextEncoder, roberta
from fewshot.systems.cma.build import build_around
from fewshot.systems.cma.checkpoint import plan_of
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.cma.model import CMA
from fewshot.weights.load import load_official
from tests.parity.reference import filled, given, rectangles


class GivenTokens:
    """A tokenizer that knows the captions of a case."""

    def __init__(self) -> None:
        self.known: dict[str, tuple[list[int], list[int]]] = {}

    def __call__(self, texts: list[str], **options: Any) -> dict[str, Tensor]:
        ids, attention = zip(*(self.known[text] for text in texts), strict=True)
        return {"input_ids": torch.tensor(ids), "attention_mask": torch.tensor(attention)}


def model_of(case: dict[str, Any], folder: Path) -> CMA:
    """The model of a case with its parameters, in the mode of the case, dropout off, its captions known."""
    args = case["args"]
    keys = (folder / case["keys"]).resolve()
    sizes = (args["hidden_dim"], args["nheads"], args["enc_layers"], args["dec_layers"], args["dim_feedforward"])
    more = (args["num_queries"], args["dec_n_points"], args["backbone"])
    model = _model(keys, case["model"].split("_")[0], *sizes, *more, json.dumps(case["roberta_config"]))
    inputs, tokens = case["inputs"], model.text.tokenizer
    for side in ("query", "support"):
        caption = " ".join(inputs[f"{side}_caption"].lower().split())
        tokens.known[caption] = (inputs[f"{side}_token_ids"], inputs[f"{side}_attention_mask"])
    model.zero_grad()
    return model.train(case["mode"] == "train")


@lru_cache(maxsize=1)
def _model(
    keys: Path,
    variant: str,
    dim: int,
    heads: int,
    encoder: int,
    decoder: int,
    feedforward: int,
    queries: int,
    points: int,
    backbone: str,
    roberta_config: str,
) -> CMA:
    config = CMAConfig(
        variant=variant,
        backbone=backbone,
        hidden_dim=dim,
        heads=heads,
        encoder_layers=encoder,
        decoder_layers=decoder,
        feedforward_dim=feedforward,
        num_queries=queries,
        points=points,
        dropout=0.0,
    )
    model = build_around(config, TextEncoder(roberta(json.loads(roberta_config)), GivenTokens()))
    aliases = json.loads((keys.parent / "aliases.json").read_text())
    state = filled(json.loads(keys.read_text()), aliases)
    report = load_official(model, state, str(keys), plan_of)
    assert report.used == report.total == len(state), str(report)
    return model


def clips_of(case: dict[str, Any]) -> tuple[ClipBatch, ClipBatch]:
    """Support and query clips of a case."""
    inputs = case["inputs"]
    support = _clip(
        inputs, "support", rectangles(inputs["support_masks"]["rects"], inputs["support_masks"]["shape"][1:])
    )
    query = _clip(inputs, "query", None)
    return support, query


def _clip(inputs: dict[str, Any], side: str, masks: Tensor | None) -> ClipBatch:
    frames = given(inputs[f"{side}_video"])
    height, width = frames.shape[-2:]
    padded_height, padded_width = inputs[f"{side}_padded_shape"][-2:]
    padding = torch.ones(1, padded_height, padded_width, dtype=torch.bool)
    padding[:, :height, :width] = False
    frames = F.pad(frames, (0, padded_width - width, 0, padded_height - height))[None]
    boxes = valid = None
    if side == "query" and "targets" in inputs:
        targets = inputs["targets"]
        boxes, valid = torch.tensor(targets["boxes"])[None], torch.tensor(targets["valid"])[None] == 1
        masks = rectangles(targets["rects"], (height, width))
    caption = inputs[f"{side}_caption"]
    return ClipBatch(frames, padding, torch.tensor([[height, width]]), (caption,), (masks,), boxes, valid)


@contextmanager
def recorded(model: CMA) -> Iterator[dict[str, list[Any]]]:
    """Outputs of the model's parts, in the order of their calls."""
    parts: dict[str, nn.Module] = {
        "maps": model.backbone,
        "text": model.text,
        "words": model.text_projection,
        "related": model.affinity,
        "decoded": model.transformer,
        "mask_features": model.pixel_decoder,
        "mask_params": model.controller,
        **{f"encoder_layer.{i}": layer for i, layer in enumerate(model.transformer.encoder)},
    }
    calls: dict[str, list[Any]] = {name: [] for name in parts}
    handles = [
        part.register_forward_hook(lambda _m, _i, output, name=name: calls[name].append(output))
        for name, part in parts.items()
    ]
    try:
        yield calls
    finally:
        for handle in handles:
            handle.remove()


def run_model(model: CMA, support: ClipBatch, query: ClipBatch) -> tuple[Prediction, dict[str, Tensor]]:
    """The prediction, and every intermediate under its name in the reference cases."""
    got: dict[str, Tensor] = {}
    with recorded(model) as calls:
        state = model.encode_reference(References(support, 1, query.expressions))
        words = state.words
        for at, side in enumerate(("support", "query")):
            got.update(_text(calls, side, at))
        for values in calls.values():
            values.clear()
        prediction = model(query, state)
        got.update(_query_path(model, calls, query, words))
    maps = calls["maps"][0]
    with torch.no_grad():
        got.update(_levels("query", maps, model.fused_levels(model.level_projection(maps[1:]), words), query))
        # the model encodes only the frames that count; the reference holds all of them
        all_maps = model.backbone(support.frames.flatten(0, 1))
        got.update(
            _levels(
                "support",
                all_maps,
                model.fused_levels(model.level_projection(all_maps[1:]), model.encode_text(support.expressions), True),
                support,
            )
        )
    got.update(_outputs(model, prediction, query))
    return prediction, got


def _text(calls: dict[str, list[Any]], side: str, at: int) -> dict[str, Tensor]:
    states, pooled, _ = calls["text"][at]
    words = calls["words"][at]
    return {
        f"text_raw.{side}": states,
        f"text_pool_raw.{side}": pooled,
        f"text.{side}.words": words.features,
        f"text.{side}.sentence": words.sentence,
    }


def _levels(side: str, maps: list[Tensor], fused: list[Tensor], clips: ClipBatch) -> dict[str, Tensor]:
    got: dict[str, Tensor] = {}
    t = clips.frames.shape[1]
    for i, x in enumerate(maps):
        padding = resize_padding(clips.padding, x.shape[-2:]).expand(t, -1, -1)
        got[f"backbone.{side}.{i}"] = x
        got[f"backbone_mask.{side}.{i}.valid_count"] = (~padding).sum((1, 2))
        got[f"pos.{side}.{i}"] = sine_2d(padding, fused[0].shape[2])
    for i, x in enumerate(fused):
        got[f"fused.{side}.{i}"] = x.permute(1, 3, 4, 0, 2).flatten(0, 2)
        padding = resize_padding(clips.padding, x.shape[-2:]).expand(t, -1, -1)
        if side == "query":
            got[f"mask_level.{i}.valid_count"] = (~padding).sum((1, 2))
    return got


def _query_path(model: CMA, calls: dict[str, list[Any]], query: ClipBatch, words: Words) -> dict[str, Tensor]:
    got = {name: values[0] for name, values in calls.items() if name.startswith("encoder_layer.")}
    decoded = calls["decoded"][0]
    got.update({f"affinity_out.{i}": x[0] for i, x in enumerate(calls["related"])})
    got.update({f"mask_params.{i}": x for i, x in enumerate(calls["mask_params"])})
    got["encoder_memory"] = calls[f"encoder_layer.{len(model.transformer.encoder) - 1}"][0]
    got["decoder_states"], got["decoder_references"] = decoded.states, decoded.boxes
    got["mask_features"] = calls["mask_features"][0]
    start = model.transformer.queries.start(words.sentence.expand(query.frames.shape[1], -1))[1]
    got["init_reference"] = start[0] if model.variant == "cma" else start  # anchors have no frame axis in the reference
    return got


def _outputs(model: CMA, prediction: Prediction, query: ClipBatch) -> dict[str, Tensor]:
    got: dict[str, Tensor] = {}
    for prefix, layer in [("", prediction), *((f"aux.{i}.", x) for i, x in enumerate(prediction.layers))]:
        assert layer.scores is not None and layer.boxes is not None
        got[f"{prefix}pred_logits"] = layer.scores[..., None]
        got[f"{prefix}pred_boxes"], got[f"{prefix}pred_masks"] = layer.boxes, layer.masks
    if prediction.layers and prediction.layers[-1].boxes is not None:
        got["reference_points"] = prediction.layers[-1].boxes[..., :2]
    best = int(prediction.best()[0, 0])
    probabilities = model.probabilities(prediction, query, 0)
    if query.padding.any():
        # the official testing never pads; on a padded clip it squeezes the padding into the frame, ours crops it
        height, width = query.sizes[0].tolist()
        logits = F.interpolate(prediction.masks[:, :, best], (height, width), mode="bilinear", align_corners=False)
        probabilities = logits[0].sigmoid()
    got["selected_query"] = prediction.best()[0, 0]
    got["selected_mask_prob"] = probabilities
    got["selected_mask_area"] = (probabilities > 0.5).sum((1, 2))
    return got

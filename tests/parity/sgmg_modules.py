"""Runs the reference cases of single modules of SgMg, from official tensors to named arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from einops import rearrange
from torch import Tensor, nn

from episodes.batch import ClipBatch
from episodes.transforms.clips import short_side_size
from fewshot.inference.candidates import frame_candidates
from fewshot.losses.boxes import to_corners
from fewshot.losses.criterion import make_targets
from fewshot.losses.matching import match
from fewshot.nn.deformable_attention import DeformableAttention
from fewshot.nn.deformable_transformer import DeformableTransformer
from fewshot.nn.fusion import VisionLanguageFusion, Words
from fewshot.nn.mask_head import DynamicMaskHead
from fewshot.nn.mask_optimiser import MultiScaleOptimiser, as_pixels
from fewshot.nn.mlp import MLP
from fewshot.nn.outputs import Prediction
from fewshot.nn.padding import resize_padding
from fewshot.nn.positions import sine_2d
from fewshot.nn.queries import TextQueries
from fewshot.nn.spectral import SpectralFilter, damping_chain
from fewshot.nn.text import TextEncoder, TextProjection, roberta
from fewshot.nn.video_swin import VideoSwin
from fewshot.systems.base import System
from fewshot.systems.referformer.checkpoint import TABLE as REFERFORMER_TABLE
from fewshot.systems.sgmg.checkpoint import TABLE
from fewshot.systems.sgmg.losses import RefinedCriterion
from fewshot.systems.trunk_checkpoint import SGMG, whose
from fewshot.weights.key_table import check_fit
from tests.parity.cma_model import GivenTokens
from tests.parity.reference import filled
from tests.parity.sgmg_reference import arrays_of, ellipse, mismatches

DIM, HEADS, LEVELS, POINTS = 256, 8, 4, 4
State = Mapping[str, tuple[str, Any]]  # our name -> official name, its shape and type
Runner = Callable[[dict[str, Any], State], dict[str, Tensor]]


def tolerance(name: str) -> float:
    """Allowed error of an array relative to its largest value."""
    return 1e-5 if name.startswith("loss.") else 5e-6


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of a module."""
    runners: dict[str, Runner] = {
        "matcher": criterion,
        "deformable encoder": transformer,
        "multiplicative word": fusion,
        "conditional patch": kernels,
        "multi-scale deformable": attention,
        "multi-granularity mask": optimiser,
        "post-processing": post,
        "aspect-ratio": resize,
        "spectral filter": spectral,
        "RoBERTa": text,
        "Video-Swin": video_swin,
    }
    found = [runner for start, runner in runners.items() if case["module"].startswith(start)]
    if not found:
        raise AssertionError(f"unknown module of a case: {case['module']!r}")
    return mismatches(case, found[0](case, _own(folder, case)), tolerance)


def _own(folder: Path, case: Mapping[str, Any]) -> State:
    """Official tensors of a case's model by our names, as name and shape; none for a case without parameters."""
    if case["parameter_keys"] == "none":
        return {}
    keys = json.loads((folder / case["keys"]).resolve().read_text())
    table = TABLE if whose(keys) == SGMG else REFERFORMER_TABLE
    named = {table.to_own(key): (key, entry) for key, entry in keys.items() if not table.reason_to_ignore(key)}
    return {name: pair for name, pair in named.items() if name is not None}


def load(module: nn.Module, prefix: str, state: State) -> Any:
    """The module in evaluation mode with every tensor of the official model whose name starts with the prefix."""
    chosen = {name.removeprefix(prefix): pair for name, pair in state.items() if name.startswith(prefix)}
    values = filled(dict(chosen.values()))
    own = {name: values[key] for name, (key, _) in chosen.items()}
    check_fit(own, module.state_dict())
    module.load_state_dict(own)
    return module.eval()


def video_swin(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    _, (shape, _) = state["backbone.body.patch_embed.proj.weight"]
    size = "base" if shape[0] == 128 else "tiny"
    backbone, got = VideoSwin(size), {}
    load(backbone, "backbone.", state)
    for name, clip in arrays_of(case).items():
        taps = backbone.encode_clips(clip[None])
        got.update({f"{name}.stage{i}": tap for i, tap in enumerate(taps)})
    return got


def text(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs = arrays_of(case)
    tokens = GivenTokens()
    encoder = TextEncoder(roberta(), tokens)
    load(encoder, "text.", state)
    projection = TextProjection(encoder.dim, DIM, 0.1, "apart")
    load(projection, "text_projection.", state)
    pairs = zip(inputs["input_ids"], inputs["attention_mask"], strict=True)
    tokens.known.update(zip(inputs["text"], pairs, strict=True))
    hidden, pooler, padding = encoder(inputs["text"])
    words = projection(hidden, pooler, padding)
    return {
        "last_hidden": hidden,
        "pooler": pooler,
        "pad": padding.long(),
        "word": words.features,
        "sentence": words.sentence,
        "pos1d": words.positions.transpose(1, 2),
    }


def spectral(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs, got = arrays_of(case), {}
    chain = damping_chain([inputs[f"x.pre.{i}"].shape[-2:] for i in range(LEVELS)])
    for i, damping in enumerate(chain):
        for side, own in (("pre", "filters_before"), ("post", "filters_after")):
            module = SpectralFilter(DIM)
            load(module, f"{own}.{i}.", state)
            x = inputs[f"x.{side}.{i}"]
            got[f"gate.{side}.{i}"] = module.openness(x)
            got[f"filter.{side}.{i}"], got[f"y.{side}.{i}"] = damping, module(x, damping)
    return got


def fusion(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs = arrays_of(case)
    module = load(VisionLanguageFusion(DIM, HEADS), "fusion.", state)
    padded = next(value for name, value in inputs.items() if name.startswith("key_padding"))
    words, positions = (inputs[name].transpose(0, 1) for name in ("text", "text_pos"))
    length = words.shape[1]
    padding = torch.arange(length) >= length - torch.tensor(padded)[:, None]
    visual = rearrange(inputs["visual"], "t h w b c -> b (t h w) c")
    return {"y": module(visual, Words(words, padding, positions, words[:, 0])).transpose(0, 1)}


def kernels(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs = arrays_of(case)
    head = DynamicMaskHead(DIM, 16, 8, 8, layers=2, outputs=16)
    parameters = load(MLP(DIM, DIM, DIM, head.num_parameters), "controller.", state)(inputs["hs"])
    features = inputs["mask_features"]
    clips, frames = features.shape[:2]
    points = inputs["reference_cxcy"].unflatten(1, (frames, -1)).flatten(0, 1)
    sizes = torch.tensor(inputs["target_sizes_hw"]).repeat_interleave(frames, 0)
    patches = head(features.flatten(0, 1), parameters, points, sizes)
    patches = patches.unflatten(0, (clips, frames)).flatten(1, 2)
    return {"params": parameters, "patch_logits": patches, "half_res_logits": as_pixels(patches, 4)}


def optimiser(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs = arrays_of(case)
    fine, coarse = inputs["feat_s4"], inputs["feat_s8"]
    module = MultiScaleOptimiser(fine.shape[1], coarse.shape[1])
    load(module, "optimiser.", state)
    patches = (inputs["patch_logits"], fine, coarse)
    return {"y": module.refine(*patches), "mask": module(*patches)}


def attention(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs, got = arrays_of(case), {}
    shapes = [tuple(shape) for shape in inputs["level_shapes"]]
    value, query = inputs["value"], inputs["query"]
    padding = torch.zeros(value.shape[:2], dtype=torch.bool)
    padding[1, 40:48] = padding[1, -1] = True
    for name, prefix, references in (
        ("enc2", "transformer.encoder.0.attention.", inputs["ref2"]),
        ("dec4", "transformer.decoder.0.cross_attention.", inputs["ref4"]),
    ):
        module = DeformableAttention(DIM, HEADS, LEVELS, POINTS)
        load(module, prefix, state)
        got[f"{name}.y"] = module(query, references, value, shapes, padding)
        got[f"{name}.locations"] = module.locations(query, references, shapes)
        got[f"{name}.weights"] = module.weights(query)
    return got


def transformer(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs = arrays_of(case)
    module = DeformableTransformer(DIM, HEADS, LEVELS, POINTS, 4, 4, 2048, 0.1, TextQueries(5, DIM))
    load(module, "transformer.", state)
    height, width = inputs["image_size"]
    padding = torch.ones(len(inputs["valid_hw_per_image"]), height, width, dtype=torch.bool)
    for image, (h, w) in zip(padding, inputs["valid_hw_per_image"], strict=True):
        image[:h, :w] = False
    levels = [inputs[f"src{i}"] for i in range(LEVELS)]
    paddings = [resize_padding(padding, x.shape[-2:]) for x in levels]
    positions = [sine_2d(p, DIM) for p in paddings]
    sentence = inputs["sentence"].expand(len(padding), -1)
    decoded = module(levels, paddings, positions, sentence)
    got = {"hs": decoded.states, "inter_references": decoded.boxes, "init_reference": decoded.references[0]}
    for i in range(LEVELS):
        got.update({f"mask{i}": paddings[i].long(), f"pos{i}": positions[i], f"memory{i}": decoded.memory[i]})
    return got


def criterion(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs = arrays_of(case)
    targets = next(value for name, value in inputs.items() if name.startswith("targets"))
    height, width = inputs["image_size"]
    queries = ClipBatch(
        frames=torch.zeros(len(targets), len(targets[0]["valid"]), 3, height, width),
        padding=torch.zeros(len(targets), height, width, dtype=torch.bool),
        sizes=torch.tensor([[height, width]] * len(targets)),
        expressions=(None,) * len(targets),
        masks=tuple(ellipse(t, t["valid"], [height, width]) for t in targets),
        boxes=torch.tensor([t["boxes_cxcywh"] for t in targets]),
        valid=torch.tensor([t["valid"] for t in targets]) == 1,
    )
    count = sum(name.startswith("logits.") for name in inputs)
    layers = [
        Prediction(inputs[f"half_masks.{k}"], inputs[f"logits.{k}"][..., 0], inputs[f"boxes.{k}"], stride=2)
        for k in range(count)
    ]
    found = RefinedCriterion()
    low, full = make_targets(queries, (height // 2, width // 2), 2), make_targets(queries, (height, width), 1)
    frames = float(max(1, sum(sum(t["valid"]) for t in targets)))
    terms = [
        found.refined_layer(layer, low, full, frames, lambda _, k=k: inputs[f"final_masks.{k}"])  # type: ignore[misc]
        for k, layer in enumerate(layers)
    ]
    losses = found.summed([terms[-1], *terms[:-1]])
    got = {f"match.{k}": match(layer, low, found.costs) for k, layer in enumerate(layers)}
    return {**got, **{f"loss.{k}": x for k, x in losses.terms.items()}, "loss.total": losses.total}


def resize(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    rows = []
    for width, height, size, longest, *_ in case["expected"]["table"]:
        h, w = short_side_size((int(height), int(width)), int(size), int(longest) or None)
        x, y = np.float32(w / width), np.float32(h / height)
        rows.append([width, height, size, longest, w, h, *np.float32([10, 20, 110, 90]) * np.float32([x, y, x, y])])
    return {"table": torch.tensor(np.array(rows, dtype=np.float32))}


def post(case: dict[str, Any], state: State) -> dict[str, Tensor]:
    inputs, got = arrays_of(case), {}
    masks, logits, boxes = (inputs[f"pred_{name}"] for name in ("masks", "logits", "boxes"))
    coarse = case["system"].startswith("ReferFormer")  # masks at stride 4, cut before they are resized to the original
    stride = 4 if coarse else 1
    height, width = (stride * side for side in masks.shape[-2:])
    for n, (size, original) in enumerate(zip(inputs["size_after_resize_hw"], inputs["orig_size_hw"], strict=True)):
        padding, frames = torch.zeros(1, height, width, dtype=torch.bool), torch.zeros(1, 1, 3, height, width)
        clip = ClipBatch(frames, padding, torch.tensor([size]), (None,), (None,))
        prediction = Prediction(masks[n : n + 1], logits[n : n + 1, ..., 0], stride=stride)
        found, scores = frame_candidates(System(), prediction, clip, 0, tuple(original), by_nearest=coarse)
        h, w = original
        corners = to_corners(boxes[n, 0]) * torch.tensor([w, h, w, h])
        order = torch.tensor(scores).argsort(descending=True)
        for name, rows in (("a2d", torch.arange(len(scores))), ("ref", order)):
            got.update({f"{name}.{n}.scores": torch.tensor(scores)[rows], f"{name}.{n}.boxes": corners[rows]})
            got[f"{name}.{n}.masks_rowsum"], got[f"{name}.{n}.masks_colsum"] = (
                found[rows].long().sum(axis) for axis in (-1, -2)
            )
    return got

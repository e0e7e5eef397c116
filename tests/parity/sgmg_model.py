"""Runs whole SgMg and ReferFormer models on reference cases and gathers everything they compute on the way."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torchvision.ops import StochasticDepth

from episodes.batch import ClipBatch, References
from fewshot.losses.criterion import make_targets
from fewshot.losses.matching import match
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.padding import resize_padding
from fewshot.nn.positions import sine_2d
from fewshot.nn.spectral import damping_chain
from fewshot.nn.text import TextEncoder, roberta
from fewshot.systems.referformer.build import build_around as build_referformer
from fewshot.systems.referformer.checkpoint import TABLE as REFERFORMER_TABLE
from fewshot.systems.referformer.config import ReferFormerConfig
from fewshot.systems.registry import find_system
from fewshot.systems.sgmg.build import build_around as build_sgmg
from fewshot.systems.sgmg.checkpoint import TABLE as SGMG_TABLE
from fewshot.systems.sgmg.config import SgMgConfig
from fewshot.systems.sgmg.model import SgMg, mask_features
from fewshot.systems.trunk import LEVELS, Decoding, Trunk, size_of
from fewshot.systems.trunk_checkpoint import SGMG, sizes_of, whose
from fewshot.weights.load import load_official
from tests.parity.cma_model import GivenTokens
from tests.parity.sgmg_reference import array_of, ellipse, mismatches, official_of

GATE = re.compile(r"^input_fft(_post)?\.\d\.(laplace|fc)\.")  # parameters of a spectral filter's gate
COUNTERS = ("relative_position_index", "position_ids")  # integers that follow from the shapes
ALL_REFINED = ("refcoco", "refcoco+", "refcocog")


def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of a whole model."""
    model = model_of(case, folder)
    queries = clips_of(case, model)
    training = case["kind"] == "train"
    model.train(training).zero_grad()
    with torch.set_grad_enabled(training), recorded(model) as calls:
        features = given = model.with_features(queries)
        if case["dataset_branch"] in ("a2d", "jhmdb"):  # of each clip, the annotated frame alone
            chosen = tuple(t["valid_indices"] for t in case["inputs"]["targets"])
            queries, given, features = (
                replace(queries, asked=chosen),
                replace(given, asked=chosen),
                given.one_frame(chosen),
            )
            rows = torch.arange(len(chosen)) * queries.frames.shape[1] + torch.tensor(chosen)
        prediction = model(given, model.encode_reference(References(expressions=queries.expressions)))
        got = {**taps(model, calls, queries, features), **outputs(prediction, calls)}
        if features is not given:
            got.update({name: x[rows] for name, x in got.items() if name.startswith(("proj.", "fft."))})
        problems: list[str] = []
        if training:
            losses = model.losses(prediction, queries)
            got.update(training_outputs(model, prediction, calls, queries, losses))
            losses.total.backward()
            got.update(gradients(model, case))
            problems = gradient_problems(case, got.pop("grad.norms"), bool(queries.padding.any()))
            case["expected"].pop("grad.norms", None)
    return problems + mismatches(case, got, tolerance)


def tolerance(name: str) -> float:
    """Allowed error of an array relative to its largest value."""
    if "class_logits" in name or "pred_logits" in name:
        # Sums whose terms cancel, 30 times smaller than the states (which agree to 1e-6) that they are made of. In
        # float64 this model is up to 1e-5 from the cases and in float32 1.7e-5 from itself in float64; with the words'
        # attention, all attention or the sampling summed in another order it is 0.3e-5 to 2.8e-5 from the cases.
        return 3e-5
    if name.startswith("loss.loss_mask"):
        # Masks reach 300, so that rounding moves the probabilities at the border by 1e-4: one term is off by 1.1e-5,
        # and by 0.8e-5 where this model runs in float64.
        return 2e-5
    return 1e-3 if name.startswith("grad") else 1e-5


# ---------------------------------------------------------------------------------------------------- model and clips


def model_of(case: dict[str, Any], folder: Path) -> Trunk:
    """The model of a case with its parameters, dropout off, its captions known."""
    model = _model((folder / case["keys"]).resolve())
    for parameter in model.text.parameters():
        parameter.requires_grad_(not case["model_args"]["freeze_text_encoder"])
    if isinstance(model, SgMg):
        model.refine = "all" if case["dataset_branch"] in ALL_REFINED else "best"
    inputs, tokens = case["inputs"], model.text.tokenizer
    rows = zip(inputs["captions"], inputs["input_ids"], inputs["attention_mask"], strict=True)
    tokens.known.update({caption["text"]: (ids, attention) for caption, ids, attention in rows})
    return model


def forget_models() -> None:
    """Free the memory of the last model."""
    _model.cache_clear()


@lru_cache(maxsize=1)
def _model(keys: Path) -> Trunk:
    state = official_of({"keys": keys.name}, keys.parent)
    text = TextEncoder(roberta(), GivenTokens())
    settings = {**sizes_of(state), "dropout": 0.0, "absent_boxes": True, "masks_per_clip": True}
    model: Trunk
    if whose(state) == SGMG:
        model = build_sgmg(SgMgConfig(**settings), text)
    else:
        model = build_referformer(ReferFormerConfig(**settings), text)
    for module in model.modules():
        if isinstance(module, StochasticDepth):
            module.p = 0.0
        if isinstance(module, nn.Dropout):
            module.p = 0.0
    model.text.encoder.config.attention_probs_dropout_prob = 0.0
    report = load_official(model, state, str(keys), find_system(model.name).plan)
    assert all(key.endswith(COUNTERS) for key in report.ignored), str(report)
    assert report.used + len(report.ignored) == report.total == len(state), str(report)
    return model


def clips_of(case: dict[str, Any], model: Trunk) -> ClipBatch:
    """The clips of a case, padded as it says, with targets in training."""
    inputs = case["inputs"]
    clips = [array_of(recipe) for recipe in inputs["clips"]]
    sides = torch.tensor([clip.shape[-2:] for clip in clips])
    multiple = padding_of(inputs["padding"])
    height, width = (int(-(-side // multiple) * multiple) for side in sides.amax(0))
    padding = torch.ones(len(clips), height, width, dtype=torch.bool)
    for pad, (h, w) in zip(padding, sides.tolist(), strict=True):
        pad[:h, :w] = False
    frames = torch.stack([F.pad(c, (0, width - c.shape[-1], 0, height - c.shape[-2])) for c in clips])
    captions = tuple(caption["text"] for caption in inputs["captions"])
    masks: tuple[Tensor | None, ...] = (None,) * len(clips)
    boxes = valid = None
    if case["kind"] == "train":
        targets = [in_all_frames(t, len(clip)) for t, clip in zip(inputs["targets"], clips, strict=True)]
        masks = tuple(ellipse(t["mask"], t["valid"], t["size"]) for t in targets)
        boxes = torch.tensor([t["boxes_cxcywh"] for t in targets])
        valid = torch.tensor([t["valid"] for t in targets]) == 1
    return ClipBatch(frames, padding, sides, captions, masks, boxes, valid)


def padding_of(words: str) -> int:
    """The multiple that frames are padded to, as the words of a case say it."""
    found = re.search(r"(?:multiple of|divisibility|rounded up to(?: a multiple of)?) (\d+)", words)
    if found is None and "no padding" not in words:
        raise AssertionError(f"unknown padding of a case: {words!r}")
    return int(found[1]) if found else 1


def in_all_frames(target: dict[str, Any], frames: int) -> dict[str, Any]:
    """A target of the annotated frame alone as one of all frames of its clip."""
    if len(target["valid"]) == frames:
        return target
    (valid,), (box,), asked = target["valid"], target["boxes_cxcywh"], target["valid_indices"]
    there = [k == asked for k in range(frames)]
    still = {**target["mask"], "dy_per_frame": 0, "dx_per_frame": 0}
    boxes = [box if k else [0.0] * 4 for k in there]
    return {**target, "mask": still, "valid": [int(k and valid) for k in there], "boxes_cxcywh": boxes}


# ---------------------------------------------------------------------------------------------------- what is computed


@contextmanager
def recorded(model: Trunk) -> Iterator[dict[str, list[Any]]]:
    """Outputs of the model's parts, in the order of their calls."""
    parts: dict[str, nn.Module] = {
        "text": model.text,
        "words": model.text_projection,
        "fuse": model.fusion,
        "decoded": model.transformer,
        "kernels": model.controller,
        **{f"proj.{i}": x for i, x in enumerate(model.level_projection.levels)},
        **{f"bbox_delta.{i}": x for i, x in enumerate(model.transformer.box_heads)},
        **{f"class_logits.{i}": x for i, x in enumerate(model.score_heads)},
    }
    if isinstance(model, SgMg):
        parts["mso"] = model.optimiser.fine
        parts.update({f"fft.{i}": x for i, x in enumerate(model.filters_before)})
        parts.update({f"fftpost.{i}": x for i, x in enumerate(model.filters_after)})
    else:
        parts["mask_features"] = model.pixel_decoder
        parts.update({f"fpn.cross_attn_{i + 1}": x for i, x in enumerate(model.pixel_decoder.blocks)})
    calls: dict[str, list[Any]] = {name: [] for name in (*parts, "maps")}
    handles = [part.register_forward_hook(_keep(calls[name])) for name, part in parts.items()]
    encode = model.backbone.encode_clips

    def keep_maps(frames: Tensor) -> list[Tensor]:
        calls["maps"].append(encode(frames))
        return calls["maps"][-1]

    model.backbone.encode_clips = keep_maps  # type: ignore[method-assign]
    try:
        yield calls
    finally:
        del model.backbone.encode_clips
        for handle in handles:
            handle.remove()


def _keep(outputs: list[Any]) -> Callable[..., None]:
    return lambda _module, _inputs, output: outputs.append(output)


def taps(model: Trunk, calls: dict[str, list[Any]], queries: ClipBatch, seen: ClipBatch) -> dict[str, Tensor]:
    """Intermediates by their names in the cases. `seen`: the clips with the features and frames that are decoded."""
    decoded, words = calls["decoded"][0], calls["words"][0]
    hidden, pooler, padding = calls["text"][0]
    got = {
        "text.last_hidden": hidden,
        "text.pooler": pooler,
        "text.pad": padding.long(),
        "text.word": words.features,
        "text.sentence": words.sentence,
        "text.pos1d": words.positions.transpose(1, 2),
        "hs": decoded.states,
        "init_reference": decoded.references[0],
        "inter_references": decoded.boxes,
    }
    t, levels = seen.frames.shape[1], seen.features[-LEVELS:]
    got.update({f"backbone.{i}": x for i, x in enumerate(calls["maps"][0])})
    got.update({f"memory.{i}": x for i, x in enumerate(decoded.memory)})
    for i, level in enumerate(levels):
        pads = resize_padding(seen.padding, size_of(level))
        got[f"pad_mask.{i}"] = pads.repeat_interleave(t, 0).long()
        got[f"pos2d.{i}"] = sine_2d(pads, level.shape[1]).repeat_interleave(queries.frames.shape[1], 0)
        got[f"fuse.{i}"] = calls["fuse"][i].transpose(0, 1)
    if isinstance(model, SgMg):
        got.update(_patches(model, decoded, seen, levels))
    else:
        got["mask_features"] = calls["mask_features"][0]
        got.update({f"kernels.{i}": x for i, x in enumerate(calls["kernels"])})
    single = {k: v[0] for k, v in calls.items() if k[-1].isdigit() and v}
    got.update({k: v for k, v in single.items() if not k.startswith("fpn.")})
    got.update({k: v.permute(1, 3, 4, 0, 2).flatten(0, 2) for k, v in single.items() if k.startswith("fpn.")})
    return got


def _patches(model: SgMg, decoded: Any, seen: ClipBatch, levels: tuple[Tensor, ...]) -> dict[str, Tensor]:
    """What SgMg's masks are made of, of every decoder layer."""
    features, t = mask_features(decoded.memory), seen.frames.shape[1]
    got = {"mask_features": features.unflatten(0, (-1, t))}
    for i, damping in enumerate(damping_chain([size_of(x) for x in levels])):
        got[f"filter.pre.{i}"] = got[f"filter.post.{i}"] = damping
    sizes = seen.sizes.repeat_interleave(t, 0)
    with torch.no_grad():
        for i, state in enumerate(decoded.states):
            got[f"kernels.{i}"] = model.controller(state)
            masks = model.predict(Decoding(decoded, [], []), features, sizes, i, len(seen)).masks
            got[f"patch_logits.{i}"] = F.pixel_unshuffle(masks.flatten(1, 2)[:, :, None], 4)
    return got


def outputs(prediction: Prediction, calls: dict[str, list[Any]]) -> dict[str, Tensor]:
    """Outputs by their names in the cases."""
    assert prediction.scores is not None and prediction.boxes is not None
    got = {
        "out.pred_logits": prediction.scores[..., None],
        "out.pred_boxes": prediction.boxes,
        "out.pred_masks": prediction.masks,
    }
    got.update({f"mso.{i}": x for i, x in enumerate(calls.get("mso", []))})  # once for each refined candidate
    scores = [x for k, v in calls.items() if k.startswith("class_logits.") for x in v]
    clips = scores[-1][..., 0].unflatten(0, (len(prediction.masks), -1))
    best = got["selected_query"] = Prediction(clips[..., None, None], clips).best()[:, 0]
    # where the queries stood before the last layer
    points = calls["decoded"][0].boxes[-2][..., :2].unflatten(0, clips.shape[:2])
    alone = prediction.boxes.shape[2] < points.shape[2]
    got["out.reference_points"] = points[torch.arange(len(best)), :, best][:, :, None] if alone else points
    return got


def training_outputs(
    model: Trunk, prediction: Prediction, calls: dict[str, list[Any]], queries: ClipBatch, losses: Losses
) -> dict[str, Tensor]:
    """Losses, matched candidates of each decoder layer, and the masks of those that are refined."""
    got = {**{f"loss.{k}": x for k, x in losses.terms.items()}, "loss.total": losses.total}
    layers = (*prediction.layers, prediction)
    size = (prediction.masks.shape[-2], prediction.masks.shape[-1])
    asked = queries.one_frame(queries.asked) if queries.asked else queries
    targets = make_targets(asked, size, prediction.stride)
    chosen = [match(layer, targets, model.criterion.costs) for layer in layers]  # type: ignore[union-attr,arg-type]
    got.update({f"match.{k}": x for k, x in enumerate(chosen)})
    if isinstance(model, SgMg):
        clips = torch.arange(len(queries))
        got["out.pred_masks_low"] = prediction.masks[clips, :, chosen[-1]]
        last, *earlier = calls["mso"]  # the criterion begins with the final layer
        got.update({f"mso.{k}": x for k, x in enumerate([*earlier, last])})
        got["out.pred_masks"] = F.pixel_shuffle(last, 4)[:, 0].unflatten(0, prediction.masks.shape[:2])
    return got


def gradients(model: Trunk, case: dict[str, Any]) -> dict[str, Tensor]:
    """Norm of the gradient of every parameter, in the order of the case, and of all together."""
    table = SGMG_TABLE if isinstance(model, SgMg) else REFERFORMER_TABLE
    names = case["inputs"].get("grad_names", [])
    norms = {}
    for own, parameter in model.named_parameters():
        if parameter.grad is not None:  # a parameter with two official names is listed under one of them
            official = table.to_official(own)
            norms[next((name for name in official if name in names), official[0])] = float(parameter.grad.norm())
    assert not names or set(norms) == set(names), f"other gradients: {sorted(set(norms) ^ set(names))[:5]}"
    total = math.sqrt(sum(norm**2 for norm in norms.values()))
    return {"grad.norms": torch.tensor([norms[n] for n in names]), "grad.total_norm": torch.tensor(total)}


def gradient_problems(case: dict[str, Any], norms: Tensor, padded: bool) -> list[str]:
    """Norms that are off by more than 1e-3 of themselves.

    The gate of a spectral filter is one number for a whole map, and its gradient a sum in which most cancels. Sampling
    points and ReLUs have kinks: with one part in 1e7 of noise on the frames of a padded case, these norms jump
    between those of the case (to 1.2e-3) and others (3e-3 away, those of this model in float64) with nothing in
    between, and so do those of the offsets by 3e-4: one point is on one side or the other. There 5e-3 are allowed.
    """
    if "grad.norms" not in case["expected"]:
        return []
    expected = case["expected"]["grad.norms"].tolist()
    # a bias of keys shifts all logits of a softmax alike: its gradient is 0, and both norms are rounding noise
    noise = 1e-8 * max(expected)
    return [
        f"gradient of {name}: {ours:.6g}, expected {theirs:.6g}"
        for name, ours, theirs in zip(case["inputs"]["grad_names"], norms.tolist(), expected, strict=True)
        if abs(ours - theirs) > (5e-3 if padded and GATE.search(name) else 1e-3) * theirs + noise
    ]

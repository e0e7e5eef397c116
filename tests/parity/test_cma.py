"""CMA against the official code: every array of every case under `parity/cma`."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.losses.boxes import generalised_iou
from fewshot.losses.criterion import SetCriterion, make_targets
from fewshot.losses.matching import match
from fewshot.losses.segmentation import dice_loss, dice_overlap, focal_cost, focal_loss
from fewshot.nn.affinity import CrossModalAffinity, attend, signed_log_power
from fewshot.nn.deformable_attention import DeformableAttention
from fewshot.nn.deformable_transformer import DeformableTransformer
from fewshot.nn.fpn import CrossModalFPN
from fewshot.nn.fusion import VisionLanguageFusion, Words
from fewshot.nn.mask_head import DynamicMaskHead, aligned_bilinear, cell_centres
from fewshot.nn.outputs import Prediction
from fewshot.nn.positions import sine_1d, sine_2d, sine_box
from fewshot.nn.queries import AnchorQueries, TextQueries, inverse_sigmoid
from fewshot.systems.cma.checkpoint import TABLE
from fewshot.systems.trunk_supports import AffinityState, at_query_grid, which_frames
from fewshot.weights.key_table import check_fit
from tests.parity.cma_model import clips_of, model_of, run_model
from tests.parity.reference import filled, given, mismatches, read_case, rectangles
from tests.shared import SHARED, require_shared

HEADS, POINTS = 8, 4
ELSEWHERE = ("episode sampling", "official J, F")  # cases of the episodes and of the metrics, tested in their rooms


def cases() -> list[Any]:
    """Every folder with a `case.json`, whatever the folder between the system and the case is called."""
    root = SHARED / "parity" / "cma"
    found = sorted(path.parent for path in root.glob("*/*/case.json") if path.parent.parent.name != "keys")
    found = [f for f in found if not json.loads((f / "case.json").read_text()).get("module", "").startswith(ELSEWHERE)]
    return [pytest.param(f, id=f.name, marks=pytest.mark.parity) for f in found or [root / "open"]]


@pytest.mark.parametrize("folder", cases())
def test_case(folder: Path) -> None:
    require_shared(*folder.relative_to(SHARED).parts)
    torch.set_num_threads(1)
    case = read_case(folder)
    got = full(case, folder) if "model" in case else module_runner(case)(case)
    problems = mismatches(case, got, tolerance)
    assert not problems, f"{folder.name}: {len(problems)} of {len(case['expected'])}:\n" + "\n".join(problems)


def tolerance(name: str) -> float:
    """Allowed error of an array relative to its largest value."""
    if name.startswith("loss"):
        return 1e-5
    if name == "grad_total_norm":
        return 1e-3
    if name.startswith("grad"):  # single entries jump where a sampling location crosses a cell border
        return 3e-3
    return 1e-4 if name.endswith("pred_logits") else 2e-5


# ---------------------------------------------------------------------------------------------------- the whole model


def full(case: dict[str, Any], folder: Path) -> dict[str, Tensor]:
    """All intermediates, outputs, and in training mode losses, matching and gradients."""
    model = model_of(case, folder)
    support, query = clips_of(case)
    with torch.set_grad_enabled(case["mode"] == "train"):
        prediction, got = run_model(model, support, query)
    if case["mode"] != "train":
        return got
    losses = model.losses(prediction, query)
    got["loss_total"] = losses.total
    got.update({f"loss.{name}": value for name, value in losses.terms.items()})
    # for one class this logged number of the official code is always the number of frames
    frames = torch.tensor(float(query.frames.shape[1]))
    got.update({name: frames for name in case["expected"] if name.startswith("loss.cardinality_error")})
    check_matching(case["matching"]["indices"], prediction, query)
    losses.total.backward()
    got.update(gradients(model, case))
    return got


def check_matching(indices: list[list[list[int]]], prediction: Prediction, query: ClipBatch) -> None:
    """The matched candidates: final layer first, then the earlier ones."""
    targets = make_targets(query, prediction.masks.shape[-2:], prediction.stride)
    costs = SetCriterion().costs
    chosen = [match(layer, targets, costs).tolist() for layer in (prediction, *prediction.layers)]
    assert chosen == [layer[0] for layer in indices]


def gradients(model: nn.Module, case: dict[str, Any]) -> dict[str, Tensor]:
    """Gradients by official name; their norms are compared here."""
    expected = case["grad_norms"]
    found: dict[str, Tensor] = {}
    for own, parameter in model.named_parameters():
        if parameter.grad is not None:  # a parameter with two official names is listed under one of them
            names = TABLE.to_official(own)
            found[next((name for name in names if name in expected), names[0])] = parameter.grad
    norms = {name: float(grad.norm()) for name, grad in found.items()}
    assert set(norms) == set(expected)
    # a bias of keys shifts all logits of a softmax alike: its gradient is 0, and both norms are rounding noise
    noise = 1e-8 * max(expected.values())
    off = {k: (norms[k], v) for k, v in expected.items() if abs(norms[k] - v) > 1e-3 * v + noise}
    assert not off, f"gradient norms (ours, expected): {off}"
    got = {f"grad.{name}": grad for name, grad in found.items()}
    got["grad_total_norm"] = torch.tensor(math.sqrt(sum(norm**2 for norm in norms.values())))
    return got


# ---------------------------------------------------------------------------------------------------- single modules


def module_runner(case: dict[str, Any]) -> Callable[[dict[str, Any]], dict[str, Tensor]]:
    """The function for a module case, by what the case says it is."""
    runners = {
        "affinity block": affinity,
        "vision-language fusion": fusion,
        "multi-scale deformable attention": deformable_attention,
        "deformable transformer": transformer,
        "cross-modal FPN": pixel_decoder,
        "dynamic mask head": mask_head,
        "set criterion": criterion,
        "small functions": functions,
    }
    for start, runner in runners.items():
        if case["module"].startswith(start):
            return torch.no_grad()(runner)
    raise AssertionError(f"unknown kind of case: {case['module']!r}")


def inputs_of(case: dict[str, Any]) -> dict[str, Tensor]:
    """Inputs under their short names, without the name of the case."""
    return {name.split(":", 1)[1]: given(recipe) for name, recipe in case["inputs"].items()}


def load(module: nn.Module, prefix: str, case: dict[str, Any]) -> nn.Module:
    """Official parameters into a module of ours, strictly."""
    own = {TABLE.to_own(name): value for name, value in filled(case["state"]).items()}
    state = {str(name).removeprefix(prefix): value for name, value in own.items()}
    check_fit(state, module.state_dict())
    module.load_state_dict(state)
    return module.eval()


def padding_of(fractions: list[list[float]], size: list[int]) -> Tensor:
    """Padding masks from valid fractions of height and width, rounded up."""
    masks = torch.ones(len(fractions), *size, dtype=torch.bool)
    for mask, (fh, fw) in zip(masks, fractions, strict=True):
        mask[: math.ceil(size[0] * fh), : math.ceil(size[1] * fw)] = False
    return masks


def words_of(features: Tensor, valid: list[int]) -> Words:
    """Words `(N, L, C)` of which the first `valid` are real."""
    padding = torch.arange(features.shape[1]) >= torch.tensor(valid)[:, None]
    return Words(features, padding, sine_1d(padding, features.shape[-1]), features[:, 0])


def affinity(case: dict[str, Any]) -> dict[str, Tensor]:
    variant = case["module"].split(" of the ")[1].split()[0]
    channels = case["state"]["conv_q.weight"][0][1]
    block = load(CrossModalAffinity(channels, 0.1, variant), "affinity.", case)
    inputs, got = inputs_of(case), {}
    masks = rectangles(case["support_masks"]["rects"], case["support_masks"]["shape"][1:])
    chosen = which_frames(len(masks), variant, "middle")
    levels = tuple(inputs[f"support.{i}"][None, None, chosen] for i in range(len(case["levels"]["query"])))
    state = AffinityState(levels, ((masks[chosen],),))
    norms: list[Tensor] = []
    block.norm.register_forward_hook(lambda _m, _i, output: norms.append(output))
    for i in range(len(levels)):
        norms.clear()
        query = inputs[f"query.{i}"][None]
        got[f"out.{i}"] = block(query, at_query_grid(state, i, query.shape[-2:]))[0]
        got.update({f"{name}_norm.{i}": norm for name, norm in zip(("self", "cross"), norms, strict=False)})
    return got


def fusion(case: dict[str, Any]) -> dict[str, Tensor]:
    inputs = inputs_of(case)
    words = words_of(inputs["memory"].transpose(0, 1), case["valid_text_tokens"])
    module = load(VisionLanguageFusion(inputs["tgt"].shape[-1], HEADS), "fusion.", case)
    out = module(inputs["tgt"].transpose(0, 1), words)
    return {"text_pos": words.positions.transpose(0, 1), "out": out.transpose(0, 1)}


def deformable_attention(case: dict[str, Any]) -> dict[str, Tensor]:
    inputs = inputs_of(case)
    query, ref, src, shapes = inputs["query"], inputs["ref"], inputs["src"], [tuple(s) for s in case["levels"]]
    attention = DeformableAttention(query.shape[-1], HEADS, len(shapes), POINTS)
    load(attention, next(TABLE.to_own(k) or "" for k in case["state"]).rsplit("sampling_offsets", 1)[0], case)
    padding = torch.zeros(src.shape[:2], dtype=torch.bool)
    padded = next((int(word) for word in case["padding"].split() if word.isdigit()), 0)
    padding[:, src.shape[1] - padded :] = True
    return {
        "out": attention(query, ref, src, shapes, padding),
        "sampling_locations": attention.locations(query, ref, shapes),
        "attention_weights": attention.weights(query),
    }


def transformer(case: dict[str, Any]) -> dict[str, Tensor]:
    inputs, state = inputs_of(case), case["state"]
    count, dim = state["tgt_embed.weight" if case["use_dab"] else "query_embed.weight"][0]
    queries = AnchorQueries(count, dim) if case["use_dab"] else TextQueries(count, dim)
    layers = [
        len({k.split(".")[3] for k in state if k.startswith(f"transformer.{s}.layers.")})
        for s in ("encoder", "decoder")
    ]
    feedforward = state["transformer.encoder.layers.0.linear1.weight"][0][0]
    sizes = (dim, HEADS, len(case["levels"]), POINTS, *layers, feedforward, 0.1)
    module = load(DeformableTransformer(*sizes, queries), "transformer.", case)
    levels = [inputs[f"src.{i}"] for i in range(len(case["levels"]))]
    paddings = [padding_of(case["valid_fraction_per_frame"], size) for size in case["levels"]]
    positions = [sine_2d(p, dim) for p in paddings]
    got = {f"pos.{i}": p for i, p in enumerate(positions)}
    module.encoder[-1].register_forward_hook(lambda _m, _i, output: got.update(encoder_memory=output))
    for k, layer in enumerate(module.decoder):
        layer.register_forward_pre_hook(lambda _m, args, k=k: got.update({f"query_pos.{k}": args[1]}))
    sentence = inputs["sentence"].expand(levels[0].shape[0], -1)
    decoded = module(levels, paddings, positions, sentence)
    start = queries.start(sentence)[1]
    got.update({f"memory_level.{i}": m for i, m in enumerate(decoded.memory)})
    got.update(decoder_states=decoded.states, references=decoded.boxes)
    got["init_reference"] = start[0] if case["use_dab"] else start
    return got


def pixel_decoder(case: dict[str, Any]) -> dict[str, Tensor]:
    inputs, state = inputs_of(case), case["state"]
    dim, channels = state["pixel_decoder.adapter_1.weight"][0][:2]
    feedforward = state["pixel_decoder.cross_attn_1.linear1.weight"][0][0]
    module = load(CrossModalFPN(channels, dim, HEADS, feedforward, 0.1), "pixel_decoder.", case)
    maps = [inputs["feat.0"], *(inputs[f"memory.{i}"] for i in range(3))]
    paddings = [padding_of(case["valid_fraction"], size) for size in case["sizes_stride_4_to_32"]]
    got: dict[str, Tensor] = {}

    def keep(name: str, reshape: Callable[[Tensor], Tensor]) -> Callable[..., None]:
        return lambda _m, _i, output: got.update({name: reshape(output)})

    for i, (block, layer) in enumerate(zip(module.blocks, module.layers, strict=True), start=1):
        block.register_forward_hook(keep(f"cross_attn_{i}", lambda x: x.permute(1, 3, 4, 0, 2).flatten(0, 2)))
        layer.register_forward_hook(keep(f"layer_{i}", lambda x: x))
    valid = case["valid_text_tokens"]
    words = words_of(inputs["words"], valid if isinstance(valid, list) else [valid])
    got["out"] = module(maps, paddings, [sine_2d(p, dim) for p in paddings], words)
    return got


def mask_head(case: dict[str, Any]) -> dict[str, Tensor]:
    inputs = inputs_of(case)
    features = inputs["features"]  # (clips, frames, C, h, w); parameters and points are (clips, frames * queries, ...)
    clips, frames = features.shape[:2]
    head = DynamicMaskHead(features.shape[2])
    per_frame = {k: inputs[k].unflatten(1, (frames, -1)).flatten(0, 1) for k in ("params", "refs")}
    sizes = torch.tensor(case["sizes_h_w"]).repeat_interleave(frames, 0)
    out = head(features.flatten(0, 1), per_frame["params"], per_frame["refs"], sizes)
    return {"out": out.unflatten(0, (clips, frames)).flatten(1, 2)}


def criterion(case: dict[str, Any]) -> dict[str, Tensor]:
    inputs, targets = inputs_of(case), case["targets"]
    names = ["final", *sorted({k.split(".")[0] for k in inputs} - {"final"})]
    layers = [
        Prediction(inputs[f"{k}.masks"], inputs[f"{k}.logits"][..., 0], inputs[f"{k}.boxes"], stride=4) for k in names
    ]
    height, width = case["mask_size_padded"]
    query = ClipBatch(
        frames=torch.zeros(len(targets), len(targets[0]["valid"]), 3, height, width),
        padding=torch.zeros(len(targets), height, width, dtype=torch.bool),
        sizes=torch.tensor([t["size"] for t in targets]),
        expressions=(None,) * len(targets),
        masks=tuple(rectangles(t["rects"], t["size"]) for t in targets),
        boxes=torch.tensor([t["boxes"] for t in targets]).float(),
        valid=torch.tensor([t["valid"] for t in targets]) == 1,
    )
    prediction = Prediction(layers[0].masks, layers[0].scores, layers[0].boxes, 4, tuple(layers[1:]))
    expected = [[clip for pair in layer for clip in pair[0]] for layer in case["matching"]["indices"]]
    check_matching([[chosen] for chosen in expected], prediction, query)
    return SetCriterion()(prediction, query).terms


def functions(case: dict[str, Any]) -> dict[str, Tensor]:
    x, notes = inputs_of(case), {k: [int(n) for n in re.findall(r"\d+", v)] for k, v in case["notes"].items()}
    x["x"][0, 0] = 0.0
    n, h, w, _, valid_h, valid_w = notes["sine2d"][:6]
    mask2d = torch.zeros(n, h, w, dtype=torch.bool)
    mask2d[0, valid_h:], mask2d[0, :, valid_w:] = True, True
    n, length, _, valid = notes["sine1d"][:4]
    mask1d = torch.zeros(n, length, dtype=torch.bool)
    mask1d[0, valid:] = True
    truth, count = (x["tg"] > 0.5).float(), notes["focal/dice"][0]
    queries, keys, values = x["Q"].transpose(1, 2), x["K"], x["V"].transpose(1, 2)
    got = {
        "signed_log_power": signed_log_power(x["x"]),
        "inverse_sigmoid": inverse_sigmoid(x["u"]),
        "sine2d": sine_2d(mask2d, 256),
        "sine1d": sine_1d(mask1d, 256).transpose(1, 2),
        "sine_box4": sine_box(x["pt"], 128),
        "sine_box2": sine_box(x["pt"][..., :2], 128),
        "giou": generalised_iou(x["b1"][:, None], x["b2"]),
        "focal": focal_loss(x["lg"], truth).mean(1).sum() / count,
        "dice": dice_loss(x["lg"], truth).sum() / count,
        "focal_pair": focal_cost(x["lg"], truth),
        "dice_pair": dice_overlap(x["lg"], truth),
        "attend_out": attend(queries, keys, values).transpose(1, 2),
        "attend_prob": attend(queries, keys, torch.eye(keys.shape[1])[None]).transpose(1, 2),  # one-hot values
    }
    for name in case["expected"]:
        numbers = [int(n) for n in re.findall(r"\d+", name)]
        if name.startswith("aligned_bilinear"):
            got[name] = aligned_bilinear(x["z"], *numbers)
        if name.startswith("locations"):
            got[name] = cell_centres((numbers[0], numbers[1]), numbers[2])
    return got

"""Runs the reference cases of single modules of UniVS, from official tensors to named arrays."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from einops import rearrange
from scipy.optimize import linear_sum_assignment
from torch import Tensor, nn

from fewshot.nn.attention import MultiheadAttention
from fewshot.nn.positions import sine_in_time, sine_points_in_time
from fewshot.nn.swin import Swin, SwinSize
from fewshot.systems.univs.checkpoint import table
from fewshot.systems.univs.decoder import Prompts, alikeness
from fewshot.systems.univs.decoder_layers import cells_not_to_look_at, unblocked, who_may_not_meet
from fewshot.systems.univs.draws import FixedDraws
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.pixel_decoder import PixelDecoder
from fewshot.systems.univs.tracking import (
    both_ways,
    box_overlaps,
    consistency,
    likeness,
    mask_overlaps,
    quality,
    recency,
)
from fewshot.systems.univs.visual_prompts import (
    Scene,
    VisualPrompts,
    box_of_masks,
    box_prompts,
    cells_of_boxes,
    mask_prompts,
    point_prompts,
    relative,
)
from fewshot.systems.univs.words_in_pixels import ReadingPixelDecoder
from fewshot.weights.key_table import check_fit, convert
from tests.parity.reference import filled
from tests.parity.univs_reference import array, concepts, mismatches, packed, rectangle, tolerance, written

Arrays = dict[str, Tensor]
LONGEST = 128


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of one module."""
    runner, close = runner_of(case["module"])
    keys = folder / "keys.json"
    official = filled(json.loads(keys.read_text())) if keys.is_file() else {}
    arrays = runner(case["args"], official)
    # the attention masks that the official prompt encoder also returns are used nowhere
    return mismatches(case["expected"], arrays, tolerances=close, unused=(".attn_true",))


def load(module: nn.Module, official: Mapping[str, Tensor], place: str, only: Iterable[str] = ("",)) -> nn.Module:
    """The module, which lies at `place` in the system, in evaluation mode, with every official tensor in it."""
    keys = table()
    own, ignored, _ = convert(official, keys)
    assert {name for key in own for name in keys.to_official(key)} >= set(official) - set(ignored)
    own = {key.removeprefix(place): x for key, x in own.items() if key.startswith(place)}
    check_fit(own, module.state_dict())
    module.load_state_dict(own)
    return module.eval()


def run_positions(args: Mapping[str, Any], official: Mapping[str, Tensor]) -> Arrays:
    """Codes of cells and points in space and time."""
    size, channels = tuple(args["x"][-2:]), args["x"][2]
    there = torch.tensor(args["frame_indices"][0]) / LONGEST
    count = len(there)
    inside = (torch.arange(count) + 1) / (count + 1e-6)  # kind "FixedT": moments of the clip
    points = written(args["points"])[0].expand(count, -1, -1)
    at = torch.full((count,), args["point frame index"] / LONGEST)
    decoder = PixelDecoder((32, 32, 32, 32), 256, 8, 1, 32)
    return {
        "arbitrary": sine_in_time(there, size, channels)[None, :, ::3],
        "arbitrary_points": sine_points_in_time(at, points, channels),
        "fixed": sine_in_time(inside, size, channels)[None, :, ::3],
        "fixed_points": sine_points_in_time(inside, points, channels),
        "sine2d": decoder.body.position_embedding((1, channels, *size), "cpu", torch.float32),
    }


def run_prompts(args: Mapping[str, Any], official: Mapping[str, Tensor]) -> Arrays:
    """Prompts from masks, soft masks, boxes and points."""
    (feature,), (positions,) = written(args["feature"]), written(args["pos"])
    size = (8 * feature.shape[1], 8 * feature.shape[2])
    scene = Scene(feature, positions, torch.tensor(args["key_fid_original"] / LONGEST))
    masks = torch.stack([rectangle(r, *size) for r in args["masks (8x size) rects y0,y1,x0,x1"]])
    boxes = relative(box_of_masks(masks), size)
    count, draws = args["R (dense points)"], FixedDraws()
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2
    found = {
        "mask": mask_prompts(scene, masks.float(), boxes, count, draws),
        "soft": mask_prompts(scene, masks * 0.6, boxes, count, draws),
        "box": box_prompts(scene, boxes, count, draws),
        "point": point_prompts(scene, centres, count),
    }
    arrays = {"boxes": boxes}
    for kind, prompts in found.items():
        arrays.update({f"{kind}.{key}": value for key, value in stored(prompts).items()})
    return arrays


def stored(prompts: VisualPrompts) -> Arrays:
    """The slices of prompts that a case stores. The official ones are repeated over the frames, ours are not."""
    return {
        "points": prompts.points,
        "pe": prompts.positions[:, ::4, ::2],
        "feats": prompts.tokens[:, ::4, ::2],
        "pe_T_equal": torch.zeros(()),
    }


def run_pixel_decoder(args: Mapping[str, Any], official: Mapping[str, Tensor]) -> Arrays:
    """Levels and mask features from features of the backbone."""
    sizes, words = ((256, 512, 1024, 2048), 256, 8, 6, 1024), args.get("lang")
    plain = ReadingPixelDecoder(*sizes, text_dim=640) if words else PixelDecoder(*sizes)
    module = load(plain, official, "pixel_decoder.")
    assert isinstance(module, PixelDecoder)
    taps = [written(args["features"].replace("resK", f"res{k}"), C=2 ** (6 + k), stride=2**k)[0] for k in (2, 3, 4, 5)]
    before: list[Tensor] = []
    module.body.mask_projection.register_forward_pre_hook(lambda _, inputs: before.append(inputs[0]))
    arrays: Arrays = {}
    if isinstance(module, ReadingPixelDecoder):
        levels, mask_features, arrays["lang"] = module.read(taps, written(str(words))[0])
    else:
        levels, mask_features = module(taps)
    position = module.body.position_embedding(levels[1].shape, "cpu", torch.float32)[0]
    return {
        **arrays,
        "mask_features": mask_features[:, ::8],
        "before_1x1": before[0][:, ::8],
        "level0": levels[0],
        "level1": levels[1],
        "level2": levels[2][:, ::2],
        "encoder.pos_lvl": position[::16],
    }


def run_swin(args: Mapping[str, Any], official: Mapping[str, Tensor]) -> Arrays:
    """The four taps of a Swin transformer."""
    size = SwinSize(args["embed_dim"], tuple(args["depths"]), args["window"])
    module = load(Swin(size), official, "backbone.")
    taps = module(written(args["input"])[0])
    return {f"res{k + 2}": tap[:, ::4] for k, tap in enumerate(taps)}


def run_decoder(args: Mapping[str, Any], official: Mapping[str, Tensor]) -> Arrays:
    """The pieces of the decoder one by one."""
    from tests.parity.univs_model import loaded

    model = loaded(official)
    g, count, length, frames = (args[k] for k in ("tag", "Qp", "L", "NT"))
    everything = model.sizes.num_queries + count
    learnable = model.sizes.num_queries
    rows = {k: array(f"{g}:{k}", [everything, frames, 256], -1, 1) for k in ("out", "qe")}
    x, place = (rearrange(rows[k], "q t c -> 1 q t c") for k in ("out", "qe"))
    dense = [array(f"{g}:{k}", [count, length, frames, 256], -1, 1).transpose(1, 2)[None] for k in ("fd", "pd")]
    with_place = dense[1] if args["prompt positional"] else None
    decoder = model.decoder
    arrays: Arrays = {}
    for layer in (0, 5):
        read = decoder.prompt_attention[layer](x[:, learnable:], place[:, learnable:], dense[0], with_place)
        arrays[f"proca{layer}"] = read[0]
    for kind in ("sep", "sep-blocked", "sep-l2p"):
        apart = who_may_not_meet(kind, learnable, count, 2)
        assert apart is not None
        arrays[f"selfmask.{kind}"] = packed(apart)
    arrays["selfmask.sep.grounding"] = arrays["selfmask.sep-blocked"]
    arrays.update(rounds(model, g, x, place, learnable, count, frames))
    arrays.update(heads(model, g, x, learnable, count, frames))
    arrays.update(language(model, g, count, frames))
    return arrays


def rounds(model: UniVS, g: str, x: Tensor, place: Tensor, learnable: int, count: int, frames: int) -> Arrays:
    """Masked cross-attention, self-attention and feed-forward of layer 4."""
    decoder = model.decoder
    blocked = array(f"{g}:am", [frames, learnable + count, 35], 0, 1) > 0.6
    source, code = (array(f"{g}:{k}", [35, frames, 256], -1, 1).transpose(0, 1) for k in ("src", "pos"))
    by_frame, places = (rearrange(y, "1 q t c -> t q c") for y in (x, place))
    cross = decoder.cross_attention[4](by_frame, places, source + code, source, unblocked(blocked))
    flat = rearrange(cross, "t q c -> 1 (q t) c")
    flat_places = rearrange(place, "1 q t c -> 1 (q t) c")
    apart = who_may_not_meet("sep", learnable, count, frames)
    met = decoder.self_attention[4](flat, flat_places, flat + flat_places, flat, apart)
    return {
        "cross": rearrange(cross, "t q c -> q t c")[::8],
        "self": met[0][::16],
        "ffn": decoder.feedforward[4](met)[0][::16],
    }


def heads(model: UniVS, g: str, x: Tensor, learnable: int, count: int, frames: int) -> Arrays:
    """The heads for classes and for expressions."""
    features = array(f"{g}:mf", [1, frames, 256, 8, 10], -1, 1)[0]
    found = model.decoder.heads(x, features, learnable, None, concepts(), None)
    sentences = array(f"{g}:sent", [count, frames, 640], -1, 1)[None, :, 0]
    asked = Prompts(x[:, learnable:], x[:, learnable:], x[:, learnable:, :, None], None, sentences)
    said = model.decoder.heads(x, features, learnable, asked, None, None)
    return {
        "head.logits.s41": found.logits[..., ::41],
        "head.masks.s4": found.masks[:, ::4],
        "head.attn": packed(cells_not_to_look_at(found.masks, (5, 7))),
        "ghead.logits": said.logits,
        "ghead.masks.prompt": said.masks[:, learnable:],
        "ghead.reid": alikeness(said.embeddings, learnable)[:, ::4],
    }


def language(model: UniVS, g: str, count: int, frames: int) -> Arrays:
    """Words that read the levels, and where they look on the coarsest one."""
    words = array(f"{g}:lang", [count * 78, frames, 256], -1, 1).transpose(0, 1)
    image = torch.cat([array(f"{g}:s{i}", [n, frames, 256], -1, 1) for i, n in enumerate((6, 20, 80))]).transpose(0, 1)
    layer = model.text_prompts.vision
    read = layer(words, None, image, image)
    weights = where_they_look(layer.attention, words[:, ::78], image)  # of the sentences
    coarsest = (weights / weights.amax(-1, keepdim=True))[..., :6]
    return {
        "lang2vis": rearrange(read, "t w c -> w t c")[::26],
        "l2v.w0": rearrange(coarsest, "t p (h w) -> 1 p t h w", h=2),
    }


def where_they_look(attention: MultiheadAttention, query: Tensor, key: Tensor) -> Tensor:
    """Mean weights of the heads, `(N, L, C), (N, S, C) -> (N, L, S)`."""
    weights, biases = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
    q, k = (
        (x @ w.T + b).unflatten(-1, (attention.heads, -1))
        for x, w, b in zip((query, key), weights[:2], biases[:2], strict=True)
    )
    return (torch.einsum("nlhd,nshd->nhls", q, k) / q.shape[-1] ** 0.5).softmax(-1).mean(1)


def run_tracking(args: Mapping[str, Any], official: Mapping[str, Tensor]) -> Arrays:
    """How things are told to be one."""
    (stored,), (masks,) = written(args["t"]), written(args["m"])
    stored[2, :2] = 0
    noise, others = written(args["c"])
    again = json.loads(args["c"].split("cat(t[")[1].split("]")[0] + "]")  # which of the stored are met again
    new = torch.cat([stored[again, -noise.shape[1] :] + noise, others])
    height, width = masks.shape[-2:]
    boxes = box_of_masks(masks > 3)
    alike, softmax = likeness(stored, new), both_ways(stored, new)
    softmax = torch.where(softmax < 0.1, 0.0, softmax)
    consistent = consistency(stored, new[: len(stored)])
    overlaps = box_overlaps(boxes / 11, boxes / 11)
    arrays = {
        "cons.keep": (consistent > 0.3).to(torch.uint8),
        "cons.sim": consistent,
        "tw": recency(5),
        "quality": quality(masks),
        "boxes": boxes,
        "biou": overlaps,
        "box2mask": cells_of_boxes(relative(boxes, (height, width)).flatten(0, 1), (height, width))
        .unflatten(0, boxes.shape[:2])
        .to(torch.uint8),
        "miou": mask_overlaps(masks > 0, masks > 1).permute(2, 0, 1),
    }
    for name, similarity in (("cos", alike), ("bi", softmax)):
        rows, columns = linear_sum_assignment(-similarity.numpy())
        arrays[f"{name}.idx"] = torch.stack([torch.from_numpy(rows), torch.from_numpy(columns)])
        arrays[f"{name}.sim"] = similarity[rows, columns]
    return arrays


Runner = Callable[[Mapping[str, Any], Mapping[str, Tensor]], Arrays]
RUNNERS: dict[str, tuple[Runner, Callable[[str], float]]] = {
    "positional encodings": (run_positions, tolerance),
    "VisualPromptEncoder": (run_prompts, tolerance),
    "pixel decoder": (run_pixel_decoder, lambda _: 1e-5),
    "Swin-": (run_swin, lambda _: 1e-5),
    "decoder pieces": (run_decoder, tolerance),
    "tracking helpers": (run_tracking, tolerance),
}


def runner_of(module: str) -> tuple[Runner, Callable[[str], float]]:
    """What runs the cases of a module, by how its name begins. Another one is an error, not a skip."""
    found = [runner for start, runner in RUNNERS.items() if module.startswith(start)]
    assert len(found) == 1, f"unknown module: {module}"
    return found[0]

"""SgMg and ReferFormer as systems: checkpoints, sizes of frames, refinement, supports, beyond the contract."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import References
from fewshot.cli.runs import MetaTrainConfig
from fewshot.config.sections import TrainConfig
from fewshot.nn.positions import sine_2d
from fewshot.nn.text import TextEncoder, WordHashTokenizer, roberta
from fewshot.systems.cma.checkpoint import plan as plan_of_cma
from fewshot.systems.config import BackboneConfig
from fewshot.systems.parts import build_backbone
from fewshot.systems.referformer.build import build_around as build_referformer
from fewshot.systems.referformer.checkpoint import TABLE as REFERFORMER
from fewshot.systems.referformer.config import SMALL as SMALL_REFERFORMER
from fewshot.systems.referformer.config import ReferFormerConfig
from fewshot.systems.registry import find_system, make_system
from fewshot.systems.sgmg.build import build_around as build_sgmg
from fewshot.systems.sgmg.checkpoint import TABLE as SGMG
from fewshot.systems.sgmg.config import SMALL as SMALL_SGMG
from fewshot.systems.sgmg.config import SgMgConfig
from fewshot.systems.sgmg.model import PatchPrediction, SgMg
from fewshot.systems.trunk import Trunk
from fewshot.systems.trunk_checkpoint import for_backbone, sizes_of, whose
from fewshot.testing import noise_clips
from fewshot.training.meta import start_system
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.key_table import convert
from fewshot.weights.load import load_official
from tests.shared import SHARED, require_shared

KINDS: dict[str, Any] = {
    "SgMg": (SGMG, SgMgConfig, build_sgmg),
    "ReferFormer": (REFERFORMER, ReferFormerConfig, build_referformer),
}
COUNTERS = ("relative_position_index", "position_ids")  # integers that follow from the shapes
RELATED = {"affinity": "cma", "affinity_init": "similarity"}


def key_lists() -> list[Any]:
    """Every list of official keys, by name."""
    found = sorted((SHARED / "parity" / "sgmg" / "keys").glob("*.json"))
    return [pytest.param(path.name, marks=pytest.mark.parity, id=path.stem) for path in found] or ["swin_t.json"]


def official(name: str) -> dict[str, Tensor]:
    """Tensors without values of a list of official keys."""
    keys = json.loads(require_shared("parity", "sgmg", "keys", name).read_text())
    return {key: torch.empty(shape, device="meta") for key, (shape, _) in keys.items()}


def small(settings: Any, seed: int = 0) -> Any:
    return make_system(settings, seed).eval()


def segment(system: Trunk, size: tuple[int, int] = (64, 64), supports: bool = False, seed: int = 2) -> Any:
    """Prediction of two noise clips."""
    queries = noise_clips(2, 2, size, seed=seed)
    references = References(noise_clips(2, 2, size, seed=1) if supports else None, int(supports), queries.expressions)
    return system(queries, system.encode_reference(references))


BODY = "backbone.0.body."


def deeper(tensors: dict[str, Tensor], stage: str, blocks: int) -> dict[str, Tensor]:
    """The tensors with the second block of a stage as often as it takes."""
    second = {key: x for key, x in tensors.items() if key.startswith(f"{stage}1.")}
    more = {key.replace(f"{stage}1.", f"{stage}{k}."): x for k in range(blocks) for key, x in second.items()}
    return {**more, **tensors}


def of_images(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Those of a Video-Swin-T as they are with a Swin-T of images: windows of 7x7, patches of 4x4, normed taps."""
    found = {key: x for key, x in tensors.items() if not key.startswith(BODY)}
    for key, x in tensors.items():
        if key.startswith(BODY):
            if key.endswith("relative_position_bias_table"):
                x = x.new_empty(13 * 13, x.shape[1])
            if key.endswith("relative_position_index"):
                x = x.new_empty(49, 49)
            found[key] = x[:, :, 0] if key.endswith("patch_embed.proj.weight") else x
    for k, channels in enumerate((96, 192, 384, 768)):
        for name in ("weight", "bias"):
            found[f"{BODY}norm{k}.{name}"] = torch.empty(channels, device="meta")
    return found


OTHER_BACKBONES: dict[str, tuple[str, Callable[[dict[str, Tensor]], dict[str, Tensor]]]] = {
    "resnet101": ("r50", lambda tensors: deeper(tensors, f"{BODY}layer3.", 23)),
    "video_swin_small": ("swin_t", lambda tensors: deeper(tensors, f"{BODY}layers.2.blocks.", 18)),
    "swin_tiny": ("swin_t", of_images),
}


@pytest.mark.parity
@pytest.mark.parametrize("prefix", ["", "referformer_"], ids=["sgmg", "referformer"])
@pytest.mark.parametrize("backbone", OTHER_BACKBONES)
def test_keys_of_other_backbones_have_their_place_and_the_reverse(backbone: str, prefix: str) -> None:
    """No list of these is at hand: shapes and names follow from the lists of their smaller kin."""
    name, grown = OTHER_BACKBONES[backbone]
    tensors = grown(official(f"{prefix}{name}.json"))
    sizes = sizes_of(tensors)
    assert sizes["backbone"] == backbone and sizes.get("backbone_window") == (7 if backbone == "swin_tiny" else None)
    check_keys(tensors)


@pytest.mark.parametrize("name", key_lists())
def test_every_official_key_has_its_place_and_the_reverse(name: str) -> None:
    check_keys(official(name))


def check_keys(tensors: dict[str, Tensor]) -> None:
    """Every official tensor has one place in the system, of its shape, and the reverse."""
    table, config, build = KINDS[str(whose(tensors))]
    with torch.device("meta"):
        text = TextEncoder(roberta(), WordHashTokenizer())
        model = build(config(**sizes_of(tensors)), text)
    table = for_backbone(table, model.backbone)
    own = {key: tuple(value.shape) for key, value in model.state_dict().items()}
    ignored = {key for key in tensors if table.reason_to_ignore(key)}
    assert all(key.endswith(COUNTERS) for key in ignored)
    assert {key for key in tensors if table.to_own(key) is None} <= ignored | set(filter(table.is_alias, tensors))
    back = {key: shape for name, shape in own.items() for key in table.to_official(name)}
    assert back == {key: tuple(x.shape) for key, x in tensors.items() if key not in ignored}


@pytest.mark.parity
@pytest.mark.parametrize(
    ("name", "system", "what"),
    [
        (
            "referformer_swin_t.json",
            "sgmg",
            "this is a checkpoint of ReferFormer, not of SgMg: give system=referformer",
        ),
        ("swin_t.json", "referformer", "this is a checkpoint of SgMg, not of ReferFormer: give system=sgmg"),
    ],
)
def test_a_checkpoint_of_the_other_system_is_refused(name: str, system: str, what: str) -> None:
    tensors, spec = official(name), find_system(system)
    assert spec.plan is not None and spec.fit is not None
    with pytest.raises(CheckpointError, match=f"file.pth: {what}"):
        load_official(small(spec.config(**spec.small)), tensors, "file.pth", spec.plan)
    with pytest.raises(ValueError, match=what):
        spec.fit(tensors, None)


@pytest.mark.parity
def test_a_variant_is_refused() -> None:
    spec = find_system("sgmg")
    assert spec.fit is not None
    with pytest.raises(ValueError, match="variant=base: SgMg has no variants; leave it away"):
        spec.fit(official("swin_t.json"), "base")


@pytest.mark.parity
def test_cma_does_not_start_from_sgmg() -> None:
    with pytest.raises(ValueError, match="this is a checkpoint of SgMg, not of CMA: give system=sgmg"):
        plan_of_cma(official("r50.json"), "cma")


@pytest.mark.parity
def test_sizes_are_read_from_the_tensors() -> None:
    backbones = {name: sizes_of(official(f"{name}.json"))["backbone"] for name in ("swin_t", "swin_b", "r50")}
    assert backbones == {"swin_t": "video_swin_tiny", "swin_b": "video_swin_base", "r50": "resnet50"}
    assert {**sizes_of(official("swin_b.json")), "backbone": ""} == {
        "backbone": "",
        "num_queries": 5,
        "hidden_dim": 256,
        "feedforward_dim": 2048,
        "encoder_layers": 4,
        "decoder_layers": 4,
    }


@pytest.mark.parametrize(("name", "merging"), [("sgmg", "layers.{}.downsample."), ("referformer", "downsamples.{}.")])
def test_a_checkpoint_on_a_swin_of_images_is_read(name: str, merging: str) -> None:
    """No key list of one is at hand: stages as in the authors' files, a norm on every tap, windows of 7."""
    spec, (table, config, build) = find_system(name), KINDS[{"sgmg": "SgMg", "referformer": "ReferFormer"}[name]]
    with torch.device("meta"):
        text = TextEncoder(roberta(), WordHashTokenizer())
        own = build(config(backbone="swin_base", backbone_window=7), text).state_dict()
    rows = for_backbone(table, build_backbone(BackboneConfig("swin_tiny")))
    tensors = {key: x for key_own, x in own.items() for key in rows.to_official(key_own)}
    assert len({key for key in tensors if key.startswith("backbone.0.body.norm")}) == 8
    tensors = {re.sub(r"layers\.(\d)\.downsample\.", lambda m: merging.format(m[1]), k): x for k, x in tensors.items()}
    sizes = sizes_of(tensors)
    assert (sizes["backbone"], sizes["backbone_window"]) == ("swin_base", 7)
    assert spec.fit is not None and spec.plan is not None
    with torch.device("meta"):
        system = build(config(**sizes), text)
    plan = spec.plan(tensors, system)
    found, ignored, _ = convert(tensors, plan.table)
    assert {key: x.shape for key, x in found.items()} == {key: x.shape for key, x in own.items()} and not ignored


@torch.no_grad()
def test_small_frames_are_refused_with_the_least_side() -> None:
    released = small(SgMgConfig(**{**SMALL_SGMG, "gate_padding": 0}))
    with pytest.raises(ValueError, match=r"frames of 140x128 pixels \(width x height\) .* at least 129 pixels"):
        segment(released, (128, 140))
    assert segment(released, (129, 140)).masks.shape[-2:] == (132, 140)  # whole cells of stride 4


@torch.no_grad()
def test_frames_that_are_too_small_for_referformer_are_refused_with_the_least_side() -> None:
    system = small(ReferFormerConfig(**SMALL_REFERFORMER))
    for size in ((28, 64), (64, 28), (8, 8)):
        with pytest.raises(ValueError, match="too small for the pixel decoder: each side must have at least 29 pixels"):
            segment(system, size)
    assert segment(system, (29, 29)).masks.shape[-2:] == (8, 8)


@torch.no_grad()
def test_the_best_candidate_alone_is_refined_or_all() -> None:
    system = small(SgMgConfig(**{**SMALL_SGMG, "num_queries": 3}))
    best, system.refine = segment(system), "all"
    every = segment(system)
    assert best.masks.shape == (2, 2, 1, 64, 64) and every.masks.shape == (2, 2, 3, 64, 64)
    chosen, clips = every.best()[:, 0], torch.arange(2)
    assert best.scores is not None and best.boxes is not None
    for one, among in ((best.masks, every.masks), (best.scores, every.scores), (best.boxes, every.boxes)):
        torch.testing.assert_close(one[:, :, 0], among[clips, :, chosen])
    system.refine = "best"
    queries = replace(noise_clips(2, 2, (64, 64), seed=2), answers=(1, 2))  # those that are wanted, in its place
    wanted = system(queries, system.encode_reference(References(expressions=queries.expressions)))
    torch.testing.assert_close(wanted.masks[:, :, 0], every.masks[clips, :, torch.tensor([1, 2])])
    assert wanted.all_scores is not None and every.scores is not None
    torch.testing.assert_close(wanted.all_scores, every.scores)


def test_losses_need_a_prediction_of_training() -> None:
    system = small(SgMgConfig(**SMALL_SGMG))
    queries = noise_clips(2)
    with pytest.raises(ValueError, match="made in training mode"):
        system.losses(segment(system), queries)
    prediction = segment(system.train())
    assert isinstance(prediction, PatchPrediction) and prediction.stride == 2
    terms = system.losses(prediction, queries).terms
    assert {"loss_mask", "loss_mask_low", "loss_dice_low_0"} <= set(terms) and len(terms) == 14


@pytest.mark.parametrize("settings", [SgMgConfig(**SMALL_SGMG), ReferFormerConfig(**SMALL_REFERFORMER)], ids=["s", "r"])
def test_supports_count_with_the_affinity_alone(settings: Any) -> None:
    with pytest.raises(ValueError, match="takes no supports: give it system.affinity=cma"), torch.no_grad():
        segment(small(settings), supports=True)
    system = small(replace(settings, **RELATED))
    assert system.needs == system.accepts == {"support", "expression"} and system.has_warmup
    with torch.no_grad():
        queries, supports = noise_clips(2, seed=2), noise_clips(2, seed=1)
        other = replace(supports, masks=tuple(~m for m in supports.masks if m is not None))
        found, elsewhere = (
            system(queries, system.encode_reference(References(x, 1, queries.expressions))).masks
            for x in (supports, other)
        )
    assert (found - elsewhere).abs().max() > 1e-3 * found.abs().max()
    losses = system.train().warmup_losses(supports, queries, 1)
    losses.total.backward()
    assert torch.isfinite(losses.total)
    assert {group["name"] for group in system.parameter_groups(1e-3)} >= {"main", "affinity", "offsets"}


def test_a_frozen_text_encoders_pooler_may_learn() -> None:
    for settings, learns in (({}, False), ({"train_pooler": True}, True)):
        system: SgMg = small(SgMgConfig(**{**SMALL_SGMG, "freeze_text": True, **settings}))
        assert [p.requires_grad for p in system.text.pooler.parameters()] == [learns] * 2
        assert not any(p.requires_grad for p in system.text.encoder.embeddings.parameters())
    mean = small(SgMgConfig(**{**SMALL_SGMG, "sentence": "mean", "train_pooler": True}))
    assert not any(p.requires_grad for p in mean.text.pooler.parameters())


@pytest.mark.parametrize("fresh", [False, True])
def test_score_heads_start_anew_where_that_is_asked_for(fresh: bool, tmp_path: Path) -> None:
    pretrained = small(SgMgConfig(**SMALL_SGMG), seed=1).state_dict()
    official = {key: value for name, value in pretrained.items() for key in SGMG.to_official(name)}
    torch.save({"model": official}, tmp_path / "pretrained.pth")
    settings = SgMgConfig(**{**SMALL_SGMG, "fresh_scores": fresh})
    config = MetaTrainConfig(system=settings, train=TrainConfig(init_from=str(tmp_path / "pretrained.pth")))
    started, scratch = (
        {k: x for k, x in s.state_dict().items() if x.dtype.is_floating_point}
        for s in (start_system(config), small(settings, config.seed))
    )
    heads = {name for name in started if name.startswith("score_heads.")}
    assert len(heads) == 4
    for name, value in started.items():
        assert torch.equal(value, scratch[name] if fresh and name in heads else pretrained[name]), name


@pytest.mark.parametrize(
    ("settings", "general"),
    [(SgMgConfig(**SMALL_SGMG), 16), (ReferFormerConfig(**SMALL_REFERFORMER), 1)],
    ids=["s", "r"],
)
def test_each_data_set_is_padded_as_in_its_released_test_unless_a_number_is_typed(settings: Any, general: int) -> None:
    system, typed = small(settings), small(replace(settings, pad_multiple=8))
    data = ("ref_youtube_vos", "ref_davis17", "a2d", "refcocog")
    assert system.pad_multiple == general and system.resizes_once == (general == 1)
    assert [system.pad_multiple_of(name) for name in data] == [general, general, 32, 32]
    assert [typed.pad_multiple_of(name) for name in data] == [8] * 4


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frozen", [True, False])
def test_rates_follow_the_official_names_of_the_parameters(kind: str, frozen: bool) -> None:
    """The released training goes by names: half for the backbone, a tenth for the text, all for the rest."""
    table, config, build = KINDS[kind]
    with torch.device("meta"):
        settings = config(backbone="resnet50", freeze_text=frozen)
        model = build(settings, TextEncoder(roberta(), WordHashTokenizer()))
    groups = model.parameter_groups(1e-4)
    rates = {id(p): group["lr"] for group in groups for p in group["params"]}
    assert sum(len(group["params"]) for group in groups) == len(rates), "no parameter stands in two groups"
    for own, parameter in model.named_parameters():
        name = table.to_official(own)[0]
        held = name.startswith(("backbone.0.body.conv1", "backbone.0.body.layer1")) or "text_encoder" in name and frozen
        rate = 0.5 if "backbone.0" in name else 0.1 if "text_encoder" in name else 1.0
        assert rates.get(id(parameter)) == (None if held else pytest.approx(1e-4 * rate)), name
        assert parameter.requires_grad != held, name


def test_clean_positions_are_those_of_the_valid_part_and_calm_on_the_padding() -> None:
    padding = torch.zeros(1, 4, 6, dtype=torch.bool)
    padding[:, 3:], padding[:, :, 4:] = True, True
    noisy, clean = sine_2d(padding, 8), sine_2d(padding, 8, clean=True)
    assert torch.equal(noisy[:, :, :3, :4], clean[:, :, :3, :4]) and not torch.equal(noisy, clean)
    # a row of padding has the code of half a pixel before the first one, in a frame of one row
    column = clean[0, 4:, 3, 0]  # x of a row that is all padding
    assert column[0] == pytest.approx(float(torch.tensor(-torch.pi).sin()), abs=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_box_losses_may_weigh_less(kind: str) -> None:
    config, same = (SMALL_SGMG, SgMgConfig) if kind == "SgMg" else (SMALL_REFERFORMER, ReferFormerConfig)
    usual, lighter = (small(same(**{**config, "box_weight": x})).criterion.weights for x in (1.0, 0.1))
    changed = {name: lighter[name] / usual[name] for name in usual if lighter[name] != usual[name]}
    assert changed == {"loss_bbox": pytest.approx(0.1), "loss_giou": pytest.approx(0.1)}


@pytest.mark.parametrize("kind", KINDS)
def test_faults_of_the_released_losses_are_off_unless_they_are_asked_for(kind: str) -> None:
    config, same = (SMALL_SGMG, SgMgConfig) if kind == "SgMg" else (SMALL_REFERFORMER, ReferFormerConfig)
    for on in (False, True):
        found = small(same(**{**config, "absent_boxes": on, "masks_per_clip": on})).criterion
        assert (found.absent_boxes, found.masks_per_clip, found.costs.visible_boxes) == (on, on, not on)
    assert not small(same(**config)).criterion.absent_boxes

"""UniVS against the official code: every array of every case under `parity/univs`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch

from fewshot.nn.clip_text import clip_text
from fewshot.systems.univs.build import fit
from fewshot.systems.univs.checkpoint import clip_to_official, clip_to_own, plan, table
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.key_table import check_fit, convert
from fewshot.weights.load import load_official
from tests.parity.reference import check_case, filled
from tests.shared import SHARED, require_shared

# how the task of a case begins, and the module with its function `run(case, folder) -> problems`
TASKS = {
    **dict.fromkeys(("sot (VOS)", "grounding (RefVOS)", "vis through", "vss through", "vps through"), "univs_model"),
    **dict.fromkeys(("training step", "stage-3 (long video)"), "univs_training"),
    **dict.fromkeys(
        (f"{kind}: inference state machine alone" for kind in ("vos", "vis", "vss", "vps")), "univs_tracking"
    ),
}


def cases() -> list[Any]:
    """Every folder with a `case.json`, whatever the folder between the system and the case is called."""
    root = SHARED / "parity" / "univs"
    found = sorted(path.parent for path in root.glob("*/*/case.json"))
    return [pytest.param(f, id=f.name, marks=pytest.mark.parity) for f in found or [root / "open"]]


def runner_of(case: dict[str, Any]) -> str:
    """The module that runs a case. A kind of case that nobody knows is an error, not a skip."""
    if "module" in case:
        return "univs_modules"
    kinds = [module for start, module in TASKS.items() if case.get("task", "").startswith(start)]
    if not kinds:
        raise AssertionError(f"unknown kind of case: { {k: case.get(k) for k in ('module', 'task')} }")
    return kinds[0]


@pytest.mark.parametrize("folder", cases())
def test_case(folder: Path) -> None:
    check_case(folder, runner_of)


def test_an_unknown_kind_of_case_fails() -> None:
    for case in ({"task": "counting"}, {}):
        with pytest.raises(AssertionError, match="unknown kind of case"):
            runner_of(case)


def _official(*parts: str) -> dict[str, torch.Tensor]:
    return filled(json.loads(require_shared("parity", "univs", "open", *parts).read_text()))


def _with_teacher(official: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A file of the third stage: the same names once more, with other values."""
    teacher = {key.replace(".", "_t.", 1): x + 1 for key, x in official.items()}
    return {**official, **teacher}


def _swin(official: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A checkpoint on Swin-T: the head of a ResNet's, whose projections of the taps have other widths."""
    head = {key: x for key, x in official.items() if not key.startswith("backbone.")}
    for key, x in _official("mod_swin_t", "keys.json").items():
        head[key] = x
    place = "sem_seg_head.pixel_decoder."
    for name, width in (("input_proj.0.0", 768), ("input_proj.1.0", 384), ("input_proj.2.0", 192), ("adapter_1", 96)):
        head[f"{place}{name}.weight"] = torch.zeros(256, width, 1, 1)
    return head


@pytest.mark.parity
@pytest.mark.parametrize("backbone", ["resnet50", "swin_tiny"])
@pytest.mark.parametrize("which", ["student", "teacher"])
def test_checkpoints_convert_in_both_directions(backbone: str, which: str) -> None:
    """Every official tensor is used or left out with a reason, and every one of ours has an official name."""
    official = _official("vos_memory", "keys.json")
    file = _with_teacher(official if backbone == "resnet50" else _swin(official))
    settings, system = fit(file, which)
    assert settings.backbone == backbone
    report = load_official(system, file, "univs.pth", plan)
    assert report.used + len(report.ignored) == report.total == len(file) and not report.fresh
    other = {key for key, why in report.ignored.items() if why.startswith("weights of the")}
    assert len(other) == len(file) // 2
    assert {key.rsplit(".", 2)[-2] for key in set(report.ignored) - other} <= {"reid_temp", "attn"}
    for name, tensor in system.state_dict().items():
        key = table(which).to_official(name)[0]
        assert torch.equal(file[key], tensor), name


def _swin_shapes(embed: int, depths: tuple[int, ...], window: int) -> dict[str, tuple[int, ...]]:
    """Names and shapes of a Swin transformer of Mask2Former, with heads of 32 channels."""
    shapes: dict[str, tuple[int, ...]] = {
        "patch_embed.proj.weight": (embed, 3, 4, 4),
        "patch_embed.proj.bias": (embed,),
    }
    norms = {"patch_embed.norm": embed}
    for stage, depth in enumerate(depths):
        width = embed * 2**stage
        norms[f"norm{stage}"] = width
        if stage < 3:
            norms[f"layers.{stage}.downsample.norm"] = 4 * width
            shapes[f"layers.{stage}.downsample.reduction.weight"] = (2 * width, 4 * width)
        for block in (f"layers.{stage}.blocks.{k}." for k in range(depth)):
            norms |= {f"{block}norm1": width, f"{block}norm2": width}
            shapes[f"{block}attn.relative_position_bias_table"] = ((2 * window - 1) ** 2, width // 32)
            shapes[f"{block}attn.relative_position_index"] = (window**2, window**2)
            linears = {"attn.qkv": (3, 1), "attn.proj": (1, 1), "mlp.fc1": (4, 1), "mlp.fc2": (1, 4)}
            for name, (to, of) in linears.items():
                shapes[f"{block}{name}.weight"] = (to * width, of * width)
                shapes[f"{block}{name}.bias"] = (to * width,)
    shapes |= {f"{name}.{part}": (width,) for name, width in norms.items() for part in ("weight", "bias")}
    return {f"backbone.{name}": shape for name, shape in shapes.items()}


@pytest.mark.parity
def test_names_of_larger_swins_convert_in_both_directions() -> None:
    """The names are those that Swin-T has, and tensors without values show that nothing is left over."""

    def known(*parts: str) -> dict[str, tuple[int, ...]]:
        content = json.loads(require_shared("parity", "univs", "open", *parts).read_text())
        return {key: tuple(shape) for key, (shape, _) in content.items()}

    assert _swin_shapes(96, (2, 2, 6, 2), 7) == known("mod_swin_t", "keys.json")
    head = {key: shape for key, shape in known("vos_memory", "keys.json").items() if not key.startswith("backbone.")}
    for name, embed in (("swin_base", 128), ("swin_large", 192)):
        shapes = {**head, **_swin_shapes(embed, (2, 2, 18, 2), 12)}
        places = ("adapter_1", "input_proj.2.0", "input_proj.1.0", "input_proj.0.0")
        for stage, place in enumerate(places):
            shapes[f"sem_seg_head.pixel_decoder.{place}.weight"] = (256, embed * 2**stage, 1, 1)
        with torch.device("meta"):
            official = {key: torch.empty(shape) for key, shape in shapes.items()}
            settings, system = fit(official, None)
        own, ignored, _ = convert(official, table())
        check_fit(own, system.state_dict())
        assert settings.backbone == name
        assert len(own) + len(ignored) == len(official) and len(ignored) == 25  # the index of each block, and reid_temp
        assert {table().to_official(key)[0] for key in own} | set(ignored) == set(official)


@pytest.mark.parity
def test_a_teacher_that_is_not_there_is_refused() -> None:
    official = _official("vos_memory", "keys.json")
    with pytest.raises(CheckpointError, match="holds no teacher"):
        load_official(fit(official, "teacher")[1], official, "univs.pth", plan)


@pytest.mark.parity
def test_the_text_tower_converts_in_both_directions() -> None:
    official = _official("refvos_text", "keys_clip.json")
    own, ignored = clip_to_own(official)
    tower = clip_text()
    tower.encoder.load_state_dict(own)
    assert not ignored
    again = clip_to_official(tower.encoder.state_dict())
    assert set(again) == set(official) and all(torch.equal(again[key], official[key]) for key in official)
    with pytest.raises(ValueError, match="1 unknown tensors: what"):
        clip_to_own({"what": torch.zeros(1)})

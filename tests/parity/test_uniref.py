"""UniRef++ against the official code: every array of every case under `parity/uniref`."""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from fewshot.nn.backbones import ResNet
from fewshot.nn.text import small_text_encoder
from fewshot.nn.value_encoder import ValueEncoder
from fewshot.systems.uniref.checkpoint import plan
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.weights.load import load_official
from tests.parity.reference import check_case, filled
from tests.shared import SHARED, require_shared

# what a case says of itself, and the module with its function `run(case, folder) -> problems`
MODULES = {
    "UniFusion": "uniref_modules",
    "ValueEncoder": "uniref_modules",
    "DeformableTransformer": "uniref_model",
    "mask head": "uniref_model",
}
TASKS = {
    "grounding": "uniref_model",
    "fss": "uniref_model",
    "detection": "uniref_model",
    "vos": "uniref_video",
    "rvos": "uniref_video",
}


def cases() -> list[Any]:
    """Every folder with a `case.json`, whatever the folder between the system and the case is called."""
    root = SHARED / "parity" / "uniref"
    found = sorted(path.parent for path in root.glob("*/*/case.json"))
    return [pytest.param(f, id=f.name, marks=pytest.mark.parity) for f in found or [root / "open"]]


def runner_of(case: dict[str, Any]) -> str:
    """The module that runs a case. A kind of case that nobody knows is an error, not a skip."""
    if "module" in case:
        kinds = [module for start, module in MODULES.items() if case["module"].startswith(start)]
    elif str(case.get("model", "")).startswith("sam"):
        kinds = ["uniref_sam"]
    elif str(case.get("mode", "")).startswith("train"):
        kinds = ["uniref_losses"]
    else:
        kinds = [TASKS[case["task"]]] if case.get("task") in TASKS else []
    if not kinds:
        raise AssertionError(f"unknown kind of case: { {k: case.get(k) for k in ('module', 'model', 'task', 'mode')} }")
    return kinds[0]


@pytest.fixture(scope="module", autouse=True)
def _one_model_at_a_time() -> Iterator[None]:
    """The cases share a model of more than a gigabyte; the tests after them need not carry it."""
    yield
    module = sys.modules.get("tests.parity.uniref_model")
    if module is not None:
        module.forget_models()


@pytest.mark.parametrize("folder", cases())
def test_case(folder: Path) -> None:
    check_case(folder, runner_of)


def test_an_unknown_kind_of_case_fails() -> None:
    for case in ({"module": "a module of tomorrow"}, {"task": "tracking", "model": "r50_joint"}, {}):
        with pytest.raises(AssertionError, match="unknown kind of case"):
            runner_of(case)


@pytest.mark.parity
def test_a_pretraining_file_starts_a_system_of_one_class() -> None:
    """What the Objects365 files lack, and heads for their classes, start from scratch and are named."""
    keys = json.loads(require_shared("parity", "uniref", "keys_r50_obj365.json").read_text())
    aliases = json.loads(require_shared("parity", "uniref", "aliases.json").read_text())
    model = UniRef(ResNet(50), small_text_encoder(64), ValueEncoder(), Sizes())
    report = load_official(model, filled(keys, aliases), "objects365.pth", plan)
    heads = [name for name in report.fresh if ".score_head." in name or name.startswith("score_heads.")]
    assert len(heads) == 14 and model.score_heads[0].bias.item() == pytest.approx(-math.log(99))
    assert {n.split(".")[0] for n in set(report.fresh) - set(heads)} == {
        *("text", "text_projection", "value_encoder", "fusion")
    }
    assert sum("365 classes" in why for why in report.ignored.values()) == 28
    assert set(report.ignored) - {k for k in keys if "class_embed" in k} == {"criterion._iter"}
    assert report.used + len(report.ignored) == report.total == len(keys)

"""UniRef++ against the official code: every array of every case under `parity/uniref`."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import torch

from tests.parity.reference import read_case
from tests.shared import SHARED, require_shared

Runner = Callable[[dict[str, Any], Path], list[str]]
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


@pytest.mark.parametrize("folder", cases())
def test_case(folder: Path) -> None:
    require_shared(*folder.relative_to(SHARED).parts)
    torch.set_num_threads(1)
    case = read_case(folder)
    run: Runner = import_module(f"tests.parity.{runner_of(case)}").run
    problems = run(case, folder)
    assert not problems, f"{folder.name}: {len(problems)} problems:\n" + "\n".join(problems)


def test_an_unknown_kind_of_case_fails() -> None:
    for case in ({"module": "a module of tomorrow"}, {"task": "tracking", "model": "r50_joint"}, {}):
        with pytest.raises(AssertionError, match="unknown kind of case"):
            runner_of(case)

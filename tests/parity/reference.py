"""Reading the reference cases: parameters and inputs by name, and the comparison with what was expected."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable, Mapping
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.shared import SHARED, require_shared


@lru_cache
def recipes() -> ModuleType:
    """The module `fill.py` that lies with the cases: `fill(name, shape)` and `array(name, shape, low, high)`."""
    spec = importlib.util.spec_from_file_location("reference_fill", require_shared("parity", "fill.py"))
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def filled(keys: Mapping[str, Any], aliases: Mapping[str, str] | None = None) -> dict[str, Tensor]:
    """An official state dict `{key: [shape, dtype]}` with the values of the recipe; integer tensors are 0."""
    state = {}
    for key, (shape, dtype) in keys.items():
        name = (aliases or {}).get(key, key)
        if dtype.startswith("float"):
            state[key] = torch.from_numpy(np.asarray(recipes().fill(name, shape)))
        else:
            state[key] = torch.zeros(shape, dtype=torch.int64)
    return state


def given(recipe: Mapping[str, Any]) -> Tensor:
    """An input from its recipe."""
    return torch.from_numpy(recipes().array(recipe["array"], recipe["shape"], recipe["low"], recipe["high"]))


def rectangles(rects: list[list[int] | None], size: tuple[int, int] | list[int]) -> Tensor:
    """Masks `(T, H, W)` bool from half-open rectangles `[row0, row1, col0, col1]`; None is an empty mask."""
    masks = torch.zeros(len(rects), *size, dtype=torch.bool)
    for mask, rect in zip(masks, rects, strict=True):
        if rect is not None:
            mask[rect[0] : rect[1], rect[2] : rect[3]] = True
    return masks


def read_case(folder: Path, listed: bool = False) -> dict[str, Any]:
    """`case.json`, with the arrays of `expected.npz` under `expected`; a list of them there goes to `listed`."""
    case = json.loads((folder / "case.json").read_text())
    if listed:
        case["listed"] = case.pop("expected")
    with np.load(folder / "expected.npz") as arrays:
        case["expected"] = {name: arrays[name] for name in arrays.files}
    return case


def check_case(folder: Path, runner_of: Callable[[dict[str, Any]], str], listed: bool = False) -> None:
    """Run a case by the module that `runner_of` names; every array that differs is told."""
    require_shared(*folder.relative_to(SHARED).parts)
    torch.set_num_threads(1)
    case = read_case(folder, listed)
    problems = import_module(f"tests.parity.{runner_of(case)}").run(case, folder)
    assert not problems, f"{folder.name}: {len(problems)} of {len(case['expected'])}:\n" + "\n".join(problems)


def reduced(value: Tensor, spec: Mapping[str, Any]) -> np.ndarray:
    """A tensor as the case stores it: complete, every `step`-th element, or the mean over all dimensions but one."""
    value = value.detach()
    if spec["op"] == "full":
        return value.numpy()
    assert list(value.shape) == spec["of_shape"], f"shape {tuple(value.shape)}, expected {spec['of_shape']}"
    if spec["op"] == "sample":
        return value.flatten()[:: spec["step"]].numpy()
    assert spec["op"] == "mean", f"unknown way of storing an array: {spec['op']}"
    kept = spec["kept_dim"] % value.ndim
    return value.double().mean([d for d in range(value.ndim) if d != kept]).float().numpy()


def mismatches(case: Mapping[str, Any], got: Mapping[str, Tensor], tolerance: Any) -> list[str]:
    """Every expected array that is missing or differs, in the order of the case.

    Args:
        tolerance: maps a name to the allowed error, relative to the largest absolute value of the array.
    """
    problems = []
    for name, expected in case["expected"].items():
        base = name.removesuffix(".sample").removesuffix(".mean")
        if base not in got:
            problems.append(f"{name}: no such array was computed")
            continue
        value = reduced(got[base], case["outputs"][name])
        if value.shape != expected.shape:
            problems.append(f"{name}: shape {value.shape}, expected {expected.shape}")
        elif np.issubdtype(expected.dtype, np.integer):
            if not np.array_equal(value, expected):
                problems.append(f"{name}: {value.tolist()}, expected {expected.tolist()}")
        else:
            error = np.abs(value - expected).max() / max(np.abs(expected).max(), 1e-30)
            if not error <= tolerance(name):
                problems.append(f"{name}: off by {error:.2e} of the largest value")
    return problems

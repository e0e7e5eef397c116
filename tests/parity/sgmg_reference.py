"""Names and reductions of the arrays in the SgMg and ReferFormer reference cases, and the comparison."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.reference import filled, given

CUT = re.compile(r"[xy]\[([^\]]*)\]")
REDUCED = (".slice", ".mean", ".rowmean", ".stats")


def array_of(recipe: Mapping[str, Any]) -> Tensor:
    """An input array from its recipe."""
    return given({**recipe, "array": recipe["array_name"]})


def arrays_of(case: Mapping[str, Any]) -> dict[str, Any]:
    """The inputs of a case of a module by name: arrays, and values as they are."""
    return {x["name"]: array_of(x) if "array_name" in x else x["value"] for x in case["inputs"]}


def official_of(case: Mapping[str, Any], folder: Path) -> dict[str, Tensor]:
    """The official state dict of a case."""
    keys = json.loads((folder / case["keys"]).resolve().read_text())
    aliases = {k: k.removeprefix("transformer.decoder.") for k in keys if k.startswith("transformer.decoder.bbox_")}
    return filled(keys, aliases)


def reduced(value: Tensor, name: str, how: str, stage: int = 0) -> np.ndarray:
    """An array as the case stores it, by the words of `how`."""
    x = value.detach()
    if name.endswith(".stats"):
        x = x.double()
        return torch.stack([x.min(), x.max(), x.mean(), x.std(), (x > 0).double().mean()]).float().numpy()
    if name.endswith(".rowmean"):
        return x.mean(-1).numpy()
    if name.endswith(".mean"):
        return (x.mean(0) if "axis 0" in how else x.mean((-2, -1))).numpy()
    found = CUT.search(how)
    return (_cut(x, found[1], how) if found else x).numpy()


def _cut(x: Tensor, places: str, how: str) -> Tensor:
    """A slice as numpy writes it; `s` and `C` as in the cases of a backbone."""
    step = re.search(r"stage(\d)", how)
    numbers = {"max(1,C//12)": max(1, x.shape[1] // 12)} if x.ndim > 1 else {}
    if step:
        numbers["s"] = (4, 2, 1, 1)[int(step[1])]
    index: list[Any] = []
    for place in (part.strip() for part in places.replace("max(1,C//12)", "C").split(",")):
        last = place.split(":")[-1]
        given_step = {"C": numbers.get("max(1,C//12)"), "s": numbers.get("s")}.get(last, last)
        index.append(... if place == "..." else slice(None, None, int(given_step or 1)))
    return x[tuple(index)]


def mismatches(case: Mapping[str, Any], got: Mapping[str, Tensor], allowed: Callable[[str], float]) -> list[str]:
    """Every expected array that is missing or differs, in the order of the case.

    Args:
        allowed: error of an array relative to its largest value.
    """
    problems = []
    hows = {entry["name"]: entry["how"] for entry in case["listed"]}
    for name, expected in case["expected"].items():
        base = name
        for ending in REDUCED:
            base = base.removesuffix(ending)
        if base not in got:
            problems.append(f"{name}: no such array was computed")
            continue
        stage = re.search(r"stage\d", name)
        value = reduced(got[base], name, hows[name] + (f" {stage[0]}" if stage else ""))
        if value.shape != expected.shape:
            problems.append(f"{name}: shape {value.shape}, expected {expected.shape}")
        elif np.issubdtype(expected.dtype, np.integer) and not np.issubdtype(value.dtype, np.floating):
            if not np.array_equal(value, expected):
                problems.append(f"{name}: {value.tolist()}, expected {expected.tolist()}"[:300])
        else:
            error = np.abs(value - expected).max() / max(np.abs(expected).max(), 1e-30)
            if not error <= allowed(name):
                problems.append(f"{name}: off by {error:.2e} of the largest value")
    return problems


def ellipse(recipe: Mapping[str, Any], valid: list[int], size: list[int]) -> Tensor:
    """Masks `(T, H, W)` bool of an ellipse that moves, empty where the object is not valid."""
    y, x = torch.arange(size[0])[:, None].double(), torch.arange(size[1]).double()
    frames = []
    for t, there in enumerate(valid):
        dy, dx = (recipe.get(f"d{axis}_per_frame", recipe.get(f"d{axis}", 0)) * t for axis in "yx")
        inside = ((y - recipe["cy"] - dy) / recipe["ry"]) ** 2 + ((x - recipe["cx"] - dx) / recipe["rx"]) ** 2 <= 1
        frames.append(inside & bool(there))
    return torch.stack(frames)

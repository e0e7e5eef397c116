"""Names, slices and inputs of the UniRef reference cases, and the comparison with what was expected."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.reference import given, recipes

MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]
NAME = re.compile(r"^(?P<base>[^\[\(#]+)(\[(?P<slice>[^\]]*)\])?(\([^)]*\))?(#(?P<call>\d+))?$")

Calls = Mapping[str, Sequence[Tensor]]


def array_of(recipe: Mapping[str, Any]) -> Tensor:
    """An input array from its recipe."""
    if recipe["recipe"] == "array":
        return given({**recipe, "array": recipe["name"]})
    assert recipe["recipe"] == "blocks", f"unknown recipe: {recipe['recipe']!r}"
    cells = torch.from_numpy(recipes().array(recipe["name"], recipe["shape"], recipe["low"], recipe["high"]))
    height, width = recipe["crop"]
    blocks = cells.repeat_interleave(recipe["repeat"], 1).repeat_interleave(recipe["repeat"], 2)
    return blocks[:, :height, :width]


def image_of(recipe: Mapping[str, Any]) -> Tensor:
    """A normalised image `(3, H, W)` from a recipe of RGB values 0..255."""
    return (array_of(recipe) - MEAN) / STD


def rectangle(xyxy: Sequence[int], size: tuple[int, int]) -> Tensor:
    """A mask `(H, W)` bool that is true for rows y0..y1-1 and columns x0..x1-1."""
    mask = torch.zeros(size, dtype=torch.bool)
    x0, y0, x1, y1 = xyxy
    mask[y0:y1, x0:x1] = True
    return mask


def kept(name: str, calls: Calls) -> np.ndarray | None:
    """The array `name` of a case out of the recorded calls; None if it was not computed.

    A name is `base[numpy slice](remark)#call`; `base[best]` and `base[sel]` are recorded under these names.
    """
    parts = NAME.match(name)
    assert parts is not None, f"cannot read the name {name!r}"
    base, cut, call = parts["base"], parts["slice"], int(parts["call"] or 0)
    if cut in ("best", "sel"):
        base, cut = f"{base}[{cut}]", None
    found = calls.get(base, ())
    if len(found) <= call:
        return None
    value = found[call].detach().float().numpy()
    return value[_slices(cut)] if cut else value


def _slices(text: str) -> tuple[slice | int, ...]:
    def one(part: str) -> slice | int:
        return slice(*(int(n) if n else None for n in part.split(":"))) if ":" in part else int(part)

    return tuple(one(part) for part in text.split(","))


def tolerance(name: str) -> float:
    """Allowed error of an array relative to its largest value."""
    return 1e-3 if "mask" in name.split("[")[0] and "pred_masks" in name else 1e-4


def mismatches(
    expected: Mapping[str, np.ndarray], calls: Calls, allowed: Callable[[str], float] = tolerance
) -> list[str]:
    """Every expected array that is missing or differs, in the order of the case."""
    problems = []
    for name, wanted in expected.items():
        value = kept(name, calls)
        if value is not None and name.startswith("text"):
            wanted = wanted[:, : value.shape[1]]  # the official code pads every text to 77 tokens
        if value is None:
            problems.append(f"{name}: no such array was computed")
        elif value.shape != wanted.shape:
            problems.append(f"{name}: shape {value.shape}, expected {wanted.shape}")
        elif "topk_indices" in name:
            problems += _chosen_problems(name, value, wanted, calls)
        else:
            error = np.abs(value - wanted).max() / max(np.abs(wanted).max(), 1e-30)
            if not error <= (0 if name.split("#")[0] in EXACT else allowed(name)):
                problems.append(f"{name}: off by {error:.2e} of the largest value")
    return problems


EXACT = ("out.best_query", "masks_level2", "masks_level3")


def _chosen_problems(name: str, value: np.ndarray, wanted: np.ndarray, calls: Calls) -> list[str]:
    """Chosen tokens that differ and do not have the very same logit: unusable tokens tie exactly, and are all alike."""
    scores = "encoder.class_logits" if name.startswith("encoder.") else "enc_class"
    logits = kept(scores + name.removeprefix("encoder.").removeprefix("topk_indices"), calls)
    assert logits is not None
    ours, theirs = (np.take_along_axis(logits[..., 0], x.astype(int), 1) for x in (value, wanted))
    wrong = (value != wanted) & (ours != theirs)
    return [f"{name}: {int(wrong.sum())} of {wrong.size} chosen tokens differ"] if wrong.any() else []


def label_problems(name: str, labels: Tensor, wanted: np.ndarray, distance: Tensor) -> list[str]:
    """Labels that differ at pixels where the decision was not within 1e-3 of its threshold.

    Args:
        labels: as the case stores them; distance: of the same shape, how far from a tie each pixel's decision was.
    """
    if tuple(labels.shape) != wanted.shape:
        return [f"{name}: shape {tuple(labels.shape)}, expected {wanted.shape}"]
    wrong = labels.float().numpy() != wanted
    clear = wrong & (distance.abs().numpy() > 1e-3)
    return [f"{name}: {int(clear.sum())} clear pixels differ"] if clear.any() else []

"""Inputs of the UniVS reference cases, and the comparison with what was expected."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from tests.parity.reference import recipes

MEAN = torch.tensor([123.675, 116.28, 103.53])[:, None, None]
STD = torch.tensor([58.395, 57.12, 57.375])[:, None, None]


def array(name: str, shape: Sequence[int], low: float, high: float) -> Tensor:
    """An input array by its recipe."""
    return torch.from_numpy(recipes().array(name, list(shape), low, high))


def written(text: str, **names: int) -> list[Tensor]:
    """The arrays whose recipes `array('name',[shape],low,high)` a text holds, in its order.

    Args:
        names: values of the words in their shapes.
    """
    found = re.findall(r"array\('([^']+)',\[([^\]]+)\],([^,]+),([^)]+)\)", text)
    shapes = [[int(eval(side, {"__builtins__": {}}, names)) for side in shape.split(",")] for _, shape, _, _ in found]
    return [array(x[0], shape, float(x[2]), float(x[3])) for x, shape in zip(found, shapes, strict=True)]


def concepts() -> Tensor:
    """Embeddings of all classes `(3938, 640)`, as every case has them."""
    return torch.from_numpy(recipes().fill("combined_datasets_cls_emb_rn50x4", [3938, 640]))


def frames_of(name: str, count: int, height: int, width: int, square: int | None = None) -> Tensor:
    """Normalised frames `(count, 3, H, W)`, zeros at the bottom and right: to multiples of 32, or to `square`."""
    frames = [(array(f"{name}:{t}", [3, height, width], 0, 256).floor() - MEAN) / STD for t in range(count)]
    down, right = (-side % 32 if square is None else square - side for side in (height, width))
    return torch.nn.functional.pad(torch.stack(frames), (0, right, 0, down))


def rectangle(rows_and_columns: Sequence[int], height: int, width: int) -> Tensor:
    """A mask `(H, W)` bool from y0, y1, x0, x1, half-open."""
    mask = torch.zeros(height, width, dtype=torch.bool)
    y0, y1, x0, x1 = rows_and_columns
    mask[y0:y1, x0:x1] = True
    return mask


def packed(mask: Tensor) -> Tensor:
    """Booleans packed along the last axis, as the cases store them."""
    return torch.from_numpy(np.packbits(mask.numpy(), axis=-1))


def tolerance(name: str) -> float:
    """Allowed error of an array relative to its largest value."""
    return 1e-5 if name.startswith(("backbone.", "pixel.")) else 1e-4


def mismatches(
    expected: Mapping[str, np.ndarray],
    got: Mapping[str, Any],
    *,
    tolerances: Any = tolerance,
    unused: Sequence[str] = (),
) -> list[str]:
    """Every expected array that is missing or differs, in the order of the case; those named `unused` are left out."""
    problems = []
    for name, wanted in expected.items():
        if name.endswith(tuple(unused)) and unused:
            continue
        if name not in got:
            problems.append(f"{name}: no such array was computed")
            continue
        value = got[name]
        value = value.detach().numpy() if isinstance(value, Tensor) else np.asarray(value)
        if value.shape != wanted.shape:
            problems.append(f"{name}: shape {value.shape}, expected {wanted.shape}")
        elif np.issubdtype(wanted.dtype, np.integer) or wanted.dtype == bool:
            if not np.array_equal(value, wanted):
                problems.append(f"{name}: {int((value != wanted).sum())} of {wanted.size} values differ")
        elif wanted.size:
            error = error_of(value, wanted)
            if not error <= tolerances(name):
                problems.append(f"{name}: off by {error:.2e} of the largest value")
    return problems


def error_of(value: np.ndarray, wanted: np.ndarray) -> float:
    """Largest difference relative to the largest value."""
    return float(np.abs(value - wanted).max() / max(np.abs(wanted).max(), 1e-30))

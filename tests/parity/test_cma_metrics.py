"""J, F and the running averages of the official CMA code on constructed masks."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from benchmarks.metrics.cma import CmaAccumulator, frame_scores
from tests.shared import SHARED, require_shared, shared_cases

MODULE = "official J, F and running average"
RELATIVE = 1e-6  # the reference arrays are float32


def is_metrics_case(folder: Path) -> bool:
    path = folder / "case.json"
    return path.is_file() and json.loads(path.read_text()).get("module") == MODULE


def metrics_cases() -> list:
    """Cases of this module in every folder of `parity/cma`."""
    folders = sorted(path.name for path in SHARED.joinpath("parity", "cma").glob("*") if path.is_dir()) or ["open"]
    found = [shared_cases("parity", "cma", folder, marker="parity", want=is_metrics_case) for folder in folders]
    return [case for cases in found for case in cases]


def fill_module() -> ModuleType:
    """The recipe of the deterministic input arrays that comes with the cases."""
    path = require_shared("parity", "fill.py")
    spec = importlib.util.spec_from_file_location("parity_fill", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def drawn(size: list[int], rects: list[list[int]], ellipse: list[float] | None) -> np.ndarray:
    """Union of half-open rectangles [row0, row1, col0, col1] and a filled ellipse [cy, cx, ry, rx]."""
    mask = np.zeros(size, bool)
    for row0, row1, col0, col1 in rects:
        mask[row0:row1, col0:col1] = True
    if ellipse is not None:
        cy, cx, ry, rx = ellipse
        rows, cols = np.ogrid[: size[0], : size[1]]
        mask |= ((rows - cy) / ry) ** 2 + ((cols - cx) / rx) ** 2 <= 1
    return mask


def running_clips(inputs: dict[str, dict[str, Any]]) -> list[tuple[np.ndarray, np.ndarray]]:
    """(prediction, truth) of the two clips that the case's `running_note` describes."""
    array = fill_module().array
    first, second = (array(s["array"], s["shape"], s["low"], s["high"])[0] for s in inputs.values())
    first[:, 10:40, 10:50] += np.float32(0.4)
    first[:, 0:5] = 0
    second[:, 20:50, 20:70] += np.float32(0.3)
    rects = [[[10, 40, 10, 50], [12, 42, 12, 52], None], [[20, 50, 20, 70], [22, 52, 22, 72]]]
    size = list(first.shape[1:])
    truths = [np.stack([drawn(size, [r] if r else [], None) for r in clip]) for clip in rects]
    return list(zip((first, second), truths, strict=True))


def assert_close(actual: Any, expected: np.ndarray, what: str) -> None:
    np.testing.assert_allclose(actual, expected, rtol=RELATIVE, atol=RELATIVE, err_msg=what)


@pytest.mark.parametrize("case", metrics_cases())
def test_metrics(case: Path) -> None:
    require_shared("parity", "cma")
    content = json.loads((case / "case.json").read_text())
    with np.load(case / "expected.npz") as arrays:
        expected = dict(arrays)
    keys = ("rects", "ellipse_cy_cx_ry_rx")
    scores = []
    for pair in content["pairs"]:
        pred, gt = (drawn(pair["size"], *(pair[f"{side}_{key}"] for key in keys)) for side in ("pred", "gt"))
        scores.append(np.concatenate(frame_scores(pred[None], gt[None])))
    assert_close(np.array(scores)[:, 0], expected["J"], "J")
    assert_close(np.array(scores)[:, 1], expected["F"], "F")
    accumulator, sums = CmaAccumulator(), []
    for pred, gt in running_clips(content["inputs"]):
        accumulator.update(pred, gt)
        sums.append([values.sum() for values in frame_scores(pred, gt)])
    score = accumulator.compute()
    assert_close([*sums, [score.j, score.f]], expected["running"], "running")
    assert_close([score.voxel_iou], expected["pooled_iou"], "pooled_iou")

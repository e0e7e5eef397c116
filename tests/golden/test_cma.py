"""J and F of the CMA evaluation: its own averages over real masks and over soft maps with a class list."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.metrics.cma import CmaAccumulator, CmaScore
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared, shared_cases


def case_files(key: str) -> list:
    """The JSON files of the folder that have `key`."""
    return shared_cases(
        "golden", "cma", marker="golden", want=lambda path: path.suffix == ".json" and key in read_json(path)
    )


POOLED = {"query_frame", "sequences", "J", "F", "voxel_iou", "n", "soft"}
SOFT = {"class_list", "class_of_batch", "j_score", "f_score", "voxel_iou", "J", "F", "n"}


def accumulate(sequence: str, chunk: int) -> CmaAccumulator:
    """Score a real sequence in chunks of frames, as the official test does."""
    with np.load(require_shared("golden", "vos", f"davis16_osvos__{sequence}.npz")) as arrays:
        pred, gt = arrays["pred"] == 1, arrays["gt"] == 1
    accumulator = CmaAccumulator()
    for start in range(0, len(gt), chunk):
        accumulator.update(pred[start : start + chunk], gt[start : start + chunk])
    return accumulator


@pytest.mark.parametrize("case", case_files("sequences"))
def test_all_frames_pooled(case: Path) -> None:
    require_shared("golden", "cma")
    expected = read_json(case)
    pooled = CmaAccumulator()
    for name, sums in expected["sequences"].items():
        accumulator = accumulate(name, expected["query_frame"])
        score = accumulator.compute()
        frames = score.classes[1][3]
        assert frames == sums["n_frames"], name
        assert_same([score.j * frames, score.f * frames], [sums["sum_J"], sums["sum_F"]], name)
        pooled.merge(accumulator)
    check_averages(pooled.compute(), expected)


@pytest.mark.parametrize("case", case_files("soft"))
def test_soft_maps_with_a_class_list(case: Path) -> None:
    require_shared("golden", "cma")
    expected = read_json(case)["soft"]
    accumulator = CmaAccumulator(expected["class_list"])
    with np.load(case.with_name("soft.npz")) as arrays:
        for batch, classes in enumerate(expected["class_of_batch"]):
            for item, class_id in enumerate(classes):
                accumulator.update(arrays[f"pred{batch}"][item], arrays[f"gt{batch}"][item], class_id)
    score = accumulator.compute()
    check_averages(score, expected)
    rows = [score.classes[class_id] for class_id in expected["class_list"]]
    assert_same([row[0] for row in rows], expected["j_score"], "J of each class")
    assert_same([row[1] for row in rows], expected["f_score"], "F of each class")


def check_averages(score: CmaScore, expected: dict[str, Any]) -> None:
    """Means over the class list, voxel IoU and number of frames of each class (in ascending order of class)."""
    assert_same([score.j, score.f], [expected["J"], expected["F"]], "J and F")
    rows = list(score.classes.values())
    assert_same([row[2] for row in rows], expected["voxel_iou"], "voxel IoU of each class")
    assert_same(score.voxel_iou, np.mean(expected["voxel_iou"]), "mean voxel IoU")
    assert [row[3] for row in rows] == expected["n"]


@pytest.mark.parametrize("case", case_files("J"))
def test_no_number_is_left_out(case: Path) -> None:
    require_shared("golden", "cma")
    expected = read_json(case)
    assert expected.keys() <= POOLED
    assert expected.get("soft", {}).keys() <= SOFT

"""Video semantic segmentation: numbers of the programs of VSPW and of UniVS."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.metrics.vss import VssScore
from benchmarks.protocols.tasks import VSS_PROTOCOLS
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared, shared_cases

MIOU_NAMES = {"Acc": "accuracy", "Acc_class": "class_accuracy", "mIoU": "miou", "fwIoU": "weighted_iou"}
cases = pytest.mark.parametrize(
    "case", shared_cases("golden", "vss", marker="golden", want=lambda path: path.suffix == ".json")
)


def score(case: Path, protocol: str) -> VssScore:
    require_shared("golden", "vss")
    accumulator = VSS_PROTOCOLS[protocol].accumulator()
    with np.load(case.with_suffix(".npz")) as arrays:
        for video in sorted({name.rpartition(".")[0] for name in arrays}, reverse=True):
            accumulator.update(video, arrays[f"{video}.gt"], arrays[f"{video}.pred"])
    return accumulator.compute()


def check_vc(found: VssScore, lines: list[str]) -> None:
    for line in lines:
        length, value = re.match(r"VC(\d+) score: (\S+) on", line).groups()
        assert_same(found.vc[int(length)], float(value), line)


@cases
def test_iou(case: Path) -> None:
    found, (line,) = score(case, "vspw"), read_json(case)["miou_program"]
    printed = dict(re.findall(r"(\w+): ?([^\s,]+)", line))
    assert printed.keys() == MIOU_NAMES.keys()
    for name, value in printed.items():
        assert_same(getattr(found, MIOU_NAMES[name]), float(value), name)


@cases
def test_steadiness(case: Path) -> None:
    found, expected = score(case, "vspw"), read_json(case)
    check_vc(found, expected["vc_program"])
    assert expected["per_clip"].keys() == {f"{video},{k}" for k, videos in found.clips.items() for video in videos}
    for key, shares in expected["per_clip"].items():
        video, _, length = key.rpartition(",")
        assert_same(found.clips[int(length)][video], shares, key)


@cases
def test_steadiness_where_void_is_two_labels(case: Path) -> None:
    found, expected = score(case, "vspw_baseline"), read_json(case)
    check_vc(found, expected["vspw_baseline_vc8"] + expected["vspw_baseline_vc16"])


@cases
def test_no_number_is_left_out(case: Path) -> None:
    require_shared("golden", "vss")
    keys = {"miou_program", "vc_program", "vspw_baseline_vc8", "vspw_baseline_vc16", "per_clip"}
    assert read_json(case).keys() <= keys

"""Panoptic VOS: the four groups and the decay of the VIPOSeg evaluation."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest

from benchmarks.metrics.pvos import PvosGroups, PvosScore
from benchmarks.protocols.tasks import PVOS_PROTOCOLS
from episodes.panoptic import GROUPS
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared, shared_cases

# A case is a file of numbers with its videos beside it: expected.json, or <case>_expected.json.
cases = pytest.mark.parametrize(
    "case", shared_cases("golden", "pvos", marker="golden", want=lambda path: path.name.endswith("expected.json"))
)


def score(case: Path, protocol: str = "viposeg") -> PvosScore:
    require_shared("golden", "pvos")
    content = read_json(case)
    classes = {name: frozenset(numbers) for name, numbers in content["class_groups_used"].items()}
    special = content.get("special", "")
    told = re.match(r"class (\d+) is (\w+)-(\w+) in ", special)
    named = content["obj_class"].keys() & set(re.split(r"[\s,]+", special))
    assert bool(named) == (told is not None)
    exceptions = {video: {int(told[1]): f"{told[2]}_{told[3]}"} for video in named}
    accumulator = PVOS_PROTOCOLS[protocol].accumulator(PvosGroups(classes, exceptions))
    with np.load(case.with_name(case.name.removesuffix("expected.json") + "videos.npz")) as arrays:
        for video, own in reversed(content["obj_class"].items()):
            truth, found, frames, masks = (arrays[f"{video}.{part}"] for part in ("gt", "pred", "ref_frames", "ref"))
            given = {int(t): set(np.unique(mask).tolist()) - {0} for t, mask in zip(frames, masks, strict=True)}
            accumulator.update(video, truth, found, given, {int(k): class_id for k, class_id in own.items()})
    return accumulator.compute()


@cases
def test_groups_and_decay(case: Path) -> None:
    found, expected = score(case), dict(read_json(case)["expected"])
    for name in GROUPS:
        group = found.groups[name]
        wanted = [expected.pop(f"{name}_{kind}") for kind in ("miou", "biou", "iou")]
        assert_same([group.mask_iou, group.boundary_iou, group.iou], wanted, name)
    assert_same([found.overall, found.decay], [expected.pop("overall_iou"), expected.pop("decay")], "overall, decay")
    assert not expected


@cases
def test_no_number_is_left_out(case: Path) -> None:
    require_shared("golden", "pvos")
    assert read_json(case).keys() <= {"obj_class", "class_groups_used", "special", "expected"}

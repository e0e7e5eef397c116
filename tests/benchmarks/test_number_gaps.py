"""Numbers of whole videos that are not there: each says why, and a number that is no share is not a percentage."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.metrics.pvos import PvosGroups
from benchmarks.metrics.vps import VpsRules
from benchmarks.protocols.tasks import PVOS_PROTOCOLS, VIS, VPS_PROTOCOLS, VSS_PROTOCOLS, VpsProtocol
from benchmarks.tables import shown
from episodes.panoptic import PanopticClasses, PanopticFrame, Segment
from fewshot.evaluation.tasks.everything import notes_on
from fewshot.evaluation.tasks.measures import Measures

GROUPS = {"thing_seen": frozenset({1}), "thing_unseen": frozenset({2})}
GROUPS |= {"stuff_seen": frozenset({3}), "stuff_unseen": frozenset({4})}


def labels(*frames: list[int]) -> np.ndarray:
    return np.array([np.tile(frame, (4, 1)) for frame in frames], np.uint8)


def test_a_decay_is_printed_as_it_is_in_the_table_and_in_the_log() -> None:
    measures = Measures({"G": 0.5, "decay": 9.184424})
    assert measures.table().splitlines()[-1].split() == ["all", "50.0", "9.18"]
    assert measures.logged == {"test/G": 50.0, "test/decay": 9.184424}
    assert (shown("G", None), shown("G", math.nan), shown("decay", math.nan)) == ("-", "-", "-")


@pytest.mark.parametrize(
    ("protocol", "frames", "missing"),
    [
        ("vspw_corrected", 8, {"VC16": 16}),
        ("vspw", 8, {"VC8": 9, "VC16": 17}),
        ("vspw_corrected", 16, {}),
        ("vspw_baseline", 3, {"VC8": 9, "VC16": 17}),
    ],
)
def test_steadiness_of_longer_clips_than_there_are(protocol: str, frames: int, missing: dict[str, int]) -> None:
    rules = VSS_PROTOCOLS[protocol]
    accumulator = rules.accumulator(2)
    accumulator.update("v", labels(*[[1, 2]] * frames), labels(*[[0, 1]] * frames))
    score = accumulator.compute()
    numbers = rules.numbers(score)
    assert {name for name, value in numbers.items() if math.isnan(value)} == set(missing)
    wanted = {name: f"no video of {needed} frames or more" for name, needed in missing.items()}
    assert rules.too_long(frames) == wanted
    assert notes_on(rules, score, numbers, frames) == [f"{name}: {why}" for name, why in wanted.items()]
    assert [cell == "-" for cell in Measures(numbers).table().splitlines()[-1].split()[1:]] == [
        name in missing for name in numbers
    ]


def test_clips_that_the_mean_leaves_out_are_counted() -> None:
    rules = VSS_PROTOCOLS["vspw_corrected"]
    accumulator = rules.accumulator(2)
    accumulator.update("steady", labels(*[[1]] * 8), labels(*[[0]] * 8))
    accumulator.update("flicker", labels(*[[1], [2]] * 4), labels(*[[0]] * 8))
    score = accumulator.compute()
    assert rules.numbers(score)["VC8"] == 1
    assert list(rules.gaps(score)) == ["VC8: no pixel keeps its true label in 1 of 2 clips: left out"]


def test_panoptic_quality_of_longer_windows_than_there_are() -> None:
    classes = PanopticClasses(frozenset({0}), frozenset({1}))
    rules = VpsProtocol("short", "here", VpsRules(windows=(1, 3), averaged=(1, 3)))
    accumulator = rules.accumulator(classes)
    frames = [PanopticFrame(name, np.full((2, 2), 1), (Segment(1, 0),)) for name in "ab"]
    accumulator.update("v", frames, frames)
    score = accumulator.compute()
    numbers = rules.numbers(score)
    assert numbers["VPQ1"] == 1 and all(math.isnan(numbers[name]) for name in ("VPQ", "VPQ-Th", "VPQ-St", "VPQ3"))
    why = "a mean over windows of 3 frames too: no video of 3 frames or more"
    assert notes_on(rules, score, numbers, 2) == [
        f"VPQ: {why}",
        f"VPQ-Th: {why}",
        f"VPQ-St: {why}",
        "VPQ3: no video of 3 frames or more",
        "VPQ-St: neither the truth nor the results have stuff",
    ]
    assert VPS_PROTOCOLS["vipseg_corrected"].too_long(7) == {"VPQ8": "no video of 8 frames or more"}


def test_groups_without_an_object_and_objects_of_no_group() -> None:
    rules = PVOS_PROTOCOLS["viposeg_corrected"]
    accumulator = rules.accumulator(PvosGroups(GROUPS))
    truth = labels([1, 2, 5], [1, 2, 5])
    accumulator.update("v", truth, truth, {0: [1, 2, 5]}, {1: 1, 2: 2, 5: 99})
    score = accumulator.compute()
    numbers = rules.numbers(score)
    assert math.isnan(numbers["G"]) and numbers["thing seen"] == 1
    assert notes_on(rules, score, numbers, 2) == [
        "G, stuff seen: the videos of the test have no object of this group",
        "G, stuff unseen: the videos of the test have no object of this group",
        "objects whose class is in no group count in no number (v: 5)",
    ]


def test_average_precision_without_a_true_track_is_no_number() -> None:
    video = {"id": 1, "height": 2, "width": 2, "length": 1}
    truth = {"videos": [video], "categories": [{"id": 1, "name": "cat"}], "annotations": []}
    accumulator = VIS.accumulator(truth)
    accumulator.update(1, [])
    score = accumulator.compute()
    numbers = VIS.numbers(score)
    assert all(map(math.isnan, numbers.values()))
    assert notes_on(VIS, score, numbers, 1) == ["AP and AR: the videos of the test have no true track"]

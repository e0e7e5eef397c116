"""Video panoptic segmentation: VPQ of the programs of UniVS and VIPSeg, STQ of UniVS's and of deeplab2."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.metrics.stq import Tracking
from benchmarks.metrics.vpq import Quality
from benchmarks.metrics.vps import VpsScore
from benchmarks.protocols.tasks import VPS_PROTOCOLS
from episodes.panoptic import PanopticClasses, PanopticFrame, Segment
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared, shared_cases

SINGLE_TOLERANCE = 1e-6  # deeplab2 counts in 32-bit floats
PARTS = {"All": "all", "Things": "things", "Stuff": "stuff"}
MEANS = {"final_percent_program_1_2_4_6_8": "vipseg", "final_percent_paper_table_1_2_4_6": "vipseg_corrected"}
PROGRAMS = ("vpq_univs", "vpq_vipseg", "stq_univs", "stq_deeplab2")
PRINTED = ("vpq_program_printed_univs", "stq_program_printed_univs")
cases = pytest.mark.parametrize(
    "case",
    shared_cases(
        "golden",
        "vps",
        marker="golden",
        want=lambda path: path.suffix == ".json" and not path.stem.endswith("_segments"),
    ),
)


def frames(maps: np.ndarray, lists: list[dict[str, Any]]) -> Iterator[PanopticFrame]:
    for ids, own in zip(maps, lists, strict=True):
        rows = [Segment(s["id"], s["category_id"], bool(s["iscrowd"])) for s in own["segments_info"]]
        yield PanopticFrame(own["file_name"], ids, rows)


def score(case: Path, protocol: str = "vipseg") -> VpsScore:
    require_shared("golden", "vps")
    content = read_json(case.with_name(f"{case.stem}_segments.json"))
    sides = [{v["video_id"]: v["annotations"] for v in content[side]["annotations"]} for side in ("gt", "pred")]
    things, stuff = (
        frozenset(c["id"] for c in content["gt"]["categories"] if c["isthing"] == is_thing) for is_thing in (1, 0)
    )
    accumulator = VPS_PROTOCOLS[protocol].accumulator(PanopticClasses(things, stuff))
    with np.load(case.with_suffix(".npz")) as arrays:
        for video in reversed([v["video_id"] for v in content["gt"]["videos"]]):
            pair = zip(("gt", "pred"), sides, strict=True)
            accumulator.update(video, *(frames(arrays[f"{video}.{side}"], lists[video]) for side, lists in pair))
    return accumulator.compute()


def check_quality(found: Quality, expected: dict[str, float], what: str) -> None:
    assert_same([found.pq, found.sq, found.rq], [expected[name] for name in ("pq", "sq", "rq")], what)


@pytest.mark.parametrize("program", ["vpq_univs", "vpq_vipseg"])
@cases
def test_quality_of_tubes(case: Path, program: str) -> None:
    found, expected = score(case), read_json(case)[program]
    assert {str(frames) for frames in found.windows} == {key for key in expected if key.isdigit()}
    for window, quality in found.windows.items():
        wanted = expected[str(window)]
        for name, part in PARTS.items():
            check_quality(getattr(quality, part), wanted[name], f"{name} of {window} frames")
            assert getattr(quality, part).categories == wanted[name]["n"]
        counted = {key: row for key, row in wanted["per_class"].items() if row["tp"] + row["fp"] + row["fn"]}
        assert {str(category) for category in quality.categories} == counted.keys()
        for category, own in quality.categories.items():
            check_quality(own, counted[str(category)], f"category {category} of {window} frames")


@pytest.mark.parametrize("mean", MEANS)
@cases
def test_means_over_windows(case: Path, mean: str) -> None:
    found, expected = score(case, MEANS[mean]), read_json(case)
    values = 100 * np.array([found.vpq, found.vpq_things, found.vpq_stuff])
    for program in ("vpq_univs", "vpq_vipseg"):
        assert_same(values, [expected[program][mean][part] for part in PARTS], f"{program} {mean}")
    if MEANS[mean] == "vipseg":
        printed = [float(line.rpartition(":")[2]) for line in expected["vpq_program_printed_univs"]]
        assert_same(np.round(values, 4), printed, "printed")


@pytest.mark.parametrize(("program", "tolerance"), [("stq_univs", 1e-9), ("stq_deeplab2", SINGLE_TOLERANCE)])
@cases
def test_tracking(case: Path, program: str, tolerance: float) -> None:
    found, expected = score(case), read_json(case)[program]
    rows = {"": [found.tracking], "_per_seq": list(found.videos.values())}
    for suffix, own in rows.items():
        for name, column in zip(("STQ", "AQ", "IoU"), zip(*map(triple, own), strict=True), strict=True):
            np.testing.assert_allclose(column, np.ravel(expected[name + suffix]), rtol=0, atol=tolerance)


def triple(tracking: Tracking) -> tuple[float, float, float]:
    return tracking.stq, tracking.aq, tracking.sq


@cases
def test_printed_tracking(case: Path) -> None:
    printed = [float(line.rpartition(":")[2]) for line in read_json(case)["stq_program_printed_univs"]]
    assert_same(triple(score(case).tracking), printed, "printed")


@cases
def test_no_number_is_left_out(case: Path) -> None:
    require_shared("golden", "vps")
    expected = read_json(case)
    assert expected.keys() <= {*PROGRAMS, *PRINTED}
    for program in ("vpq_univs", "vpq_vipseg"):
        assert {key for key in expected[program] if not key.isdigit()} <= MEANS.keys()
    names = {name + suffix for name in ("STQ", "AQ", "IoU", "ID", "Length") for suffix in ("", "_per_seq")}
    assert all(expected[program].keys() <= names for program in ("stq_univs", "stq_deeplab2"))

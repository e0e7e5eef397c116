"""Video instance segmentation: average precision and recall of the YouTube-VIS evaluation."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from benchmarks.metrics.vis import VisAccumulator, VisScore, video_ious
from benchmarks.protocols.tasks import VIS
from episodes.sources.segmentations import as_runs
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared, shared_cases

NAMES = {f"A{kind}{size[0]}": f"A{kind} {size}" for kind in "PR" for size in ("small", "medium", "large")}
KEYS = {"stats", "AP_per_category", "AR100_per_category_per_iou", "video_ious_example"}

# A case is a file of truth with its predictions and numbers beside it: gt.json, or <case>_gt.json.
cases = pytest.mark.parametrize(
    "case", shared_cases("golden", "vis", marker="golden", want=lambda path: path.name.endswith("gt.json"))
)


def part(case: Path, name: str) -> Any:
    return read_json(case.with_name(case.name.removesuffix("gt.json") + f"{name}.json"))


def runs(segmentations: list[Any]) -> list[Any]:
    return [None if mask is None else as_runs(mask, *mask["size"]) for mask in segmentations]


def by_video(rows: list[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["video_id"], []).append(row)
    return found


def accumulate(truth: Any, rows: list[dict[str, Any]], want: Callable[[int], bool] = lambda _: True) -> VisAccumulator:
    accumulator = VIS.accumulator(truth)
    for video, tracks in reversed(by_video(rows).items()):
        if want(video):
            accumulator.update(video, tracks)
    return accumulator


def score(case: Path) -> VisScore:
    require_shared("golden", "vis")
    return accumulate(read_json(case), part(case, "pred")).compute()


@cases
def test_average_precision_and_recall(case: Path) -> None:
    found, expected = score(case), part(case, "expected")
    assert {NAMES.get(name, name) for name in expected["stats"]} == found.stats.keys()
    for name, value in expected["stats"].items():
        assert_same(found.stats[NAMES.get(name, name)], value, name)
    for name, column in (("AP_per_category", found.categories), ("AR100_per_category_per_iou", found.recall)):
        assert {str(key) for key in column} == expected[name].keys()
        for key, value in column.items():
            assert_same(value, expected[name][str(key)], f"{name} {key}")
    assert expected.keys() <= KEYS


@cases
def test_overlaps_of_tracks(case: Path) -> None:
    require_shared("golden", "vis")
    truth, rows = read_json(case), part(case, "pred")
    for key, expected in part(case, "expected").get("video_ious_example", {}).items():
        own = [int(number) for number in key.split(",")]
        tracks, truths = (
            [row for row in of if [row["video_id"], row["category_id"]] == own] for of in (rows, truth["annotations"])
        )
        best = sorted(tracks, key=lambda row: -row["score"])
        found = video_ious(*([runs(row["segmentations"]) for row in of] for of in (best, truths)))
        assert_same(found, expected, key)


@cases
def test_two_processes_find_the_same(case: Path) -> None:
    whole = score(case)
    truth, rows = read_json(case), part(case, "pred")
    first, second = (accumulate(truth, rows, lambda video, odd=odd: video % 2 == odd) for odd in (0, 1))
    first.merge(second)
    assert first.compute().stats == whole.stats

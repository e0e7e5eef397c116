"""J and F of the DAVIS and vos-benchmark evaluators: numbers of the official programs on real and constructed masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.metrics import boundary_f, boundary_map, j_and_f, jaccard
from benchmarks.metrics.davis import DavisAccumulator, SequenceScore, score_semi_supervised, score_unsupervised
from benchmarks.metrics.jf import CMA_TOLERANCE
from benchmarks.metrics.statistics import sequence_statistics
from benchmarks.metrics.vos_benchmark import score_objects, score_vos_benchmark
from tests.golden.values import assert_same, numbers, read_json
from tests.shared import require_shared, shared_cases

PROTOCOLS = {"semi-supervised": score_semi_supervised, "unsupervised": score_unsupervised}
VOS_BENCHMARK = {"vos_benchmark_skip_first_last": True, "vos_benchmark_all_frames": False}
EDGE_KEYS = {"J", "F", "cma_J", "cma_F", "boundary_pixels_gt_pred", "vos_benchmark", "shape", "void"}
# The boundary IoU of VIPOSeg is another metric than J and F (it belongs to panoptic video object segmentation).
OTHER_METRICS = {"viposeg_boundary_iou_0.02"}
VOS_KEYS = {"task", "sequences", "table", "per_object_rows", "note", *VOS_BENCHMARK}


def case_files(folder: str, want: Callable[[Any], bool] = lambda content: True) -> list:
    """The JSON files of a golden folder whose content is wanted."""
    return shared_cases(
        "golden", folder, marker="golden", want=lambda path: path.suffix == ".json" and want(read_json(path))
    )


def labels(case: Path, sequence: str) -> tuple[np.ndarray, np.ndarray]:
    """Truth and result of a sequence, label maps `(T, H, W)`."""
    with np.load(case.with_name(f"{case.stem}__{sequence}.npz")) as arrays:
        return arrays["gt"], arrays["pred"]


def score_case(case: Path, expected: dict[str, Any]) -> dict[str, SequenceScore]:
    score = PROTOCOLS[expected["task"]]
    return {name: score(name, *labels(case, name)) for name in expected["sequences"]}


@pytest.mark.parametrize("case", case_files("vos"))
def test_davis(case: Path) -> None:
    require_shared("golden", "vos")
    expected = read_json(case)
    scores = score_case(case, expected)
    for name, sequence in expected["sequences"].items():
        assert scores[name].objects.keys() == {int(k) for k in sequence["objects"]}
        for k, rows in sequence["objects"].items():
            assert_object(scores[name], int(k), rows, sequence["n_frames_scored"])
    accumulator = DavisAccumulator(scores.values())
    table = accumulator.compute(wrapped_ids=True)
    assert table.keys() == expected["table"].keys()
    for column, value in expected["table"].items():
        assert_same(table[column], value, column)
    assert accumulator.rows().keys() == expected["per_object_rows"].keys()
    for row, values in expected["per_object_rows"].items():
        assert_same(accumulator.rows()[row], values, row)


def assert_object(score: SequenceScore, k: int, rows: dict[str, list], frames: int) -> None:
    """Per-frame J and F of one object and their statistics."""
    for measure, values in (("J", score.objects[k].j), ("F", score.objects[k].f)):
        what = f"{score.name}, object {k}, {measure}"
        assert len(values) == frames, what
        assert_same(values, rows[measure], what)
        statistics = sequence_statistics(values, wrapped_ids=True)
        assert_same([statistics.mean, statistics.recall, statistics.decay], rows[f"{measure}_stats"], what)


@pytest.mark.parametrize("case", case_files("vos", lambda content: bool(content.keys() & VOS_BENCHMARK.keys())))
def test_vos_benchmark(case: Path) -> None:
    require_shared("golden", "vos")
    content = read_json(case)
    for key in content.keys() & VOS_BENCHMARK.keys():
        check_vos_benchmark(case, content[key], skip_first_last=VOS_BENCHMARK[key])


def check_vos_benchmark(case: Path, expected: dict[str, Any], skip_first_last: bool) -> None:
    """Means over all objects, and J and F of each object, in percent."""
    names = expected["per_sequence_percent"]
    score = score_vos_benchmark({name: labels(case, name) for name in names}, skip_first_last)
    means = [100 * score.j, 100 * score.f, 50 * (score.j + score.f)]
    assert_same(means, [expected[k] for k in ("J", "F", "J&F")], "means")
    for name, of_sequence in names.items():
        for at, measure in enumerate(("J", "F")):
            percent = {str(k): 100 * pair[at] for k, pair in score.objects[name].items()}
            assert percent.keys() == of_sequence[measure].keys(), name
            for k, value in of_sequence[measure].items():
                assert_same(percent[k], value, f"{name}, object {k}, {measure}")


@pytest.mark.parametrize("case", case_files("vos_edge", lambda content: isinstance(content, list)))
def test_statistics(case: Path) -> None:
    require_shared("golden", "vos_edge")
    for row in read_json(case):
        values = numbers(row["values"])
        wrapped, plain = (sequence_statistics(values, wrapped_ids=flag) for flag in (True, False))
        what = f"{len(values)} values"
        assert_same([wrapped.mean, wrapped.recall, wrapped.decay], row["mean_recall_decay"], what)
        assert_same([plain.mean, plain.recall], row["mean_recall_decay"][:2], what)
        if len(values) < 256:  # above, the official frame numbers wrap
            assert_same(plain.decay, row["mean_recall_decay"][2], what)


def edge_masks(folder: Path, name: str, shape: list[int]) -> dict[str, np.ndarray]:
    """`pred`, `gt` and, where there is one, `void` of an edge case, from whichever array file of the folder has it."""
    size, parts = int(np.prod(shape)), ("pred", "gt", "void")
    for path in sorted(folder.glob("*.npz")):
        with np.load(path) as arrays:
            if f"{name}.gt" in arrays:
                found = {part: arrays[f"{name}.{part}"] for part in parts if f"{name}.{part}" in arrays}
                return {part: np.unpackbits(bits)[:size].reshape(shape).astype(bool) for part, bits in found.items()}
    raise FileNotFoundError(f"no array file in {folder} has {name}.gt")


@pytest.mark.parametrize("case", case_files("vos_edge", lambda content: isinstance(content, dict)))
def test_edge_masks(case: Path) -> None:
    require_shared("golden", "vos_edge")
    for name, expected in read_json(case).items():
        masks = edge_masks(case.parent, name, expected["shape"])
        assert ("void" in masks) == expected["void"], name
        check_edge_case(name, expected, **masks)


def check_edge_case(
    name: str, expected: dict[str, Any], pred: np.ndarray, gt: np.ndarray, void: np.ndarray | None = None
) -> None:
    assert_same(jaccard(pred, gt, void), expected["J"], name)
    assert_same(boundary_f(pred, gt, void), expected["F"], name)
    assert_same(j_and_f(pred, gt, void), [expected["J"], expected["F"]], name)
    for key in (key for key in expected if key.startswith("F@")):
        assert_same(boundary_f(pred, gt, void, float(key[2:])), expected[key], f"{name}, {key}")
    scored = np.ones_like(gt) if void is None else ~void
    counts = [int(boundary_map(mask & scored).sum()) for mask in (gt, pred)]
    assert counts == expected["boundary_pixels_gt_pred"], name
    if "cma_J" in expected:
        assert_same(j_and_f(pred, gt, bound_th=CMA_TOLERANCE), [expected["cma_J"], expected["cma_F"]], name)
    if "vos_benchmark" in expected:
        objects = score_objects(gt[None].astype(np.uint8), pred[None].astype(np.uint8))
        assert {str(k) for k in objects} == expected["vos_benchmark"].keys(), name
        for k, pair in expected["vos_benchmark"].items():
            assert_same(objects[int(k)], pair, name)


@pytest.mark.parametrize("case", case_files("vos"))
def test_no_number_is_left_out(case: Path) -> None:
    require_shared("golden", "vos")
    assert read_json(case).keys() <= VOS_KEYS


@pytest.mark.parametrize("case", case_files("vos_edge", lambda content: isinstance(content, dict)))
def test_no_edge_number_is_left_out(case: Path) -> None:
    require_shared("golden", "vos_edge")
    for name, expected in read_json(case).items():
        assert {key for key in expected if not key.startswith("F@")} <= EDGE_KEYS | OTHER_METRICS, name

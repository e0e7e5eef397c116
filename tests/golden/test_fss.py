"""mIoU and FB-IoU of HSNet, PFENet and PANet: numbers of the official programs on real and constructed masks."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from benchmarks.metrics.fss import Counters, FssAccumulator, FssScore
from benchmarks.metrics.iou import PairCounts, pair_counts
from benchmarks.metrics.panet import PanetAccumulator, over_runs
from benchmarks.report import Report
from benchmarks.scores.scores import ImageScore
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared, shared_cases

PERCENT_TOLERANCE = 2e-5  # of HSNet's 32-bit counters
HSNET = {"miou_percent", "fb_iou_percent", "per_class_fg_iou", "per_class_bg_iou"}
HSNET_COUNTS = "per_episode_inter_bg_fg_union_bg_fg"
PFENET = "pfenet_validate_with_first_episode_repeated"
PFENET_COUNTS = "pfenet_counts_inter_union_target_bg_fg"
MASK_KEYS = {"benchmark", "class_ids", "uses_ignore", "hsnet", PFENET, PFENET_COUNTS, "pfenet_index_rule"}
COUNT_KEYS = {"official_float32_miou_percent", "official_float32_fb_percent", "official_float32_intersection_buf"}
COUNT_KEYS |= {"official_float32_union_buf", "exact_integer_miou_percent", "exact_integer_fb_percent"}
PANET_KEYS = {"labels", "n_runs", "episodes_per_run", "ways", "class_iou_mean", "class_iou_std", "mean_iou_mean"}
PANET_KEYS |= {"mean_iou_std", "binary_iou_mean_bg_fg", "binary_iou_std", "binary_mean", "binary_std", "per_run"}


def case_files(want: Callable[[Any], bool] = lambda content: True) -> list:
    """The JSON files whose content is wanted."""
    return shared_cases(
        "golden", "fss", marker="golden", want=lambda path: path.suffix == ".json" and want(read_json(path))
    )


def episodes(case: Path) -> tuple[list[int], list[PairCounts]]:
    """Class and pixel counts of each episode of a case with masks."""
    with np.load(case.with_suffix(".npz")) as arrays:
        shapes = arrays["shapes"]
        masks = [_unpack(arrays[f"{part}_bits"], shapes) for part in ("pred", "gt", "ignore")]
        return arrays["class_id"].tolist(), [pair_counts(*three) for three in zip(*masks, strict=True)]


def _unpack(bits: np.ndarray, shapes: np.ndarray) -> list[np.ndarray]:
    sizes = shapes.prod(1)
    parts = np.split(np.unpackbits(bits)[: sizes.sum()], np.cumsum(sizes)[:-1])
    return [part.reshape(shape).astype(bool) for part, shape in zip(parts, shapes, strict=True)]


def accumulate(
    class_list: list[int], classes: list[int], counts: list[PairCounts], counters: Counters
) -> FssAccumulator:
    accumulator = FssAccumulator(class_list, counters)
    for class_id, pair in zip(classes, counts, strict=True):
        accumulator.update(pair, class_id)
    return accumulator


@pytest.mark.parametrize("counters", ["exact", "float32_hsnet"])
@pytest.mark.parametrize("case", case_files(lambda content: "hsnet" in content))
def test_hsnet(case: Path, counters: Counters) -> None:
    require_shared("golden", "fss")
    content = read_json(case)
    expected = content["hsnet"]
    classes, counts = episodes(case)
    assert_same([pair[:4] for pair in counts], expected[HSNET_COUNTS], "pixel counts of the episodes")
    score = accumulate(content["class_ids"], classes, counts, counters).compute()
    check_percent([score.miou, score.fb_iou], [expected["miou_percent"], expected["fb_iou_percent"]])
    for column, name in enumerate(("per_class_bg_iou", "per_class_fg_iou")):
        assert {str(class_id) for class_id in score.classes} == expected[name].keys()
        for class_id, pair in score.classes.items():
            check_percent(pair[column], 100 * expected[name][str(class_id)])


def check_percent(fractions: Any, percent: Any) -> None:
    np.testing.assert_allclose(100 * np.asarray(fractions), percent, rtol=0, atol=PERCENT_TOLERANCE)


@pytest.mark.parametrize("case", case_files(lambda content: "hsnet" in content))
def test_a_report_of_the_episodes_has_the_official_numbers(case: Path) -> None:
    require_shared("golden", "fss")
    content = read_json(case)
    classes, counts = episodes(case)
    scores = tuple(
        ImageScore(0, 0, "", index, class_id, str(class_id), f"{index}", *pair[:4])
        for index, (class_id, pair) in enumerate(zip(classes, counts, strict=True))
    )
    report = Report(scores, protocol="hsnet", bootstrap=0)
    # A report does not know of classes that were never drawn; the official program counts them as 0.
    drawn = len(set(classes)) / len(content["class_ids"])
    check_percent(drawn * report.value("mIoU"), content["hsnet"]["miou_percent"])
    check_percent(report.value("FB-IoU"), content["hsnet"]["fb_iou_percent"])


@pytest.mark.parametrize("case", case_files(lambda content: PFENET in content))
def test_pfenet(case: Path) -> None:
    require_shared("golden", "fss")
    content = read_json(case)
    expected = content[PFENET]
    classes, counts = episodes(case)
    assert_same([(*pair[:4], *pair[4:]) for pair in counts], content[PFENET_COUNTS], "pixel counts of the episodes")
    score = accumulate(content["class_ids"], classes, counts, "first_twice_pfenet").compute()
    found = {
        "class_miou": score.miou,
        "fb_iou": score.fb_iou,
        "mean_class_acc": score.mean_accuracy,
        "all_acc": score.accuracy,
    }
    assert expected.keys() == found.keys() | {"log_lines"}
    for name, value in found.items():
        assert_same(value, expected[name], name)
    assert pfenet_log(score) == expected["log_lines"]


def pfenet_log(score: FssScore) -> list[str]:
    """What the program prints; it numbers the classes of a fold from the second on, and the first last."""
    means = f"{score.fb_iou:.4f}/{score.mean_accuracy:.4f}/{score.accuracy:.4f}"
    lines = [f"meanIoU---Val result: mIoU {score.miou:.4f}.", f"FBIoU---Val result: mIoU/mAcc/allAcc {means}."]
    foreground = [pair[1] for pair in score.classes.values()]
    for slot, iou in enumerate([*foreground[1:], foreground[0]], start=1):
        lines.append(f"Class_{slot} Result: iou {iou:.4f}.")
    for k, (iou, recall) in enumerate(zip(score.pooled, score.recall, strict=True)):
        lines.append(f"Class_{k} Result: iou/accuracy {iou:.4f}/{recall:.4f}.")
    return lines


@pytest.mark.parametrize("case", case_files(lambda content: "exact_integer_miou_percent" in content))
def test_counters(case: Path) -> None:
    require_shared("golden", "fss")
    expected = read_json(case)
    with np.load(case.with_suffix(".npz")) as arrays:
        classes = arrays["class_id"].tolist()
        inter, union = arrays["inter"].T, arrays["union"].T
    counts = [PairCounts(*i, *u, 0, 0) for i, u in zip(inter, union, strict=True)]
    columns = len(expected["official_float32_union_buf"][0])
    order = list(range(columns)) if max(classes) < columns else sorted(set(classes))
    exact, official = (accumulate(order, classes, counts, name) for name in ("exact", "float32_hsnet"))
    found = [100 * exact.compute().miou, 100 * exact.compute().fb_iou]
    assert_same(found, [expected["exact_integer_miou_percent"], expected["exact_integer_fb_percent"]], "exact")
    check_percent(
        [official.compute().miou, official.compute().fb_iou],
        [expected["official_float32_miou_percent"], expected["official_float32_fb_percent"]],
    )
    assert official.sums[:, :2].T.tolist() == expected["official_float32_intersection_buf"]
    assert official.sums[:, 2:4].T.tolist() == expected["official_float32_union_buf"]


@pytest.mark.parametrize("case", case_files(lambda content: "ways" in content))
def test_panet(case: Path) -> None:
    require_shared("golden", "fss")
    expected = read_json(case)
    accumulator = PanetAccumulator(expected["labels"])
    with np.load(case.with_suffix(".npz")) as arrays:
        assert arrays["labels"].shape[1] == expected["ways"]
        parts = (arrays[name] for name in ("pred", "gt", "labels", "run"))
        for pred, truth, labels, run in zip(*parts, strict=True):
            accumulator.update(pred, truth, labels.tolist(), int(run))
    score = accumulator.compute()
    assert len(score.class_iou) == expected["n_runs"]
    for values, mean, std in (
        (score.class_iou, "class_iou_mean", "class_iou_std"),
        (score.mean_iou, "mean_iou_mean", "mean_iou_std"),
        (score.binary_iou, "binary_iou_mean_bg_fg", "binary_iou_std"),
        (score.fb_iou, "binary_mean", "binary_std"),
    ):
        assert_same(over_runs(values)[0], expected[mean], mean)
        assert_same(over_runs(values)[1], expected[std], std)
    for run, (class_iou, mean_iou, binary) in enumerate(expected["per_run"]):
        assert_same(score.class_iou[run], class_iou, f"run {run}")
        assert_same([score.mean_iou[run], score.fb_iou[run]], [mean_iou, binary], f"run {run}")


@pytest.mark.parametrize("case", case_files())
def test_no_number_is_left_out(case: Path) -> None:
    require_shared("golden", "fss")
    content = read_json(case)
    assert any(content.keys() <= known for known in (MASK_KEYS, COUNT_KEYS, PANET_KEYS)), content.keys()
    assert content.get("hsnet", {}).keys() <= HSNET | {HSNET_COUNTS}

"""Referring image segmentation: numbers of the ReferFormer, LAVT and UniRef programs, and COCO's mAP."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pycocotools import mask as coco_mask

from benchmarks.metrics.coco_map import sentence_map
from benchmarks.metrics.iou import box_iou, pair_counts
from benchmarks.metrics.ris import RisAccumulator, RisScore, best_candidate, sample_ious
from benchmarks.metrics.sentences import Candidate, SentenceAccumulator
from tests.golden.values import assert_same, read_json
from tests.shared import require_shared, shared_cases

PRINTED_TOLERANCE = 0.005  # LAVT's numbers are known as printed, with two decimals
MAP_NAMES = {"mAP 0.5:0.95": "mAP", "AP 0.5": "AP50", "AP 0.75": "AP75"}
MAP_NAMES |= {f"AP 0.5:0.95 {size[0].upper()}": f"AP {size}" for size in ("small", "medium", "large")}
RECALLS = ("AR1", "AR10", "AR100", "AR small", "AR medium", "AR large")
KEYS = {"referformer_a2d", "referformer_bbox", "referformer_refcoco_segm_ap_with_box_field", "lavt_printed"}
KEYS |= {"per_sample_inter_union_referformer_iou", "uniref_refcocoeval"}


def cases(*programs: str) -> pytest.MarkDecorator:
    """The cases that hold the numbers of these programs."""

    def want(path: Path) -> bool:
        whole = path.suffix == ".json" and path.with_name(f"{path.stem}_gt.json").is_file()
        return whole and set(programs) <= read_json(path).keys()

    return pytest.mark.parametrize("case", shared_cases("golden", "ris", marker="golden", want=want))


def part(case: Path, name: str) -> Any:
    return read_json(case.with_name(f"{case.stem}_{name}.json"))


def answers(case: Path, predictions: str) -> list[tuple[dict[str, Any], dict[str, Any]]]:
    """The true annotation of each image and its best prediction."""
    rows: dict[int, list[dict[str, Any]]] = {}
    for row in part(case, predictions):
        rows.setdefault(row["image_id"], []).append(row)
    pairs = ((truth, rows[truth["image_id"]]) for truth in part(case, "gt")["annotations"])
    return [(truth, found[best_candidate([row["score"] for row in found])]) for truth, found in pairs]


def mask_areas(case: Path) -> list[tuple[int, int]]:
    """Intersection and union of the best prediction and the truth of each image."""
    decoded = ((coco_mask.decode(row["segmentation"]) for row in pair) for pair in answers(case, "pred"))
    counts = [pair_counts(pred, truth) for truth, pred in decoded]
    return [(c.inter_fg, c.union_fg) for c in counts]


def check(score: RisScore, expected: dict[str, float], mean: str, overall: str, suffix: str, scale: float) -> None:
    """Overall IoU, mean IoU and every P@K."""
    assert_same(scale * score.overall_iou, expected[overall], overall)
    assert_same(scale * score.mean_iou, expected[mean], mean)
    for threshold, value in score.precision.items():
        assert_same(scale * value, expected[f"P@{threshold}{suffix}"], f"P@{threshold}")
    assert len([key for key in expected if key.startswith("P@")]) == len(score.precision)


@cases("referformer_a2d", "per_sample_inter_union_referformer_iou")
def test_referformer(case: Path) -> None:
    require_shared("golden", "ris")
    expected = read_json(case)
    areas = mask_areas(case)
    rows = np.array(expected["per_sample_inter_union_referformer_iou"])
    assert_same(areas, rows[:, :2], "areas")
    assert sample_ious(rows[:, 0], rows[:, 1], "referformer").tolist() == rows[:, 2].tolist()
    score = RisAccumulator("referformer", areas).compute()
    check(score, expected["referformer_a2d"], "mean_iou", "overall_iou", "", 1)


@cases("referformer_bbox")
def test_referformer_boxes(case: Path) -> None:
    require_shared("golden", "ris")
    pairs = answers(case, "pred_with_xyxy_boxes")
    truth = np.array([row["bbox"] for row, _ in pairs])
    truth[:, 2:] += truth[:, :2]  # width and height -> the far corner
    score = RisAccumulator(
        "referformer", zip(*box_iou([row["bbox"] for _, row in pairs], truth), strict=True)
    ).compute()
    check(score, read_json(case)["referformer_bbox"], "mean_iou", "overall_iou", "", 1)


@cases("lavt_printed")
def test_lavt(case: Path) -> None:
    require_shared("golden", "ris")
    lines = read_json(case)["lavt_printed"]
    score = RisAccumulator("lavt", mask_areas(case)).compute()
    printed = dict(re.findall(r"(Mean IoU|overall IoU|precision@[\d.]+) (?:is|=) ([\d.]+)", "\n".join(lines)))
    found = {"Mean IoU": score.mean_iou, "overall IoU": score.overall_iou}
    found |= {f"precision@{threshold}": value for threshold, value in score.precision.items()}
    assert printed.keys() == found.keys() and len(lines) == len(found) + 1  # and a title
    for name, value in found.items():
        assert 100 * value == pytest.approx(float(printed[name]), rel=0, abs=PRINTED_TOLERANCE + 1e-9), name


@cases("uniref_refcocoeval")
def test_uniref(case: Path) -> None:
    require_shared("golden", "ris")
    score = RisAccumulator("uniref", mask_areas(case)).compute()
    check(score, read_json(case)["uniref_refcocoeval"], "mIoU_percent", "oIoU_percent", "_percent", 100)


@cases("referformer_a2d")
def test_average_precision(case: Path) -> None:
    require_shared("golden", "ris")
    expected = read_json(case)["referformer_a2d"]
    found = sentence_map(part(case, "gt"), part(case, "pred"))
    for name, ours in MAP_NAMES.items():
        assert_same(found[ours], expected[name], name)
    assert_same([found[name] for name in RECALLS], expected["AR_1_10_100_S_M_L"], "recalls")
    assert expected.keys() - {key for key in expected if key.startswith("P@")} == {
        *MAP_NAMES,
        "AR_1_10_100_S_M_L",
        "overall_iou",
        "mean_iou",
    }


@cases("referformer_a2d")
def test_all_numbers_of_sentences_at_once(case: Path) -> None:
    require_shared("golden", "ris")
    offered: dict[int, list[Candidate]] = {}
    for row in part(case, "pred"):
        offered.setdefault(row["image_id"], []).append(Candidate(row["score"], row["segmentation"]))
    accumulator = SentenceAccumulator()
    for truth in reversed(part(case, "gt")["annotations"]):
        accumulator.update(truth["image_id"], truth["segmentation"], offered[truth["image_id"]])
    found, expected = accumulator.compute(), read_json(case)["referformer_a2d"]
    names = {ours: name for name, ours in MAP_NAMES.items()} | {"oIoU": "overall_iou", "mIoU": "mean_iou"}
    for name, value in found.items():
        assert_same(value, expected[names.get(name, name)], name)
    assert list(found)[0] == "mAP" and len(found) == 10


@cases("referformer_refcoco_segm_ap_with_box_field")
def test_average_precision_with_a_box_field(case: Path) -> None:
    require_shared("golden", "ris")
    truth, predictions = part(case, "gt"), part(case, "pred_with_xyxy_boxes")
    expected = read_json(case)["referformer_refcoco_segm_ap_with_box_field"]
    with_boxes = sentence_map(truth, predictions, area_from_bbox=True)
    assert expected.keys() == MAP_NAMES.keys()
    for name, ours in MAP_NAMES.items():
        assert_same(with_boxes[ours], expected[name], name)
    assert sentence_map(truth, predictions) == sentence_map(truth, part(case, "pred"))  # by default the box is no trap


@cases()
def test_no_number_is_left_out(case: Path) -> None:
    require_shared("golden", "ris")
    assert read_json(case).keys() <= KEYS

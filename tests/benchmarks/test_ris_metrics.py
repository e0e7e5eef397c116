"""The three definitions of referring image segmentation, at exact thresholds and on empty masks; and COCO's mAP."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pycocotools import mask as coco_mask

from benchmarks.metrics.coco_map import SentenceMapAccumulator, sentence_map
from benchmarks.metrics.ris import RisAccumulator, best_candidate, precision_at, sample_ious

VARIANTS = ("lavt", "referformer", "uniref")
AREAS = st.tuples(st.integers(0, 5000), st.integers(0, 5000)).map(lambda pair: (min(pair), sum(pair)))


def passes(inter: int, union: int, threshold: float, variant: str = "referformer") -> bool:
    return precision_at(sample_ious([inter], [union], variant), variant, [threshold])[threshold] == 1


def test_which_exact_ratios_pass_in_32_bits() -> None:
    """The epsilon and the rounding decide; the lists are those that the official arithmetic gives."""
    fifths, tens, evens = range(5, 3000, 5), range(10, 3000, 10), range(2, 3000, 2)
    assert all(passes(u * 4 // 5, u, 0.8) for u in fifths)
    assert [u for u in fifths if not passes(u * 3 // 5, u, 0.6)] == [20, 25]
    assert [u for u in tens if passes(u * 7 // 10, u, 0.7)] == [10, 30, 40]
    assert [u for u in tens if passes(u * 9 // 10, u, 0.9)] == [10, 20, 30]
    halves = [u for u in evens if passes(u // 2, u, 0.5)]
    assert len(halves) == 23 and max(halves) == 62 and not set(halves) & set(range(16, 25))


def test_exact_ratios_pass_with_lavt_and_not_with_uniref() -> None:
    for inter, union, threshold in ((1, 2, 0.5), (4, 5, 0.8), (30, 50, 0.6)):
        assert passes(inter, union, threshold, "lavt")
        assert not passes(inter, union, threshold, "uniref")


def test_empty_masks() -> None:
    assert {variant: sample_ious([0], [0], variant)[0] for variant in VARIANTS} == dict(lavt=0, referformer=1, uniref=0)
    assert sample_ious([0], [100], "referformer")[0] == pytest.approx(1e-8)
    for variant in VARIANTS:
        score = RisAccumulator(variant, [(0, 0), (5, 10)]).compute()
        assert (score.overall_iou, score.samples) == (0.5, 2)
        assert RisAccumulator(variant, [(0, 0)]).compute().overall_iou == 0


@given(st.lists(AREAS, min_size=1, max_size=30), st.sampled_from(VARIANTS), st.randoms())
def test_neither_order_nor_split_changes_a_bit(areas: list, variant: str, draw: object) -> None:
    whole = RisAccumulator(variant, areas)
    draw.shuffle(areas)
    first, second = RisAccumulator(variant, areas[::2]), RisAccumulator(variant, areas[1::2])
    first.merge(second)
    assert first.compute() == whole.compute()


@given(st.lists(AREAS, min_size=1, max_size=30))
def test_the_definitions_agree_away_from_thresholds_and_empty_masks(areas: list) -> None:
    scores = [RisAccumulator(variant, areas).compute([0.123456789]) for variant in VARIANTS]
    assert len({score.overall_iou for score in scores}) == 1
    assert scores[0].mean_iou == scores[2].mean_iou
    if all(union for _, union in areas):
        assert scores[1].mean_iou == pytest.approx(scores[0].mean_iou, abs=1e-5)
        assert scores[0].precision == scores[1].precision == scores[2].precision


def test_by_hand() -> None:
    score = RisAccumulator("uniref", [(9, 10), (30, 100), (0, 40)]).compute((0.2, 0.5, 0.95))
    assert score.overall_iou == pytest.approx(39 / 150)
    assert score.mean_iou == pytest.approx(0.4)
    assert score.precision == {0.2: pytest.approx(2 / 3), 0.5: pytest.approx(1 / 3), 0.95: 0}


def test_the_last_of_equal_candidates_is_the_answer() -> None:
    assert best_candidate([0.1, 0.9, 0.3]) == 1
    assert best_candidate([0.9, 0.1, 0.9, 0.2]) == 2
    with pytest.raises(ValueError, match="at least one"):
        best_candidate([])


def test_impossible_samples() -> None:
    accumulator = RisAccumulator("lavt")
    for areas in ((5, 4), (-1, 4), (float("nan"), 4)):
        with pytest.raises(ValueError, match="0 <= intersection <= union"):
            accumulator.update(*areas)
    with pytest.raises(ValueError, match="no sample"):
        accumulator.compute()
    with pytest.raises(ValueError, match="cannot be merged"):
        accumulator.merge(RisAccumulator("uniref"))
    with pytest.raises(ValueError, match="valid are lavt, referformer, uniref"):
        RisAccumulator("cris")


def coco_case() -> tuple[dict, list[dict]]:
    """Two images with one true mask each; the first candidate of each is perfect, the second is empty."""
    truth = {"images": [], "annotations": [], "categories": [{"id": 1, "name": "dummy"}]}
    predictions = []
    for k in (1, 2):
        mask = np.zeros((60, 60), np.uint8, order="F")
        mask[: 40 * k, :50] = 1
        rle = coco_mask.encode(mask)
        box, area = coco_mask.toBbox(rle).tolist(), float(mask.sum())
        truth["images"].append({"id": k, "height": 60, "width": 60})
        row = {"image_id": k, "category_id": 1, "segmentation": rle}
        truth["annotations"].append({**row, "id": k, "iscrowd": 0, "area": area, "bbox": box})
        empty = coco_mask.encode(np.zeros((60, 60), np.uint8, order="F"))
        predictions += [{**row, "score": 0.9}, {**row, "segmentation": empty, "score": 0.1}]
    return truth, predictions


def test_average_precision_of_perfect_candidates(capsys: pytest.CaptureFixture) -> None:
    truth, predictions = coco_case()
    found = sentence_map(truth, predictions)
    assert found["mAP"] == found["AP50"] == found["AR10"] == pytest.approx(1)
    assert found["AP large"] == -1  # no true mask is that large
    assert capsys.readouterr().out == ""
    worse = [{**row, "score": 1 - row["score"]} for row in predictions]
    assert sentence_map(truth, worse)["mAP"] == pytest.approx(0.5, abs=0.05)  # an empty mask comes first


def test_average_precision_needs_predictions_of_known_images() -> None:
    truth, predictions = coco_case()
    with pytest.raises(ValueError, match="no prediction"):
        sentence_map(truth, [])
    with pytest.raises(ValueError, match=r"images \[7\] that the truth does not list"):
        sentence_map(truth, [*predictions, {**predictions[0], "image_id": 7}])


def test_average_precision_does_not_depend_on_the_split() -> None:
    truth, predictions = coco_case()
    worse = [{**row, "score": 1 - row["score"]} if row["image_id"] == 1 else row for row in predictions]
    left, right = SentenceMapAccumulator(truth), SentenceMapAccumulator(truth)
    right.update(1, worse[:2])
    left.update(2, worse[2:])
    left.merge(right)
    assert left.compute() == sentence_map(truth, worse)
    with pytest.raises(ValueError, match="image 1 was already added"):
        left.merge(right)
    with pytest.raises(ValueError, match="cannot be merged"):
        left.merge(SentenceMapAccumulator(truth, area_from_bbox=True))

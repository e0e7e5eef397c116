"""Pixel counts of mask pairs against counting pixel by pixel, and the accumulators of few-shot segmentation."""

from __future__ import annotations

from typing import get_args

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.metrics.fss import Counters, FssAccumulator, fb_iou, image_ious, miou
from benchmarks.metrics.iou import PairCounts, box_iou, pair_counts
from benchmarks.metrics.ratios import Totals, mean_ratio, ratio
from experiments.speed.iou import confusion_counts, histogram_counts, main


@st.composite
def mask_triples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    shape = draw(st.tuples(st.integers(1, 12), st.integers(1, 12)))
    return tuple(draw(arrays(bool, shape)) for _ in range(3))


def slow_counts(pred: np.ndarray, truth: np.ndarray, ignore: np.ndarray) -> list[int]:
    """One pixel after the other."""
    found = [0] * 6
    for p, t, skip in zip(pred.flat, truth.flat, ignore.flat, strict=True):
        if not skip:
            for k in (0, 1):
                found[k] += p == t == k
                found[2 + k] += k in (p, t)
                found[4 + k] += t == k
    return found


@settings(max_examples=60)
@given(mask_triples())
def test_counts_are_those_of_every_straightforward_version(masks: tuple) -> None:
    expected = slow_counts(*masks)
    for method in (pair_counts, histogram_counts, confusion_counts):
        assert list(method(*masks)) == expected


@given(mask_triples())
def test_iou_is_symmetric_and_background_and_foreground_change_places(masks: tuple) -> None:
    pred, truth, ignore = masks
    counts, turned = pair_counts(pred, truth, ignore), pair_counts(truth, pred, ignore)
    assert counts[:4] == turned[:4]
    inverse = pair_counts(~pred, ~truth, ignore)
    assert inverse == (*(counts[k] for k in (1, 0, 3, 2, 5, 4)),)
    assert 0 <= ratio(counts.inter_fg, counts.union_fg) <= 1


@given(mask_triples())
def test_what_is_ignored_does_not_matter(masks: tuple) -> None:
    pred, truth, ignore = masks
    assert pair_counts(pred ^ ignore, truth, ignore) == pair_counts(pred, truth, ignore)
    assert pair_counts(pred, truth | ignore, ignore) == pair_counts(pred, truth, ignore)


def test_masks_of_other_types_and_shapes() -> None:
    pred, truth = np.array([[0, 1, 1]], np.uint8), np.array([[0.0, 0.0, 1.0]])
    assert pair_counts(pred, truth) == (1, 1, 2, 2, 2, 1)
    with pytest.raises(ValueError, match=r"prediction \(1, 3\), truth \(1, 2\): resize"):
        pair_counts(pred, truth[:, :2])
    with pytest.raises(ValueError, match=r"ignore \(3,\)"):
        pair_counts(pred, truth, np.zeros(3, bool))


def test_boxes() -> None:
    inter, union = box_iou([[0, 0, 4, 2], [0, 0, 1, 1]], [[2, 1, 6, 3], [5, 5, 6, 6]])
    assert inter.tolist() == [2, 0] and union.tolist() == [14, 2]


COUNTERS = get_args(Counters)
EPISODES = st.lists(st.tuples(mask_triples(), st.sampled_from([3, 5, 8])), max_size=12)


@settings(max_examples=30)
@given(EPISODES, st.randoms())
def test_merged_parts_are_the_whole_bit_by_bit(episodes: list, draw: object) -> None:
    whole, parts = FssAccumulator((3, 5, 8)), [FssAccumulator((3, 5, 8)) for _ in range(3)]
    for masks, class_id in episodes:
        whole.update(pair_counts(*masks), class_id)
    draw.shuffle(episodes)
    for k, (masks, class_id) in enumerate(episodes):
        parts[k % 3].update(pair_counts(*masks), class_id)
    parts[0].merge(parts[2])
    parts[0].merge(parts[1])
    assert parts[0].compute() == whole.compute()


def test_sums_per_class_by_hand() -> None:
    accumulator = FssAccumulator([1, 2, 7])
    accumulator.update(PairCounts(60, 10, 90, 40, 80, 20), 1)
    accumulator.update(PairCounts(80, 10, 90, 20, 80, 20), 1)
    accumulator.update(PairCounts(0, 50, 50, 100, 50, 50), 2)
    score = accumulator.compute()
    assert score.classes == {1: (140 / 180, 20 / 60), 2: (0.0, 0.5), 7: (0.0, 0.0)}
    assert score.miou == pytest.approx((1 / 3 + 0.5 + 0) / 3)  # the class that was never drawn is in the mean
    assert score.pooled == (140 / 230, 70 / 160)
    assert score.fb_iou == pytest.approx((140 / 230 + 70 / 160) / 2)
    assert score.recall == (140 / 210, 70 / 90)
    assert score.accuracy == pytest.approx(210 / 300)


def test_mean_over_images_is_another_number() -> None:
    counts = [PairCounts(60, 10, 90, 40, 80, 20), PairCounts(80, 10, 90, 20, 80, 20), PairCounts(9, 0, 9, 0, 9, 0)]
    ious = image_ious([c.inter_fg for c in counts], [c.union_fg for c in counts])
    assert ious.tolist() == [0.25, 0.5, 0.0]
    assert image_ious([0, 3], [0, 4], empty=1.0).tolist() == [1.0, 0.75]


def test_classes_without_an_episode_are_left_out_of_the_mean() -> None:
    first = Totals(np.array([[140, 20]]), np.array([[180, 60]]), np.array([[2]]))
    second = Totals(np.array([[0, 50]]), np.array([[50, 100]]), np.array([[1]]))
    never = Totals(np.zeros((1, 2)), np.zeros((1, 2)), np.zeros((1, 1)))
    assert miou([first, never, second]).tolist() == [pytest.approx((1 / 3 + 1 / 2) / 2)]
    assert fb_iou([first, never, second]).tolist() == [pytest.approx((140 / 230 + 70 / 160) / 2)]
    assert np.isnan(mean_ratio([never])).all() and np.isnan(fb_iou([never])).all()


def test_counters_of_other_programs_are_named_options() -> None:
    big = PairCounts(2**24, 1, 2**24, 1, 2**24, 1)
    exact, rounded, repeated = (FssAccumulator([1, 2], name) for name in COUNTERS)
    for accumulator in (exact, rounded, repeated):
        accumulator.update(big, 1)
        accumulator.update(PairCounts(1, 1, 2, 2, 1, 2), 2)
        accumulator.update(PairCounts(1, 1, 2, 2, 1, 2), 1)
    assert exact.sums[0].tolist() == [2**24 + 1, 2, 2**24 + 2, 3, 2**24 + 1, 3]
    assert rounded.sums[0, 0] == 2**24  # a 32-bit float cannot count further
    assert repeated.sums[0, 0] == 2 * 2**24 + 1  # the first episode came twice
    assert repeated.compute().classes[2] == pytest.approx(exact.compute().classes[2])
    other = FssAccumulator([1, 2], "first_twice_pfenet")
    other.merge(repeated)
    assert other.compute() == repeated.compute()


def test_impossible_accumulators() -> None:
    with pytest.raises(ValueError, match="class list is empty"):
        FssAccumulator([])
    with pytest.raises(ValueError, match="listed twice"):
        FssAccumulator([1, 1])
    with pytest.raises(ValueError, match="valid are exact, float32_hsnet, first_twice_pfenet"):
        FssAccumulator([1], "panet")
    with pytest.raises(ValueError, match=r"class 4 is not in the class list \[1, 2\]"):
        FssAccumulator([1, 2]).update(PairCounts(1, 1, 1, 1, 1, 1), 4)
    for other in (FssAccumulator([1]), FssAccumulator([1, 2], "float32_hsnet")):
        with pytest.raises(ValueError, match="cannot be merged"):
            FssAccumulator([1, 2]).merge(other)


def test_speed_script_runs(capsys: pytest.CaptureFixture) -> None:
    main(["size=16", "pairs=3", "episodes=60", "bootstrap=100"])
    assert "histograms" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        main(["size=one"])

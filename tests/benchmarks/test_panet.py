"""N-way counts by hand."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from benchmarks.metrics.panet import VOID, PanetAccumulator, over_runs

EPISODE = st.tuples(
    arrays(np.uint8, (4, 5), elements=st.integers(0, 2)),
    arrays(np.uint8, (4, 5), elements=st.sampled_from([0, 1, 2, VOID])),
    st.permutations([6, 7, 8]).map(lambda labels: labels[:2]),
    st.integers(0, 1),
)


def slow_iou(episodes: list[tuple], label: int, run: int) -> float:
    """Pixel by pixel, for one class (0: background) and run."""
    hit = wrong = 0
    for pred, truth, labels, at in episodes:
        way = [0, *labels].index(label) if label in (0, *labels) else None
        if way is None or at != run or not (truth == way).any():
            continue
        for p, t in zip(pred.flat, truth.flat, strict=True):
            hit += p == t == way
            wrong += (t == way) != (p == way) and t != VOID
    return hit / (hit + wrong) if hit + wrong else math.nan


@settings(max_examples=40)
@given(st.lists(EPISODE, min_size=1, max_size=6))
def test_against_counting_pixel_by_pixel(episodes: list[tuple]) -> None:
    accumulator = PanetAccumulator([6, 7, 8])
    for episode in episodes:
        accumulator.update(*episode)
    score = accumulator.compute()
    for row, run in enumerate(sorted({episode[3] for episode in episodes})):
        expected = [slow_iou(episodes, label, run) for label in (6, 7, 8)]
        np.testing.assert_allclose(score.class_iou[row], expected)
        np.testing.assert_allclose(score.binary_iou[row, 0], slow_iou(episodes, 0, run))


@settings(max_examples=40)
@given(st.lists(EPISODE, min_size=2, max_size=6))
def test_merged_parts_are_the_whole(episodes: list[tuple]) -> None:
    whole, first, second = (PanetAccumulator([6, 7, 8]) for _ in range(3))
    for k, episode in enumerate(episodes):
        whole.update(*episode)
        (first if k % 2 else second).update(*episode)
    first.merge(second)
    for name in ("class_iou", "binary_iou"):
        np.testing.assert_array_equal(getattr(first.compute(), name), getattr(whole.compute(), name))


def test_a_way_that_the_truth_does_not_show_adds_nothing() -> None:
    accumulator = PanetAccumulator([6, 7])
    accumulator.update(np.array([[1, 1, 2, 0]]), np.array([[1, 0, 0, VOID]]), [6, 7], run=0)
    score = accumulator.compute()
    assert score.class_iou[0, 0] == 0.5 and math.isnan(score.class_iou[0, 1])
    assert score.binary_iou.tolist() == [[0.0, 0.5]]  # the false positive of class 7 is not in the foreground


def test_spread_over_runs_is_that_of_the_population() -> None:
    accumulator = PanetAccumulator([6])
    truth = np.array([[1, 1, 0, 0]])
    accumulator.update(truth, truth, [6], run=0)
    accumulator.update(np.array([[1, 0, 0, 0]]), truth, [6], run=1)
    mean, std = over_runs(accumulator.compute().mean_iou)
    assert (mean, std) == (0.75, 0.25)
    mean, std = over_runs(accumulator.compute().fb_iou)
    assert mean == pytest.approx((1 + (0.5 + 2 / 3) / 2) / 2)


def test_impossible_episodes() -> None:
    accumulator, image = PanetAccumulator([6, 7]), np.zeros((2, 2), int)
    with pytest.raises(ValueError, match="one shape"):
        accumulator.update(image, image[0], [6], 0)
    with pytest.raises(ValueError, match=r"classes \[5\] are not in the class list"):
        accumulator.update(image, image, [5, 6], 0)
    with pytest.raises(ValueError, match=r"holds \[3\], expected 0..2 and 255"):
        accumulator.update(image, image + 3, [6, 7], 0)
    with pytest.raises(ValueError, match="no episode"):
        accumulator.compute()
    with pytest.raises(ValueError, match="other classes"):
        accumulator.merge(PanetAccumulator([6]))
    for labels in ([], [6, 6], [0, 6]):
        with pytest.raises(ValueError, match="different classes other than 0"):
            PanetAccumulator(labels)

"""CMA's averages: pooling, class lists, and exactness under any split."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics import j_and_f
from benchmarks.metrics.cma import CmaAccumulator, frame_scores


def soft_clip(seed: int, frames: int = 3) -> tuple[np.ndarray, np.ndarray]:
    """Smooth probabilities and a truth that overlaps with them."""
    rng = np.random.default_rng(seed)
    rows, cols = np.ogrid[:36, :52]
    centre = rng.uniform(12, 24, 2)
    pred = np.exp(-((rows - centre[0]) ** 2 + (cols - centre[1]) ** 2) / 90)
    truth = (rows - 18) ** 2 + (cols - 18) ** 2 < rng.uniform(40, 90)
    return np.repeat(pred[None], frames, 0), np.repeat(truth[None], frames, 0)


def test_long_clips_weigh_more_when_pooled_and_classes_weigh_the_same() -> None:
    pooled, per_class = CmaAccumulator(), CmaAccumulator([1, 2])
    means = {}
    for class_id, frames in ((1, 1), (2, 9)):
        pred, truth = soft_clip(class_id, frames)
        pooled.update(pred, truth)
        per_class.update(pred, truth, class_id)
        means[class_id] = frame_scores(pred, truth)[0].mean()
    assert pooled.compute().j == pytest.approx((means[1] + 9 * means[2]) / 10)
    assert per_class.compute().j == pytest.approx((means[1] + means[2]) / 2)


def test_a_class_without_frames_counts_as_zero() -> None:
    accumulator = CmaAccumulator([4, 8])
    accumulator.update(*soft_clip(0), class_id=4)
    score = accumulator.compute()
    assert score.classes[8] == (0.0, 0.0, 0.0, 0)
    assert score.j == score.classes[4][0] / 2


def test_threshold_is_strict_and_tolerance_is_one_percent() -> None:
    pred = np.full((1, 8, 8), 0.5)
    assert frame_scores(pred, np.zeros((1, 8, 8), bool))[0][0] == 1.0
    a, b = np.zeros((2, 480, 854), bool)
    a[100:300, 100:300], b[109:291, 109:291] = True, True  # boundaries 9 pixels apart: in reach of 10, not of 8
    assert frame_scores(a[None], b[None])[1][0] > 0.9
    assert j_and_f(a, b)[1] < 0.1


def test_any_split_gives_the_same_bits() -> None:
    clips = [(soft_clip(seed), seed % 3 + 1) for seed in range(9)]
    whole, parts = CmaAccumulator([1, 2, 3]), [CmaAccumulator([1, 2, 3]) for _ in range(2)]
    for number, ((pred, truth), class_id) in enumerate(clips):
        whole.update(pred, truth, class_id)
        parts[number % 2].update(pred, truth, class_id)
    parts[1].merge(parts[0])
    assert parts[1].compute() == whole.compute()


def test_misuse_is_named() -> None:
    accumulator = CmaAccumulator([1, 2])
    with pytest.raises(ValueError, match=r"class 5 .*\[1, 2\]"):
        accumulator.update(*soft_clip(0), class_id=5)
    with pytest.raises(ValueError, match="merged"):
        accumulator.merge(CmaAccumulator([1]))
    with pytest.raises(ValueError, match="empty"):
        CmaAccumulator([])
    with pytest.raises(ValueError, match=r"\(T, H, W\)"):
        accumulator.update(np.zeros((3, 3)), np.zeros((3, 3)))

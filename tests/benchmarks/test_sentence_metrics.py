"""A2D-Sentences and JHMDB-Sentences: all candidates rank, the best one is measured, in any order of the samples."""

from __future__ import annotations

import numpy as np
import pytest

from benchmarks.metrics.sentences import Candidate, SentenceAccumulator, overlap
from episodes.sources.segmentations import runs_of


def square(side: int, size: tuple[int, int] = (60, 60)) -> np.ndarray:
    mask = np.zeros(size, bool)
    mask[:side, :side] = True
    return mask


def offered(*rows: tuple[float, int]) -> list[Candidate]:
    return [Candidate(score, runs_of(square(side))) for score, side in rows]


def test_areas_of_run_lengths_are_those_of_the_masks() -> None:
    assert overlap(runs_of(square(10)), runs_of(square(20))) == (100, 400)
    assert overlap(runs_of(square(0)), runs_of(square(0))) == (0, 0)
    with pytest.raises(ValueError, match=r"of one size, got \[60, 60\] and \[60, 50\]"):
        overlap(runs_of(square(5)), runs_of(square(5, (60, 50))))


def test_every_candidate_counts_for_map_and_the_last_of_the_best_for_the_rest() -> None:
    accumulator = SentenceAccumulator()
    accumulator.update("a", runs_of(square(20)), offered((0.9, 20), (0.1, 40)))
    accumulator.update("b", runs_of(square(20)), offered((0.8, 20), (0.8, 40)))  # the last of equals: IoU 1/4
    found = accumulator.compute()
    assert found["oIoU"] == pytest.approx(800 / 2000) and found["mIoU"] == pytest.approx((1 + 0.25) / 2)
    assert found["P@0.5"] == found["P@0.9"] == 0.5
    assert found["mAP"] == pytest.approx(1)  # the right mask of b is among the candidates, in front of the wrong one
    assert list(found) == ["mAP", "oIoU", "mIoU", "P@0.5", "P@0.6", "P@0.7", "P@0.8", "P@0.9", "AP50", "AP75"]


def test_neither_order_nor_split_changes_a_number() -> None:
    rows = {f"v_{k}": (runs_of(square(10 + k)), offered((0.5, 12), (0.5, 14), (0.1 * k, 20))) for k in range(8)}
    whole, first, second = SentenceAccumulator(), SentenceAccumulator(), SentenceAccumulator()
    for k, (name, row) in enumerate(rows.items()):
        whole.update(name, *row)
        (first if k % 2 else second).update(name, *row)
    first.merge(second)
    assert first.compute() == whole.compute()
    with pytest.raises(ValueError, match="sample 'v_0' was already added"):
        first.merge(second)


def test_a_sample_without_truth_counts_and_one_without_candidate_is_refused() -> None:
    accumulator = SentenceAccumulator()
    with pytest.raises(ValueError, match="no sample was added"):
        accumulator.compute()
    accumulator.update("empty", runs_of(square(0)), offered((0.9, 10)))
    accumulator.update("right", runs_of(square(10)), offered((0.9, 10)))
    assert accumulator.compute()["mIoU"] == pytest.approx(0.5) and accumulator.compute()["oIoU"] == 0.5
    with pytest.raises(ValueError, match="sample 'none' has no candidate"):
        accumulator.update("none", runs_of(square(1)), [])

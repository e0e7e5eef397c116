"""The DAVIS protocols: which objects and frames count, the assignment, and accumulation in any order."""

from __future__ import annotations

from itertools import permutations

import numpy as np
import pytest

from benchmarks.metrics import j_and_f
from benchmarks.metrics.davis import (
    VOID,
    DavisAccumulator,
    score_identity,
    score_semi_supervised,
    score_unsupervised,
)
from benchmarks.metrics.vos_benchmark import VosBenchmarkAccumulator, score_vos_benchmark


def squares(ids: list[int], frames: int = 5, shift: int = 0) -> np.ndarray:
    """Label maps `(T, 40, 60)` with one square per id, each in its own place."""
    labels = np.zeros((frames, 40, 60), np.uint8)
    for k, value in enumerate(ids):
        labels[:, 10 + shift : 20 + shift, 3 + 14 * k : 13 + 14 * k] = value
    return labels


def test_first_and_last_frame_do_not_count() -> None:
    truth, result = squares([1]), squares([1])
    result[0], result[-1] = 0, 1
    score = score_semi_supervised("a", truth, result)
    assert score.objects[1].j.tolist() == [1.0, 1.0, 1.0]


def test_objects_are_those_of_the_first_true_frame() -> None:
    truth = squares([1, 3])
    truth[2:, 30:, 40:] = 4  # comes later: not scored
    score = score_semi_supervised("a", truth, squares([1, 3]))
    assert sorted(score.objects) == [1, 2, 3]
    assert score.objects[2].j.tolist() == [1.0] * 3  # id 2 is nowhere: both empty
    with pytest.raises(ValueError, match="id 4"):
        score_semi_supervised("a", squares([1, 3]), squares([1, 4]))


def test_missing_result_objects_are_empty_masks() -> None:
    score = score_semi_supervised("a", squares([1, 2]), squares([1]))
    assert score.objects[2].j.tolist() == [0.0] * 3 and score.objects[2].f.tolist() == [0.0] * 3


def test_void_is_background_when_ids_are_given_and_ignored_when_they_are_not() -> None:
    truth, result = squares([1]), squares([1])
    truth[:, 25:30, :], result[:, 25:30, 3:13] = VOID, 1
    assert score_semi_supervised("a", truth, result).objects[1].j.max() < 1
    assert score_unsupervised("a", truth, result).objects[1].j.tolist() == [1.0] * 5


def test_foreground_255_is_explained() -> None:
    with pytest.raises(ValueError, match="255.*mapped to 1"):
        score_semi_supervised("a", 255 * squares([1]), squares([1]))


@pytest.mark.parametrize("score", [score_semi_supervised, score_unsupervised])
def test_shapes_must_agree(score) -> None:
    with pytest.raises(ValueError, match="sequence 'a'"):
        score("a", squares([1]), squares([1], frames=4))


def test_assignment_is_the_best_of_all() -> None:
    rng = np.random.default_rng(3)
    truth = squares([1, 2, 3])
    result = np.roll(squares([2, 4, 1, 3]), 2, axis=1)
    result[rng.random(result.shape) < 0.1] = 2
    table = np.array(
        [
            [np.mean([j_and_f(r == p, t == g) for r, t in zip(result, truth, strict=True)]) for g in (1, 2, 3)]
            for p in range(1, 5)
        ]
    )
    best = max(sum(table[p, g] for g, p in enumerate(chosen)) for chosen in permutations(range(4), 3))
    rows = DavisAccumulator([score_unsupervised("a", truth, result)]).rows()
    assert sum(np.mean(row) for row in rows.values()) == pytest.approx(best)


def test_fewer_proposals_than_objects_and_too_many() -> None:
    score = score_unsupervised("a", squares([1, 2]), squares([7])[:, :, :])
    assert sorted(np.concatenate([score.objects[1].j, score.objects[2].j]).tolist()) == [0.0] * 5 + [1.0] * 5
    with pytest.raises(ValueError, match="21.*20"):
        score_unsupervised("a", squares([1]), squares([21]))


def test_accumulation_does_not_depend_on_order_or_split() -> None:
    rng = np.random.default_rng(0)
    scores = []
    for name in "abcdef":
        truth = squares([1, 2], frames=7)
        scores.append(score_semi_supervised(name, truth, np.roll(truth, rng.integers(1, 5), axis=2)))
    whole = DavisAccumulator(scores)
    left, right = DavisAccumulator(scores[4:]), DavisAccumulator(reversed(scores[:5]))  # one sequence in both
    left.merge(right)
    assert left.compute() == whole.compute() and left.rows() == whole.rows()


def test_one_sequence_cannot_have_two_scores() -> None:
    accumulator = DavisAccumulator([score_semi_supervised("a", squares([1]), squares([1]))])
    with pytest.raises(ValueError, match="'a'"):
        accumulator.update(score_semi_supervised("a", squares([1]), squares([1], shift=3)))
    with pytest.raises(ValueError, match="no sequence"):
        DavisAccumulator().compute()


def test_vos_benchmark_starts_where_an_object_is_seen() -> None:
    truth, result = squares([1, 9]), squares([1, 9])
    truth[:2, :, 17:], result[:3, :, 17:] = 0, 0
    result[:, 35:, :5] = 77  # only predicted: left out
    score = score_vos_benchmark({"a": (truth, result)}, skip_first_last=False)
    assert score.objects["a"] == {1: (1.0, 1.0), 9: (pytest.approx(2 / 3), pytest.approx(2 / 3))}
    assert score.j == pytest.approx(5 / 6)
    with pytest.raises(ValueError, match="no object"):
        score_vos_benchmark({"a": (0 * truth, result)})


def test_vos_benchmark_gives_the_same_for_any_split() -> None:
    pairs = {name: (squares([1, 2]), squares([1, 2], shift=shift)) for shift, name in enumerate("abc")}
    left, right = VosBenchmarkAccumulator(), VosBenchmarkAccumulator()
    for name in "ca":
        right.update(name, *pairs[name])
    left.update("b", *pairs["b"])
    left.merge(right)
    assert left.compute() == score_vos_benchmark(pairs)
    with pytest.raises(ValueError, match="'[ac]' was already added"):
        left.merge(right)
    with pytest.raises(ValueError, match="cannot be merged"):
        left.merge(VosBenchmarkAccumulator(skip_first_last=False))


def test_exchanged_objects_cost_nothing_where_they_are_assigned_and_everything_where_ids_are_kept() -> None:
    truth = squares([1, 2])
    exchanged = np.where(truth == 0, 0, 3 - truth).astype(np.uint8)
    assert DavisAccumulator([score_unsupervised("a", truth, exchanged)]).compute()["J&F-Mean"] == 1
    kept = score_identity("a", truth, exchanged)
    assert [score.j.tolist() for score in kept.objects.values()] == [[0.0] * len(truth)] * 2
    assert DavisAccumulator([score_identity("a", truth, truth)]).compute()["J&F-Mean"] == 1


def test_with_ids_kept_all_frames_count_void_is_left_out_and_other_numbers_cost_nothing() -> None:
    truth = squares([1, 2])
    result = np.where(truth == 2, 9, truth).astype(np.uint8)
    score = score_identity("a", truth, result)
    assert score.objects[1].j.tolist() == [1.0] * len(truth) and score.objects[2].j.tolist() == [0.0] * len(truth)
    hidden = truth.copy()
    hidden[:, :, : truth.shape[2] // 2] = np.where(truth == 1, VOID, truth)[:, :, : truth.shape[2] // 2]
    free, kept = score_unsupervised("a", hidden, truth), score_identity("a", hidden, truth)
    assert all(kept.objects[k].same(free.objects[k]) for k in (1, 2))

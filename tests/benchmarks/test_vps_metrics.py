"""Video panoptic segmentation: tubes and tracks by the definitions written down, crowds, void, and bad lists."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from benchmarks.metrics.panoptic import count_video
from benchmarks.metrics.vpq import window_score, window_sums
from benchmarks.metrics.vps import VpsAccumulator, VpsRules
from benchmarks.protocols.tasks import TASK_PROTOCOLS, VPS_PROTOCOLS
from episodes.panoptic import PanopticClasses, PanopticFrame, Segment
from experiments.speed.plain_metrics import Video, plain_tracking, tube_sums

CLASSES = PanopticClasses(things=frozenset({2, 5}), stuff=frozenset({0, 7}))
ROAD, CAR, DOG = 0, 2, 5


def frame(name: str, row: list[int], *segments: tuple) -> PanopticFrame:
    return PanopticFrame(name, np.array([row]), [Segment(*own) for own in segments])


def still(rows: list[list[int]], *segments: tuple) -> list[PanopticFrame]:
    """Frames of one row each, all with the same list, where it fits."""
    return [frame(str(t), row, *(own for own in segments if own[0] in row)) for t, row in enumerate(rows)]


def random_side(rng: np.random.Generator, frames: int, crowds: bool) -> list[PanopticFrame]:
    """Patches of ids that come and go; a segment may change its category, and a crowd be one of several."""
    ids = rng.choice(2**24, 7, replace=False)
    base = np.kron(rng.choice([0, *ids], (4, 5)), np.ones((3, 3), np.int64))
    side = []
    for t in range(frames):
        moved = np.where(rng.random(base.shape) < 0.2, rng.choice([0, *ids], base.shape), np.roll(base, t, axis=1))
        there = rng.permutation(np.setdiff1d(moved, [0]))
        rows = [
            Segment(int(k), CLASSES.all[int(k + (rng.random() < 0.1)) % 4], crowds and k % 3 == 0)
            for k in there.tolist()
        ]
        side.append(PanopticFrame(str(t), moved.astype(np.uint32), rows))
    return side


def noisy(rng: np.random.Generator, side: list[PanopticFrame]) -> list[PanopticFrame]:
    """The truth with an id or two painted over and some pixels of others."""
    found = []
    for own in side:
        ids = np.where(rng.random(own.ids.shape) < 0.15, 0, own.ids)
        ids = np.where(rng.random(ids.shape) < 0.1, own.segments[0].id, ids)
        found.append(PanopticFrame(own.name, ids, [replace_crowd(s) for s in own.segments if (ids == s.id).any()]))
    return found


def replace_crowd(segment: Segment) -> Segment:
    return segment._replace(crowd=False)


def random_video(seed: int, frames: int = 5) -> Video:
    rng = np.random.default_rng(seed)
    truth = random_side(rng, frames, crowds=True)
    return truth, noisy(rng, truth) if seed % 2 else random_side(rng, frames, crowds=False)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("frames", [1, 2, 4, 6])
def test_tubes_are_those_of_the_definition(seed: int, frames: int) -> None:
    video = random_video(seed)
    found = window_sums(count_video("v", *video, CLASSES), frames, len(CLASSES.all))
    np.testing.assert_allclose(found, tube_sums(video, frames, CLASSES), rtol=0, atol=1e-12)
    assert found.any() == (frames < 6)


@pytest.mark.parametrize("crowd_by_order", [False, True])
def test_tracks_are_those_of_the_definition(crowd_by_order: bool) -> None:
    videos = {f"v{seed}": random_video(seed) for seed in range(4)}
    accumulator = VpsAccumulator(VpsRules(crowd_by_order=crowd_by_order), CLASSES)
    for name, video in videos.items():
        accumulator.update(name, *video)
    score = accumulator.compute()
    for found, own in ((score.tracking, list(videos.values())), (score.videos["v1"], [videos["v1"]])):
        wanted = plain_tracking(own, CLASSES, crowd_by_order)
        assert (found.aq, found.sq) == pytest.approx(wanted, abs=1e-12)
        assert found.stq == pytest.approx(math.sqrt(wanted[0] * wanted[1]))


def score_of(truth: list[PanopticFrame], found: list[PanopticFrame], rules: VpsRules | None = None):
    accumulator = VpsAccumulator(rules or VpsRules(windows=(1, 2), averaged=(1, 2)), CLASSES)
    accumulator.update("v", truth, found)
    return accumulator.compute()


def test_the_truth_scores_one() -> None:
    truth = still([[1, 1, 2, 3, 0]] * 3, (1, ROAD), (2, CAR), (3, CAR))
    score = score_of(truth, truth)
    assert (score.vpq, score.vpq_things, score.vpq_stuff) == (1, 1, 1)
    assert (score.tracking.stq, score.tracking.aq, score.tracking.sq) == (1, 1, 1)
    assert score.windows[2].categories.keys() == {ROAD, CAR} and score.windows[1].all.categories == 2


def test_nothing_found_and_nothing_to_be_found() -> None:
    truth, empty = still([[1, 2]] * 2, (1, ROAD), (2, CAR)), still([[0, 0]] * 2)
    missed, unasked, nothing = (score_of(*pair) for pair in ((truth, empty), (empty, truth), (empty, empty)))
    assert (missed.vpq, missed.tracking.stq, missed.windows[1].categories.keys()) == (0, 0, {ROAD, CAR})
    for score in (unasked, nothing):  # all that is predicted is on void
        assert math.isnan(score.vpq) and score.tracking.aq == 0


def test_which_segment_is_a_crowd() -> None:
    """By order the first one is, whatever the lists say: here the car, whose track the prediction cuts in two."""
    truth = still([[1, 1, 2, 2]] * 2, (1, CAR), (2, DOG))
    found = [frame("0", [8, 8, 9, 9], (8, CAR), (9, DOG)), frame("1", [7, 7, 9, 9], (7, CAR), (9, DOG))]
    by_order = score_of(truth, found, VpsRules(crowd_by_order=True)).tracking
    listed = score_of(truth, found, VpsRules()).tracking
    assert (by_order.aq, listed.aq) == (1, (0.5 + 1) / 2)
    crowd = [replace(own, segments=[own.segments[0]._replace(crowd=True), own.segments[1]]) for own in truth]
    assert score_of(crowd, found, VpsRules()).tracking.aq == 1


def test_a_track_whose_class_changes_is_two_and_pairs_need_not_agree_in_class() -> None:
    truth = still([[3, 3, 1, 1]] * 2, (3, ROAD), (1, CAR))
    switched = [frame("0", [3, 3, 1, 1], (3, ROAD), (1, CAR)), frame("1", [3, 3, 1, 1], (3, ROAD), (1, DOG))]
    wrong = still([[3, 3, 1, 1]] * 2, (3, ROAD), (1, DOG))
    assert score_of(truth, switched).tracking.aq == 0.5 and score_of(truth, wrong).tracking.aq == 1


def test_void_is_forgiven_by_half_and_costs_a_class_in_sq() -> None:
    truth, offered = still([[0, 0, 1, 1]], (1, ROAD)), still([[4, 4, 4, 1]], (4, CAR), (1, ROAD))
    score = score_of(truth, offered, VpsRules((1,), (1,)))
    assert score.windows[1].categories.keys() == {ROAD}  # two of the three pixels of 4 are void
    halved = score_of(truth, still([[0, 4, 4, 1]], (4, CAR), (1, ROAD)), VpsRules((1,), (1,)))
    assert halved.windows[1].categories[CAR].pq == 0  # exactly one half is not more than half
    assert score_of(truth, still([[0, 0, 1, 0]], (1, ROAD))).tracking.sq == pytest.approx((0.5 + 0) / 2)


def test_a_track_on_void_is_larger_than_the_true_one() -> None:
    truth, found = still([[1, 1, 0, 0]], (1, CAR)), still([[1, 1, 1, 1]], (1, CAR))
    assert score_of(truth, found, VpsRules((1,), (1,))).vpq == 1 and score_of(truth, found).tracking.aq == 0.5


def test_a_video_shorter_than_a_window_has_none() -> None:
    truth = still([[1, 2]], (1, ROAD), (2, CAR))
    score = score_of(truth, truth, VpsRules(windows=(1, 2), averaged=(1,)))
    assert score.vpq == 1 and math.isnan(score.windows[2].all.pq) and score.windows[2].all.categories == 0
    assert math.isnan(score_of(truth, truth).vpq)
    assert window_score(np.zeros((4, 4)), CLASSES).categories == {}


def test_merging_is_as_if_added_to_one() -> None:
    whole, parts = VpsAccumulator(VpsRules(), CLASSES), [VpsAccumulator(VpsRules(), CLASSES) for _ in range(2)]
    for seed in range(4):
        for accumulator in (whole, parts[seed % 2]):
            accumulator.update(f"v{seed}", *random_video(seed, frames=8))
    parts[1].merge(parts[0])
    assert parts[1].compute() == whole.compute()
    with pytest.raises(ValueError, match="video 'v0' was already added"):
        whole.merge(parts[0])
    with pytest.raises(ValueError, match="video 'v0' was already added"):
        whole.update("v0", *random_video(0))
    with pytest.raises(ValueError, match="other rules or classes"):
        whole.merge(VpsAccumulator(VpsRules(crowd_by_order=True), CLASSES))
    with pytest.raises(ValueError, match="no video was added"):
        VpsAccumulator(VpsRules(), CLASSES).compute()


GOOD = frame("0", [1, 1, 2], (1, ROAD), (2, CAR))


@pytest.mark.parametrize(
    ("found", "message"),
    [
        ([frame("0", [1, 9, 2], (1, ROAD), (2, CAR))], "prediction of frame 0: id 9 of the map is not in its list"),
        ([frame("0", [1, 1, 1], (1, ROAD), (2, CAR))], "segment 2 of the list has no pixel in the map: correct"),
        ([frame("0", [1, 1, 2], (1, ROAD), (2, 6))], "category 6, but there are 0 to 7: is it of another data set"),
        ([frame("0", [1, 1, 1], (1, ROAD), (1, CAR))], "the list has an id twice, or 0"),
        ([frame("0", [1, 1, 0], (1, ROAD), (0, CAR))], "the list has an id twice, or 0"),
        ([frame("0", [1, 1], (1, ROAD))], r"frame 0: maps must be \(H, W\) of one size, got truth \(1, 3\)"),
        ([frame("1", [1, 1, 2], (1, ROAD), (2, CAR))], "the prediction has frame 1 where 0 is due"),
        ([], "as many frames as each other"),
        ([GOOD, GOOD], "as many frames as each other"),
    ],
)
def test_what_is_refused(found: list[PanopticFrame], message: str) -> None:
    with pytest.raises(ValueError, match=f"video 'v'.*{message}"):
        count_video("v", [GOOD], found, CLASSES)


def test_cards_say_what_the_rules_are() -> None:
    published, corrected = (VPS_PROTOCOLS[name].card() for name in ("vipseg", "vipseg_corrected"))
    assert "windows of 1, 2, 4, 6, 8 frames" in published and "lists first" in published
    assert "windows of 1, 2, 4, 6 frames" in corrected and "lists of the truth call so" in corrected
    assert all(TASK_PROTOCOLS[name] is protocol for name, protocol in VPS_PROTOCOLS.items())

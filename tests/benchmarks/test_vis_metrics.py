"""Tracks of video instance segmentation: overlap over time, sizes, ties, and what is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from benchmarks.metrics.vis import VisAccumulator, video_ious
from benchmarks.protocols.tasks import TASK_PROTOCOLS, VIS
from episodes.sources.segmentations import runs_of
from experiments.speed.plain_metrics import track_overlap

SIZE = (200, 300)


def square(side: int, left: int = 0) -> np.ndarray:
    mask = np.zeros(SIZE, bool)
    mask[:side, left : left + side] = True
    return mask


def track(*masks: np.ndarray | None) -> list[dict[str, Any] | None]:
    return [None if mask is None else runs_of(mask) for mask in masks]


def row(masks: list[Any], category: int = 1, video: int = 1, **more: Any) -> dict[str, Any]:
    return {"video_id": video, "category_id": category, "segmentations": masks, **more}


def truth_of(*rows: dict[str, Any], frames: int = 2) -> dict[str, Any]:
    videos = [{"id": k, "height": SIZE[0], "width": SIZE[1], "length": frames} for k in (1, 2)]
    annotations = [{"id": number, "iscrowd": 0, **own} for number, own in enumerate(rows)]
    return {"videos": videos, "categories": [{"id": 1}, {"id": 2}], "annotations": annotations}


def scored(truth: dict[str, Any], *rows: dict[str, Any]) -> VisAccumulator:
    accumulator = VisAccumulator(truth)
    for video in {own["video_id"] for own in rows}:
        accumulator.update(video, [own for own in rows if own["video_id"] == video])
    return accumulator


def test_overlap_is_the_sum_over_frames_of_whole_pixels() -> None:
    rng = np.random.default_rng(0)
    tracks, truths = (
        [[None if rng.random() < 0.3 else rng.random(SIZE) < rng.random() for _ in range(4)] for _ in range(n)]
        for n in (3, 2)
    )
    found = video_ious([track(*masks) for masks in tracks], [track(*masks) for masks in truths])
    wanted = [[track_overlap(own, true) for true in truths] for own in tracks]
    assert found.tolist() == wanted


def test_a_frame_without_a_mask_counts_the_area_of_the_other() -> None:
    found = video_ious([track(square(10), None), track(None, None)], [track(square(10), square(10)), track(None, None)])
    assert found.tolist() == [[0.5, 0], [0, 0]]


def test_the_truth_scores_one_hundred() -> None:
    mine = track(square(10), square(20)), track(square(150, 100), None)
    truth = truth_of(row(mine[0]), row(mine[1], category=2), row(mine[0], video=2))
    found = scored(
        truth, row(mine[0], score=0.2), row(mine[1], category=2, score=0.4), row(mine[0], video=2, score=0.1)
    )
    score = found.compute()
    nothing_large = dict.fromkeys(score.stats, 1.0) | {"AP large": -1, "AR large": -1}
    assert score.stats == pytest.approx(nothing_large)
    assert score.categories == pytest.approx({1: 1, 2: 1}) and score.recall[2] == (1,) * 10


def test_a_track_of_another_class_is_wrong_and_an_empty_class_counts_in_no_mean() -> None:
    mine = track(square(10), square(10))
    score = scored(truth_of(row(mine)), row(mine, category=2, score=0.9)).compute()
    assert score.stats["AP"] == 0 and score.categories[1] == 0 and np.isnan(score.categories[2])
    assert score.recall[2] == (-1,) * 10


def test_nothing_found_is_zero() -> None:
    accumulator = VisAccumulator(truth_of(row(track(square(10), None))))
    accumulator.update(1, [])
    score = accumulator.compute()
    assert (score.stats["AP"], score.stats["AR100"], score.stats["AP large"]) == (0, 0, -1)
    assert score.recall[1] == (0,) * 10


def test_size_is_the_mean_over_the_frames_that_show_the_object() -> None:
    shown_once = row(track(square(130), None))  # 130^2 in the one frame, half of it over both
    score = scored(truth_of(shown_once), {**shown_once, "score": 1.0}).compute()
    assert (score.stats["AP medium"], score.stats["AP small"]) == pytest.approx((1, -1))
    listed = truth_of({**shown_once, "areas": [100, None]})
    assert scored(listed, {**shown_once, "score": 1.0}).compute().stats["AP small"] == pytest.approx(1)


def test_crowds_cost_nothing_and_may_be_found_twice() -> None:
    crowd, other = row(track(square(50), square(50))), row(track(square(20, 200), square(20, 200)))
    truth = truth_of({**crowd, "iscrowd": 1}, other)
    offered = [{**crowd, "score": 0.9}, {**crowd, "score": 0.8}, {**other, "score": 0.1}]
    assert scored(truth, *offered).compute().stats["AP"] == pytest.approx(1)


@pytest.mark.parametrize(
    ("video", "changed", "message"),
    [
        (3, {}, "video 3 is not in the truth"),
        (1, {"category_id": 41}, "category 41, but the truth has the categories 1 to 2: are they of another data set"),
        (1, {"score": float("nan")}, "video 1: score nan is no finite number"),
        (1, {"segmentations": [None]}, "video 1 has 2 frames, but a track has 1 masks"),
        (1, {"segmentations": [None, runs_of(np.ones((2, 2)))]}, r"run lengths of size \[2, 2\] in an image of"),
    ],
)
def test_what_is_refused(video: int, changed: dict[str, Any], message: str) -> None:
    mine = row(track(square(10), square(10)), score=0.5)
    with pytest.raises(ValueError, match=message):
        VisAccumulator(truth_of(mine)).update(video, [{**mine, **changed}])


def test_nothing_twice_and_nothing_of_another_truth() -> None:
    mine = row(track(square(10), square(10)), score=0.5)
    accumulator = scored(truth_of(mine), mine)
    with pytest.raises(ValueError, match="video 1 was already added"):
        accumulator.update(1, [mine])
    with pytest.raises(ValueError, match="video 1 was already added"):
        accumulator.merge(scored(truth_of(mine), mine))
    with pytest.raises(ValueError, match="another truth"):
        accumulator.merge(VisAccumulator(truth_of()))
    with pytest.raises(ValueError, match="no video was added"):
        VisAccumulator(truth_of(mine)).compute()


def test_the_card_says_the_sizes() -> None:
    assert "small below 128^2, large above 256^2 pixels" in VIS.card() and TASK_PROTOCOLS["youtube_vis"] is VIS

"""VPQ: panoptic quality of tubes, the segments of a window of frames.

Kim et al., "Video Panoptic Segmentation", CVPR 2020; Miao et al., "Large-scale Video Panoptic Segmentation in the
Wild", CVPR 2022 (VIPSeg). Every window of k frames counts, with stride 1. A true and a predicted tube match if they are
of one category, the truth is no crowd, and their overlap without the void part of the prediction is above one half. A
predicted tube of which more than half is void or crowd of its category is no mistake.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.panoptic import Ints, SegmentTable, VideoCounts
from benchmarks.metrics.ratios import Floats, ratio
from episodes.panoptic import PanopticClasses

IOU, TP, FP, FN = range(4)  # columns of the sums: overlap of the matches, matches, mistakes, misses


@dataclass(frozen=True)
class Quality:
    """Panoptic, segmentation and recognition quality in 0..1, and the categories that they are means over."""

    pq: float
    sq: float
    rq: float
    categories: int = 1


@dataclass(frozen=True)
class WindowScore:
    """Quality of the tubes of one length: of all, things and stuff (NaN without a category), and by category id."""

    all: Quality
    things: Quality
    stuff: Quality
    categories: dict[int, Quality]


@dataclass(frozen=True, eq=False)
class _Tubes:
    """Segments in every window: area, category and crowd `(windows, N)`; `order` is that of their first listing."""

    area: Ints
    category: Ints
    crowd: NDArray[np.bool_]
    order: Ints

    @classmethod
    def of(cls, table: SegmentTable, area: Ints) -> _Tubes:
        frames, number = table.categories.shape
        listed = np.where(table.categories >= 0, np.arange(frames)[:, None], frames - 1)
        following = np.minimum.accumulate(listed[::-1])[::-1]  # the next frame that lists the segment
        first = following[: len(area)], np.arange(number)
        order = first[0] * (1 + table.places.max(initial=0)) + table.places[first]
        return cls(area, table.categories[first], table.crowd[first], order)


def window_sums(video: VideoCounts, frames: int, categories: int) -> Floats:
    """Sums `(categories, 4)` over all windows of so many frames of a video: overlap, matches, mistakes, misses.

    A video with fewer frames has no window.
    """
    sums = np.zeros((categories, 4))
    if len(video.common) < frames:
        return sums
    total = np.concatenate((np.zeros((1, *video.common.shape[1:]), np.int64), video.common.cumsum(0)))
    common = total[frames:] - total[:-frames]
    truth = _Tubes.of(video.truth, common.sum(2)[:, 1:])
    found = _Tubes.of(video.prediction, common.sum(1)[:, 1:])
    inter, void = common[:, 1:, 1:], common[:, 0, 1:]
    union = truth.area[:, :, None] + found.area[:, None] - inter - void[:, None]
    overlap = ratio(inter, union)
    same = (truth.category[:, :, None] == found.category[:, None]) & ~truth.crowd[:, :, None]
    match = (overlap > 0.5) & same
    w, g, p = match.nonzero()
    np.add.at(sums[:, IOU], truth.category[w, g], overlap[w, g, p])
    missed = (truth.area > 0) & ~truth.crowd & ~match.any(2)
    forgiven = 2 * (void + _crowd_pixels(truth, found, inter)) > found.area
    wrong = (found.area > 0) & ~match.any(1) & ~forgiven
    columns = {TP: truth.category[w, g], FN: truth.category[missed], FP: found.category[wrong]}
    for column, places in columns.items():
        sums[:, column] = np.bincount(places, minlength=categories)
    return sums


def _crowd_pixels(truth: _Tubes, found: _Tubes, inter: Ints) -> Ints:
    """Pixels `(windows, predicted)` in the crowd of the category; of several in a window the one listed last."""
    pixels = np.zeros_like(found.area)
    crowd = truth.crowd & (truth.area > 0)
    for w in np.flatnonzero(crowd.any(1)):
        there = np.flatnonzero(crowd[w])
        last = {truth.category[w, g]: g for g in there[np.argsort(truth.order[w, there])]}
        for category, g in last.items():
            own = found.category[w] == category
            pixels[w, own] = inter[w, g, own]
    return pixels


def window_score(sums: Floats, classes: PanopticClasses) -> WindowScore:
    """Quality from sums `(categories, 4)`; categories without a tube are left out."""
    categories = {}
    for category, (overlap, tp, fp, fn) in zip(classes.all, sums.tolist(), strict=True):
        if tubes := tp + fp / 2 + fn / 2:
            categories[category] = Quality(overlap / tubes, overlap / tp if tp else 0.0, tp / tubes)
    things = [quality for category, quality in categories.items() if category in classes.things]
    stuff = [quality for category, quality in categories.items() if category in classes.stuff]
    return WindowScore(_mean(list(categories.values())), _mean(things), _mean(stuff), categories)


def mean_pq(windows: Sequence[WindowScore]) -> tuple[float, float, float]:
    """Means of the panoptic quality over windows: of all categories, things and stuff."""
    values = np.array([[score.all.pq, score.things.pq, score.stuff.pq] for score in windows])
    everything, things, stuff = values.mean(0).tolist()
    return everything, things, stuff


def _mean(rows: Sequence[Quality]) -> Quality:
    if not rows:
        return Quality(np.nan, np.nan, np.nan, 0)
    pq, sq, rq = np.array([[row.pq, row.sq, row.rq] for row in rows]).mean(0).tolist()
    return Quality(pq, sq, rq, len(rows))

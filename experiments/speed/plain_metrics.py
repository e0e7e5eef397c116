"""The definitions of the video metrics written down, mask by mask and clip by clip: slow, for tests and timings."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from episodes.panoptic import PanopticClasses, PanopticFrame

Masks = Sequence[NDArray[np.bool_] | None]
Video = tuple[Sequence[PanopticFrame], Sequence[PanopticFrame]]  # truth, prediction


def track_overlap(track: Masks, truth: Masks) -> float:
    """Overlap of two tracks of masks `(H, W)`, None where there is none."""
    common = either = 0
    for pair in zip(track, truth, strict=True):
        shown = [mask for mask in pair if mask is not None]
        if shown:
            either += int(np.any(shown, axis=0).sum())
            common += int(np.all(shown, axis=0).sum()) if len(shown) == 2 else 0
    return common / either if either else 0.0


def steadiness(truth: NDArray, prediction: NDArray, length: int, last_clip: bool, void: NDArray | None) -> list[float]:
    """VC of each clip of labels `(T, H, W)`; pixels that are `void` in a frame of a clip are left out."""
    shares = []
    for start in range(len(truth) - length + last_clip):
        clip = slice(start, start + length)
        same = (truth[clip] == truth[start]).all(0)
        if void is not None:
            same &= ~void[clip].any(0)
        kept = (prediction[clip] == prediction[start]).all(0)
        shares.append(float((kept & same).sum() / same.sum()) if same.any() else math.nan)
    return shares


def tube_sums(video: Video, frames: int, classes: PanopticClasses) -> NDArray[np.float64]:
    """Overlap, matches, mistakes and misses `(categories, 4)` over all windows of a video."""
    sums = np.zeros((len(classes.all), 4))
    for start in range(len(video[0]) - frames + 1):
        _add_window(sums, tuple(side[start : start + frames] for side in video), classes)
    return sums


def _add_window(
    sums: NDArray[np.float64], window: tuple[Sequence[PanopticFrame], ...], classes: PanopticClasses
) -> None:
    tubes: list[dict[int, tuple[int, bool]]] = [{}, {}]
    for side, found in zip(window, tubes, strict=True):
        for frame in side:
            for segment in frame.segments:
                found.setdefault(segment.id, (classes.all.index(segment.category), bool(segment.crowd)))
    truth, prediction = (np.stack([frame.ids for frame in side]).astype(np.int64) for side in window)
    keys, counts = np.unique(truth << 32 | prediction, return_counts=True)
    common = {(int(key) >> 32, int(key) & 0xFFFFFFFF): int(n) for key, n in zip(keys, counts, strict=True)}
    area = [Counter[int](), Counter[int]()]
    for (g, p), n in common.items():
        area[0][g] += n
        area[1][p] += n
    matched: tuple[set[int], set[int]] = (set(), set())
    for (g, p), n in common.items():
        if g and p and tubes[0][g][0] == tubes[1][p][0] and not tubes[0][g][1]:
            overlap = n / (area[0][g] + area[1][p] - n - common.get((0, p), 0))
            if overlap > 0.5:
                sums[tubes[0][g][0]] += [overlap, 1, 0, 0]
                matched[0].add(g)
                matched[1].add(p)
    crowds = {}
    for g, (category, crowd) in tubes[0].items():
        if crowd:
            crowds[category] = g
        elif g not in matched[0]:
            sums[category, 3] += 1
    for p, (category, _) in tubes[1].items():
        if p not in matched[1]:
            forgiven = common.get((0, p), 0) + common.get((crowds.get(category, -1), p), 0)
            sums[category, 2] += forgiven / area[1][p] <= 0.5


def plain_tracking(videos: Sequence[Video], classes: PanopticClasses, crowd_by_order: bool) -> tuple[float, float]:
    """AQ and SQ of videos, from label maps `category * 65536 + instance`."""
    void = len(classes.all)
    confusion, association, tracks = np.zeros((void + 1, void + 1)), 0.0, 0
    things = [place for place, category in enumerate(classes.all) if category in classes.things]
    for video in videos:
        truth, prediction = (_label_maps(side, classes, crowd_by_order) for side in video)
        for true, found in zip(truth >> 16, prediction >> 16, strict=True):
            np.add.at(confusion, (true.ravel(), found.ravel()), 1)
        crowd = np.isin(truth >> 16, things) & (truth % 65536 == 0)
        true_thing, found_thing = (np.isin(labels >> 16, things) & ~crowd for labels in (truth, prediction))
        for label in np.unique(truth[true_thing]):
            own, tracks = true_thing & (truth == label), tracks + 1
            for other in np.unique(prediction[own & found_thing]):
                met = found_thing & (prediction == other)
                n = (own & met).sum()
                association += n * n / (own.sum() + met.sum() - n) / own.sum()
    confusion[void] = 0
    union = confusion.sum(0) + confusion.sum(1) - np.diagonal(confusion)
    sq = (np.diagonal(confusion)[union > 0] / union[union > 0]).mean()
    return float(association / tracks) if tracks else 0.0, float(sq)


def _label_maps(side: Sequence[PanopticFrame], classes: PanopticClasses, crowd_by_order: bool) -> NDArray[np.int64]:
    numbers: dict[int, int] = {}
    maps = []
    for frame in side:
        labels = np.full(frame.ids.shape, len(classes.all) << 16, np.int64)
        for segment in frame.segments:
            number = numbers.setdefault(segment.id, len(numbers))
            instance = number if crowd_by_order else 0 if segment.crowd else number + 1
            labels[frame.ids == segment.id] = (classes.all.index(segment.category) << 16) + instance
        maps.append(labels)
    return np.stack(maps)


def plain_boundary_iou(prediction: NDArray[np.bool_], truth: NDArray[np.bool_], width: int) -> float:
    """Boundary IoU of two masks `(H, W)`, eroded step by step with a square of 3 x 3, zeros outside the image."""
    edges = []
    for mask in (prediction, truth):
        inside = mask
        for _ in range(width):
            padded = np.pad(inside, 1)
            views = [padded[y : y + mask.shape[0], x : x + mask.shape[1]] for y in range(3) for x in range(3)]
            inside = np.all(views, axis=0)
        edges.append(mask & ~inside)
    union = (edges[0] | edges[1]).sum()
    return float((edges[0] & edges[1]).sum() / union) if union else 1.0

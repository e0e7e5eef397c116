"""Pixels that true and predicted segments of a video have in common, frame by frame: all that VPQ and STQ are made of.

The maps are counted by runs of equal pixels, so that their ids are never sorted.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray

from episodes.panoptic import PanopticClasses, PanopticFrame, list_fault

Ints = NDArray[np.int64]
NOT_LISTED = -1


@dataclass(frozen=True, eq=False)
class SegmentTable:
    """The lists of one side of a video: `T` frames, `N` segments in the order in which they are first listed.

    Attributes:
        categories: `(T, N)` place of the category, `NOT_LISTED` where the frame does not list the segment.
        crowd: `(T, N)` bool.
        places: `(T, N)` place in the list of the frame.
    """

    categories: Ints
    crowd: NDArray[np.bool_]
    places: Ints


@dataclass(frozen=True, eq=False)
class VideoCounts:
    """Common pixels `(T, 1 + true segments, 1 + predicted segments)`; row and column 0 are void."""

    common: Ints
    truth: SegmentTable
    prediction: SegmentTable


class _Side:
    """The true or the predicted segments of a video while its frames come in."""

    def __init__(self, video: str, word: str, classes: PanopticClasses) -> None:
        self.video, self.word = video, word
        self.places = {category: place for place, category in enumerate(classes.all)}
        self.numbers: dict[int, int] = {}  # id -> number from 0 on, in the order of first listing
        self.frames: list[list[tuple[int, int, bool]]] = []  # number, place of the category, crowd

    def add(self, frame: PanopticFrame) -> Ints:
        """Take the list of a frame: its ids, sorted, void first. Raises ValueError for an unknown category."""
        for segment in frame.segments:
            if segment.category not in self.places:
                known = list(self.places)
                raise ValueError(
                    f"{self.where(frame)}: segment {segment.id} is of category {segment.category}, but there are "
                    f"{known[0]} to {known[-1]}: is it of another data set?"
                )
        rows = [(self.numbers.setdefault(s.id, len(self.numbers)), s) for s in frame.segments]
        self.frames.append([(number, self.places[s.category], bool(s.crowd)) for number, s in rows])
        return np.array(sorted({0, *(segment.id for segment in frame.segments)}), np.int64)

    def columns(self, ids: Ints) -> Ints:
        """Places of the ids of `add` in the counts of the video, where void is 0."""
        return np.array([0, *(1 + self.numbers[number] for number in ids[1:].tolist())])

    def table(self) -> SegmentTable:
        """The lists of all frames."""
        shape = len(self.frames), len(self.numbers)
        categories, crowd = np.full(shape, NOT_LISTED, np.int64), np.zeros(shape, np.bool_)
        places = np.zeros(shape, np.int64)
        for t, rows in enumerate(self.frames):
            for place, (number, category, is_crowd) in enumerate(rows):
                categories[t, number], crowd[t, number], places[t, number] = category, is_crowd, place
        return SegmentTable(categories, crowd, places)

    def where(self, frame: PanopticFrame) -> str:
        """Names the frame, for messages."""
        return f"video {self.video!r}, {self.word} of frame {frame.name}"

    def numbered(self, frame: PanopticFrame, ids: Ints, values: NDArray[np.integer]) -> Ints:
        """Places of `values` in the listed `ids`. Raises ValueError unless the map shows just what its list has."""
        if fault := list_fault(np.unique(values), [segment.id for segment in frame.segments]):
            raise ValueError(f"{self.where(frame)}: {fault}: correct one of them")
        return np.searchsorted(ids, values)


def count_video(
    video: str, truth: Iterable[PanopticFrame], prediction: Iterable[PanopticFrame], classes: PanopticClasses
) -> VideoCounts:
    """Count a video, frame by frame; no map is kept.

    Raises:
        ValueError: numbers, names or sizes of the frames differ, an id of a map is not in its list or the reverse, or a
            category is unknown.
    """
    sides = _Side(video, "truth", classes), _Side(video, "prediction", classes)
    found = []
    for true, predicted in zip_longest(truth, prediction):
        _check_pair(video, true, predicted)
        rows, columns = sides[0].add(true), sides[1].add(predicted)
        first, second, lengths = runs(true.ids, predicted.ids)
        first, second = sides[0].numbered(true, rows, first), sides[1].numbered(predicted, columns, second)
        cells = np.bincount(first * len(columns) + second, lengths, len(rows) * len(columns)).astype(np.int64)
        places = np.ix_(sides[0].columns(rows), sides[1].columns(columns))
        found.append((places, cells.reshape(len(rows), len(columns))))
    common = np.zeros((len(found), *(1 + len(side.numbers) for side in sides)), np.int64)
    for t, (places, cells) in enumerate(found):
        common[t][places] = cells
    return VideoCounts(common, sides[0].table(), sides[1].table())


def runs(first: NDArray, second: NDArray) -> tuple[NDArray, NDArray, Ints]:
    """Values of two maps of one shape with at least one pixel, and the lengths of the runs in which neither changes."""
    first, second = first.ravel(), second.ravel()
    changes = np.flatnonzero((first[1:] != first[:-1]) | (second[1:] != second[:-1])) + 1
    starts = np.concatenate(([0], changes))
    return first[starts], second[starts], np.diff(np.concatenate((starts, [first.size])))


def _check_pair(video: str, truth: PanopticFrame | None, prediction: PanopticFrame | None) -> None:
    if truth is None or prediction is None:
        raise ValueError(f"video {video!r}: truth and prediction must have as many frames as each other")
    if truth.name != prediction.name:
        raise ValueError(f"video {video!r}: the prediction has frame {prediction.name} where {truth.name} is due")
    shapes = truth.ids.shape, prediction.ids.shape
    if shapes[0] != shapes[1] or len(shapes[0]) != 2 or not truth.ids.size:
        raise ValueError(
            f"video {video!r}, frame {truth.name}: maps must be (H, W) of one size, got truth {shapes[0]} and "
            f"prediction {shapes[1]}"
        )

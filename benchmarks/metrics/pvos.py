"""Panoptic VOS on VIPOSeg: mask and boundary IoU of given objects and stuff, in four groups of classes.

Xu et al., "Video Object Segmentation in Panoptic Wild Scenes", IJCAI 2023. An object counts from the frame after the
one that gives its mask. Pairs of object and frame are pooled over all videos in things and stuff of classes that
training has seen or not; a group's number is the mean of its mask and boundary IoU, the overall one the mean of the
four.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import zip_longest

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.metrics.boundary_iou import boundary_width, mask_and_boundary_iou
from episodes.panoptic import GROUPS

CROWDED = 60  # from so many objects on a frame counts in no decay
Labels = NDArray[np.integer]
Box = tuple[slice, slice]


@dataclass(frozen=True)
class PvosRules:
    """Choices in which readings differ.

    Attributes:
        repeats: an object whose mask is given again in a later frame counts twice from then on, as in the released
            code, and makes the frame one object more crowded.
    """

    repeats: bool = False


@dataclass(frozen=True)
class PvosGroups:
    """Groups of the classes.

    Attributes:
        classes: the classes of each of `GROUPS`. Objects of a class in none of them are left out.
        exceptions: video -> class -> group, where it is another than that of the class.
    """

    classes: Mapping[str, frozenset[int]]
    exceptions: Mapping[str, Mapping[int, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        listed = [number for name in GROUPS for number in self.classes.get(name, ())]
        if set(self.classes) != set(GROUPS) or len(listed) != len(set(listed)):
            raise ValueError(f"a class must be in one of {', '.join(GROUPS)}, got {dict(self.classes)}")

    def group(self, video: str, class_id: int) -> str | None:
        """The group of a class in a video, None where it has none."""
        own = self.exceptions.get(video, {}).get(class_id)
        return own or next((name for name in GROUPS if class_id in self.classes[name]), None)


@dataclass(frozen=True)
class GroupScore:
    """Means over the pairs of a group in 0..1, and their number; NaN without a pair."""

    mask_iou: float
    boundary_iou: float
    pairs: int

    @property
    def iou(self) -> float:
        """The mean of both."""
        return (self.mask_iou + self.boundary_iou) / 2


@dataclass(frozen=True)
class PvosScore:
    """Numbers of a test.

    Attributes:
        overall: mean of the groups' IoU in 0..1, NaN where one of them is empty.
        groups: by name.
        decay: `d` of the fit `exp(-d N / 100)` to the mean IoU of frames with `N` objects; NaN without a pair.
        left_out: video -> ids of given objects whose class is in no group.
    """

    overall: float
    groups: dict[str, GroupScore]
    decay: float
    left_out: dict[str, tuple[int, ...]]


@dataclass(frozen=True)
class _Pair:
    """An object in a frame: its group, the number of objects there, and its scores."""

    group: str
    objects: int
    mask_iou: float
    boundary_iou: float


class PvosAccumulator:
    """Collects videos in any order, from any process; no mask is kept.

    Args:
        rules: see `PvosRules`.
        groups: of the classes.
    """

    def __init__(self, rules: PvosRules, groups: PvosGroups) -> None:
        self.rules, self.groups = rules, groups
        self._pairs: dict[str, list[_Pair]] = {}
        self._left_out: dict[str, tuple[int, ...]] = {}

    def update(
        self,
        video: str,
        truth: Iterable[Labels],
        prediction: Iterable[Labels],
        given: Mapping[int, Iterable[int]],
        classes: Mapping[int, int],
    ) -> None:
        """Add a video.

        Args:
            truth, prediction: label maps `(H, W)` of all frames, the value is the id of an object.
            given: number of a frame from 0 on -> ids of the objects whose masks are given there.
            classes: class of each given object.

        Raises:
            ValueError: the video is there already, sizes or numbers of frames differ, no mask is given, or a given
                object has no class.
        """
        if video in self._pairs:
            raise ValueError(f"video {video!r} was already added")
        wanted = {frame: sorted(ids) for frame, ids in given.items()}
        if not any(wanted.values()):
            raise ValueError(f"video {video!r}: no frame gives the mask of an object: there is nothing to follow")
        if absent := sorted({k for ids in wanted.values() for k in ids} - set(classes)):
            raise ValueError(f"video {video!r}: object {absent[0]} is given, but has no class: complete the list")
        groups = {k: self.groups.group(video, classes[k]) for ids in wanted.values() for k in ids}
        pairs, tracked = [], list[int]()
        for frame, maps in enumerate(_frames(video, truth, prediction)):
            pairs += _scored(maps, tracked, groups)
            tracked += [k for k in wanted.get(frame, ()) if self.rules.repeats or k not in tracked]
        self._pairs[video] = pairs
        self._left_out[video] = tuple(sorted(k for k, group in groups.items() if group is None))

    def merge(self, other: PvosAccumulator) -> None:
        """Add everything that `other` holds; it must have the same rules and groups."""
        if (self.rules, self.groups) != (other.rules, other.groups):
            raise ValueError("accumulators of other rules or groups cannot be merged")
        if again := sorted(self._pairs.keys() & other._pairs.keys()):
            raise ValueError(f"video {again[0]!r} was already added")
        self._pairs |= other._pairs
        self._left_out |= other._left_out

    def compute(self) -> PvosScore:
        """Numbers so far; sums are exact, so that neither order nor processes matter.

        Raises ValueError if no video was added.
        """
        if not self._pairs:
            raise ValueError("no video was added: there is nothing to average")
        pairs = [pair for own in self._pairs.values() for pair in own]
        groups = {name: _group_score([pair for pair in pairs if pair.group == name]) for name in GROUPS}
        left_out = {video: ids for video, ids in sorted(self._left_out.items()) if ids}
        return PvosScore(sum(score.iou for score in groups.values()) / len(GROUPS), groups, _decay(pairs), left_out)


def _scored(maps: tuple[Labels, Labels], tracked: Sequence[int], groups: Mapping[int, str | None]) -> list[_Pair]:
    """Scores of the tracked objects in a frame; those of no group are left out."""
    truth, prediction = maps
    width, boxes = boundary_width(truth.shape), (_boxes(truth), _boxes(prediction))
    found: dict[int, tuple[float, float]] = {}
    pairs = []
    for k in tracked:
        if (group := groups[k]) is not None:
            if k not in found:
                found[k] = _ious(maps, k, [own[k] for own in boxes if k in own], width)
            pairs.append(_Pair(group, len(tracked), *found[k]))
    return pairs


def _ious(maps: tuple[Labels, Labels], k: int, boxes: Sequence[Box], width: int) -> tuple[float, float]:
    """Mask and boundary IoU of object `k`, which is within `boxes`."""
    if not boxes:
        return 1.0, 1.0
    joint = tuple(slice(min(b[axis].start for b in boxes), max(b[axis].stop for b in boxes)) for axis in (0, 1))
    truth, prediction = (labels[joint] == k for labels in maps)
    return mask_and_boundary_iou(prediction, truth, width)


def _boxes(labels: Labels) -> dict[int, Box]:
    """Boxes of all objects of a map, found in one go."""
    return {k: box for k, box in enumerate(ndimage.find_objects(labels), start=1) if box is not None}


def _frames(video: str, truth: Iterable[Labels], prediction: Iterable[Labels]) -> Iterable[tuple[Labels, Labels]]:
    for true, found in zip_longest(truth, prediction):
        if true is None or found is None:
            raise ValueError(f"video {video!r}: truth and prediction must have as many frames as each other")
        if true.shape != found.shape or true.ndim != 2:
            raise ValueError(
                f"video {video!r}: label maps must be (H, W) of one size, got truth {true.shape} and prediction "
                f"{found.shape}"
            )
        yield true, found


def _group_score(pairs: Sequence[_Pair]) -> GroupScore:
    masks, edges = (_mean([getattr(pair, name) for pair in pairs]) for name in ("mask_iou", "boundary_iou"))
    return GroupScore(masks, edges, len(pairs))


def _decay(pairs: Sequence[_Pair]) -> float:
    """Least squares of `-ln` of the mean IoU against the number of objects, through the origin."""
    by_number: dict[int, list[float]] = {}
    for pair in pairs:
        if pair.objects < CROWDED:
            by_number.setdefault(pair.objects, []).append((pair.mask_iou + pair.boundary_iou) / 2)
    points = [(number / 100, _mean(values)) for number, values in sorted(by_number.items())]
    if not points:
        return math.nan
    if not all(mean for _, mean in points):
        return math.inf
    return math.fsum(-x * math.log(mean) for x, mean in points) / math.fsum(x * x for x, _ in points)


def _mean(values: Sequence[float]) -> float:
    return math.fsum(values) / len(values) if values else math.nan

"""Video semantic segmentation on VSPW: IoU of the classes, and VC, the steadiness of the labels over time.

Miao et al., "VSPW: A Large-scale Dataset for Video Scene Parsing in the Wild", CVPR 2021. IoU comes from one confusion
matrix over all frames of all videos. VC_C goes through the clips of C frames: of the pixels whose true label stays the
same, the share whose predicted label does too, whether it is right or not; the mean over all clips of all videos.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.panoptic import runs
from benchmarks.metrics.ratios import ratio

Counts = NDArray[np.int64]
Labels = NDArray[np.uint8]
CLASSES = 124
VOID = 255  # of labels from 0 on; in the files of VSPW 0 and 255 are void, and classes count from 1


@dataclass(frozen=True)
class VssRules:
    """Choices in which evaluations of VSPW differ.

    Attributes:
        stray: of a prediction that is no class, on a pixel whose truth is known. `wrong`: the pixel counts for its true
            class and for no other. `spill`: it counts in the cell `classes * truth + prediction` of the matrix, which
            is one of later classes, as in the released code.
        last_clip: a video of T frames has T - C + 1 clips; else T - C, as in the released code.
        void: what void is to VC. `left out`: a pixel that is void in a frame of the clip counts in no share; `one
            label`: both kinds of void are one label that may stay the same; `two labels`: as they are written.
        lengths: of the clips, `C`.
    """

    stray: Literal["wrong", "spill"] = "wrong"
    last_clip: bool = True
    void: Literal["left out", "one label", "two labels"] = "left out"
    lengths: tuple[int, ...] = (8, 16)


@dataclass(frozen=True)
class VssScore:
    """Numbers in 0..1.

    Attributes:
        miou, class_accuracy: means over the classes that occur in the truth.
        weighted_iou: IoU of these classes, each by its share of the pixels.
        accuracy: of all pixels whose truth is known.
        ious: by class, those that occur in the truth.
        vc: by length of the clips; NaN where no video is long enough.
        clips: by length, then video: the share of each clip, NaN where no pixel keeps its true label.
    """

    miou: float
    weighted_iou: float
    accuracy: float
    class_accuracy: float
    ious: dict[int, float]
    vc: dict[int, float]
    clips: dict[int, dict[str, tuple[float, ...]]]


class VssAccumulator:
    """Collects videos (in any order, from any process), frame by frame; no frame is kept.

    Args:
        rules: see `VssRules`.
        classes: number of classes.
    """

    def __init__(self, rules: VssRules, classes: int = CLASSES) -> None:
        self.rules, self.classes = rules, classes
        self.matrix: Counts = np.zeros((classes, classes + 1), np.int64)  # the last column: predictions of no class
        self._clips: dict[str, dict[int, list[float]]] = {}

    def update(self, video: str, truth: Iterable[Labels], prediction: Iterable[Labels]) -> None:
        """Add a video.

        Args:
            truth: label maps `(H, W)` as VSPW's files have them: classes 1..`classes`, void 0 and 255.
            prediction: label maps `(H, W)` uint8 of classes from 0 on, as many as `truth`.

        Raises:
            ValueError: the video is there already, numbers or sizes of the frames differ, or a label is out of range.
        """
        if video in self._clips:
            raise ValueError(f"video {video!r} was already added")
        steady, matrix = _Steadiness(self.rules), np.zeros_like(self.matrix)
        for raw, found in _pairs(video, truth, prediction):
            classes = raw - np.uint8(1)  # 0 becomes `VOID`
            np.putmask(classes, raw == VOID, VOID)
            matrix += self._confusion(video, classes, found)
            steady.update(raw if self.rules.void == "two labels" else classes, classes == VOID, found)
        self.matrix += matrix
        self._clips[video] = steady.shares()

    def merge(self, other: VssAccumulator) -> None:
        """Add everything that `other` holds; it must have the same rules and classes."""
        if (self.rules, self.classes) != (other.rules, other.classes):
            raise ValueError("accumulators of other rules or classes cannot be merged")
        if again := sorted(self._clips.keys() & other._clips.keys()):
            raise ValueError(f"video {again[0]!r} was already added")
        self.matrix = self.matrix + other.matrix
        self._clips |= other._clips

    def compute(self) -> VssScore:
        """Numbers so far, videos sorted by name. Raises ValueError if no pixel has a known class."""
        if not self.matrix.any():
            raise ValueError("no pixel whose class is known was added: there is nothing to average")
        right, known = np.diagonal(self.matrix), self.matrix.sum(1)
        there = np.flatnonzero(known)
        ious = ratio(right, known + self.matrix[:, :-1].sum(0) - right)
        clips = {
            length: {video: tuple(own[length]) for video, own in sorted(self._clips.items()) if own[length]}
            for length in self.rules.lengths
        }
        return VssScore(
            miou=float(ious[there].mean()),
            weighted_iou=float((known / known.sum() * ious).sum()),
            accuracy=float(right.sum() / known.sum()),
            class_accuracy=float((right[there] / known[there]).mean()),
            ious={int(k): float(ious[k]) for k in there},
            vc={length: _mean([share for own in videos.values() for share in own]) for length, videos in clips.items()},
            clips=clips,
        )

    def _confusion(self, video: str, truth: Labels, prediction: Labels) -> Counts:
        true, found, pixels = runs(truth, prediction)
        known = true != VOID
        true, found = true[known].astype(np.int64), found[known].astype(np.int64)
        if true.size and true.max() >= self.classes:
            raise ValueError(f"video {video!r}: truth of class {true.max() + 1}, but there are {self.classes}")
        spill = self.rules.stray == "spill"
        width = self.classes + (not spill)
        places = width * true + (found if spill else np.minimum(found, self.classes))
        cells = np.bincount(places, pixels[known], self.classes * width).astype(np.int64)
        if len(cells) > self.classes * width:
            raise ValueError(
                f"video {video!r}: prediction {found.max()} is no class and leaves the matrix, as in the released code"
            )
        cells = cells.reshape(self.classes, width)
        return np.pad(cells, ((0, 0), (0, 1))) if spill else cells


class _Steadiness:
    """VC of one video, frame by frame: for every pixel, the number of frames in which its label has been the same."""

    def __init__(self, rules: VssRules) -> None:
        self.rules = rules
        self._before: tuple[Labels, Labels] | None = None
        self._same: tuple[NDArray[np.uint16], ...] = ()  # frames up to this one with the same true, predicted label
        self._found: dict[int, list[float]] = {length: [] for length in rules.lengths}
        self._frames = 0

    def update(self, truth: Labels, void: NDArray[np.bool_], prediction: Labels) -> None:
        """Add the next frame: labels `(H, W)`, and the pixels that are void."""
        self._frames += 1
        if self._before is None:
            self._same = tuple(np.zeros(truth.shape, np.uint16) for _ in range(2))
        else:
            for count, now, before in zip(self._same, (truth, prediction), self._before, strict=True):
                count *= now == before
        for count in self._same:
            count += 1
        if self.rules.void == "left out":
            self._same[0][void] = 0  # such a pixel is known from the next frame on
        self._before = truth, prediction
        for length, shares in self._found.items():
            if self._frames >= length:
                true, found = (count >= length for count in self._same)
                kept = np.count_nonzero(true)
                shares.append(np.count_nonzero(true & found) / kept if kept else math.nan)

    def shares(self) -> dict[int, list[float]]:
        """The share of each clip, by length."""
        return {k: shares if self.rules.last_clip else shares[:-1] for k, shares in self._found.items()}


def _pairs(video: str, truth: Iterable[Labels], prediction: Iterable[Labels]) -> Iterator[tuple[Labels, Labels]]:
    """Frames of both. Raises ValueError where numbers or sizes differ."""
    shape = None
    for true, found in zip_longest(truth, prediction):
        if true is None or found is None:
            raise ValueError(f"video {video!r}: truth and prediction must have as many frames as each other")
        shape = true.shape if shape is None else shape
        if true.shape != shape or found.shape != shape or len(shape) != 2:
            raise ValueError(
                f"video {video!r}: label maps must be (H, W) of one size, got truth {true.shape} and prediction "
                f"{found.shape} in a video of {shape}"
            )
        yield true, found


def _mean(shares: list[float]) -> float:
    """Mean of the shares that are known, NaN if none is."""
    known = [share for share in shares if not math.isnan(share)]
    return math.fsum(known) / len(known) if known else math.nan

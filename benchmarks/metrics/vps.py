"""Video panoptic segmentation on VIPSeg: VPQ and STQ of the same counts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from benchmarks.metrics.panoptic import count_video
from benchmarks.metrics.ratios import Floats
from benchmarks.metrics.stq import TrackCounts, Tracking, track_counts, tracking
from benchmarks.metrics.vpq import WindowScore, mean_pq, window_score, window_sums
from episodes.panoptic import PanopticClasses, PanopticFrame


@dataclass(frozen=True)
class VpsRules:
    """Choices in which evaluations of VIPSeg differ.

    Attributes:
        windows: lengths of the windows of VPQ in frames.
        averaged: those over which VPQ is the mean.
        crowd_by_order: see `benchmarks.metrics.stq.track_counts`.
    """

    windows: tuple[int, ...] = (1, 2, 4, 6, 8)
    averaged: tuple[int, ...] = (1, 2, 4, 6)
    crowd_by_order: bool = False


@dataclass(frozen=True)
class VpsScore:
    """Numbers in 0..1.

    Attributes:
        vpq, vpq_things, vpq_stuff: means over the windows that the rules average; NaN where no video is long enough.
        windows: quality by length of the window.
        tracking: STQ and its factors.
        videos: the same of each video alone.
    """

    vpq: float
    vpq_things: float
    vpq_stuff: float
    windows: dict[int, WindowScore]
    tracking: Tracking
    videos: dict[str, Tracking]


class VpsAccumulator:
    """Collects videos (in any order, from any process), frame by frame; no map is kept.

    Args:
        rules: see `VpsRules`.
        classes: the categories of the data set.
    """

    def __init__(self, rules: VpsRules, classes: PanopticClasses) -> None:
        self.rules, self.classes = rules, classes
        self._videos: dict[str, tuple[dict[int, Floats], TrackCounts]] = {}

    def update(self, video: str, truth: Iterable[PanopticFrame], prediction: Iterable[PanopticFrame]) -> None:
        """Add all frames of a video. Raises ValueError if it is there already, else as `count_video` does."""
        if video in self._videos:
            raise ValueError(f"video {video!r} was already added")
        counts = count_video(video, truth, prediction, self.classes)
        number = len(self.classes.all)
        sums = {frames: window_sums(counts, frames, number) for frames in self.rules.windows}
        self._videos[video] = sums, track_counts(counts, self.classes, self.rules.crowd_by_order)

    def merge(self, other: VpsAccumulator) -> None:
        """Add everything that `other` holds; it must have the same rules and classes."""
        if (self.rules, self.classes) != (other.rules, other.classes):
            raise ValueError("accumulators of other rules or classes cannot be merged")
        if again := sorted(self._videos.keys() & other._videos.keys()):
            raise ValueError(f"video {again[0]!r} was already added")
        self._videos |= other._videos

    def compute(self) -> VpsScore:
        """Numbers so far, videos sorted by name. Raises ValueError if no video was added."""
        if not self._videos:
            raise ValueError("no video was added: there is nothing to average")
        sums, tracks = zip(*(own for _, own in sorted(self._videos.items())), strict=True)
        windows = {
            frames: window_score(sum((own[frames] for own in sums[1:]), sums[0][frames]), self.classes)
            for frames in self.rules.windows
        }
        return VpsScore(
            *mean_pq([windows[frames] for frames in self.rules.averaged]),
            windows,
            tracking(tracks),
            {video: tracking([own]) for video, (_, own) in sorted(self._videos.items())},
        )

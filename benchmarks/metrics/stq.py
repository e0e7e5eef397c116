"""STQ: segmentation and tracking quality of panoptic segments, over whole videos.

Weber et al., "STEP: Segmenting and Tracking Every Pixel", NeurIPS 2021. STQ is the geometric mean of SQ, the mean IoU
of the categories from one confusion matrix, and AQ, the overlap of true thing tracks with all predicted tracks that
meet them, whatever their category, each weighted by the common pixels.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.panoptic import Ints, SegmentTable, VideoCounts
from benchmarks.metrics.ratios import ratio
from episodes.panoptic import PanopticClasses

INSTANCES = 1 << 16  # a label is category * INSTANCES + instance
CROWD = 0  # the instance that a crowd has


@dataclass(frozen=True)
class Tracking:
    """STQ and its two factors in 0..1."""

    stq: float
    aq: float
    sq: float


@dataclass(frozen=True, eq=False)
class TrackCounts:
    """Counts of a video.

    Attributes:
        confusion: `(categories + 1, categories + 1)` pixels by true and predicted category; the last one is void.
        association: sum over the true tracks of their overlap with predicted tracks.
        tracks: number of true tracks.
    """

    confusion: Ints
    association: float
    tracks: int


def track_counts(video: VideoCounts, classes: PanopticClasses, crowd_by_order: bool) -> TrackCounts:
    """Counts of a video.

    Pixels of a crowd of things count in no track. A category that changes makes another track of a segment.

    Args:
        crowd_by_order: instances are numbered from 0 on in the order of their first listing, so that the segment that
            the truth lists first is taken for a crowd if it is a thing, as in the released code of VIPSeg's and UniVS's
            evaluation; the lists do not say then what a crowd is. Else they do, and numbers start from 1.
    """
    void = len(classes.all)
    things = np.array([category in classes.things for category in classes.all] + [False])
    t, g, p = video.common.nonzero()
    pixels = video.common[t, g, p]
    true = _labels(video.truth, void, crowd_by_order)[t, g]
    found = _labels(video.prediction, void, crowd_by_order)[t, p]
    confusion = np.zeros((void + 1, void + 1), np.int64)
    np.add.at(confusion, (true // INSTANCES, found // INSTANCES), pixels)
    thing = things[true // INSTANCES]
    crowd = thing & (true % INSTANCES == CROWD)
    in_true, in_found = thing & ~crowd, things[found // INSTANCES] & ~crowd
    true_sizes, found_sizes = _sums(true[in_true], pixels[in_true]), _sums(found[in_found], pixels[in_found])
    both = in_true & in_found
    pairs = _sums(true[both] << 32 | found[both], pixels[both])
    overlaps = (
        n / true_sizes[pair >> 32] * n / (true_sizes[pair >> 32] + found_sizes[pair & 0xFFFFFFFF] - n)
        for pair, n in pairs.items()
    )
    return TrackCounts(confusion, math.fsum(overlaps), len(true_sizes))


def tracking(counts: Sequence[TrackCounts]) -> Tracking:
    """Quality over videos (at least one): of their counts added up, not a mean of theirs.

    Void on a pixel whose truth is known makes void a further category, with IoU 0. Without a thing track AQ is 0.
    """
    confusion = sum((own.confusion for own in counts[1:]), counts[0].confusion.copy())
    confusion[-1] = 0  # pixels whose truth is void
    right = np.diagonal(confusion)
    union = confusion.sum(0) + confusion.sum(1) - right
    sq = float(ratio(right, union)[union > 0].mean()) if union.any() else 0.0
    tracks = sum(own.tracks for own in counts)
    aq = math.fsum(own.association for own in counts) / tracks if tracks else 0.0
    return Tracking(math.sqrt(aq * sq), aq, sq)


def _labels(table: SegmentTable, void: int, crowd_by_order: bool) -> Ints:
    """Labels `(T, 1 + N)` of the segments in each frame, void first; where a frame has none of it, of no meaning."""
    frames, number = table.categories.shape
    instances = np.broadcast_to(np.arange(number), (frames, number))
    if not crowd_by_order:
        instances = np.where(table.crowd, CROWD, instances + 1)
    labels = table.categories * INSTANCES + instances
    return np.concatenate((np.full((frames, 1), void * INSTANCES), labels), axis=1)


def _sums(labels: Ints, pixels: Ints) -> dict[int, int]:
    """Pixels of each label."""
    keys, places = np.unique(labels, return_inverse=True)
    sums: NDArray[np.int64] = np.zeros(len(keys), np.int64)
    np.add.at(sums, places, pixels)
    return dict(zip(keys.tolist(), sums.tolist(), strict=True))

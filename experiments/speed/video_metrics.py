"""Timings of the metrics of whole videos: `python -m experiments.speed.video_metrics`

Tracks (VIS), classes (VSS), panoptic segments (VPS) and boundaries (PVOS) of one generated video, against the
definitions written down. Both must give the same numbers. All ratios come from one run, so that they hold on any
machine.
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.boundary_iou import boundary_width
from benchmarks.metrics.pvos import PvosGroups
from benchmarks.metrics.vis import video_ious
from benchmarks.protocols.tasks import PVOS_PROTOCOLS, VPS_PROTOCOLS, VSS_PROTOCOLS
from benchmarks.tables import text_table
from episodes.panoptic import GROUPS, PanopticClasses, PanopticFrame, Segment
from episodes.sources.segmentations import runs_of
from experiments.speed.jf import milliseconds
from experiments.speed.options import options
from experiments.speed.plain_metrics import (
    plain_boundary_iou,
    plain_tracking,
    steadiness,
    track_overlap,
    tube_sums,
)

USAGE = """
python -m experiments.speed.video_metrics [key=value ...]

  frames   frames of the video (default 12)
  objects  things in it, before two kinds of ground (default 10)
  height   of the frames in pixels; the width is 16/9 of it (default 480)
"""
DEFAULTS = {"frames": 12, "objects": 10, "height": 480}
CLASSES = PanopticClasses(things=frozenset(range(2, 12)), stuff=frozenset({0, 1}))
Ids = NDArray[np.uint32]
Work = Callable[[], NDArray[np.float64]]


@dataclass(frozen=True)
class Pair:
    """Truth and prediction: ids `(T, H, W)`; 1 and 2 are the grounds, things follow."""

    truth: Ids
    prediction: Ids


def generated(frames: int, objects: int, height: int) -> Pair:
    """Discs that drift before two kinds of ground, and the same a little off."""
    rng = np.random.default_rng(0)
    size = height, height * 16 // 9
    rows, columns = np.ogrid[: size[0], : size[1]]
    start, pace = rng.uniform(0, 1, (objects, 2)) * size, rng.uniform(-0.01, 0.01, (objects, 2)) * height
    radii = rng.uniform(0.05, 0.2, objects) * height
    maps = np.empty((2, frames, *size), np.uint32)
    for side, t in np.ndindex(2, frames):
        shift = side * rng.uniform(-0.02, 0.02, (objects, 2)) * height
        ids = maps[side, t]
        ids[:] = np.where(rows < size[0] * (0.5 + 0.03 * side), 1, 2)
        for k, (centre, radius) in enumerate(zip(start + t * pace + shift, radii, strict=True)):
            ids[(rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 < radius**2] = k + 3
    return Pair(*maps)


def tracks(pair: Pair) -> tuple[Work, Work]:
    """Overlaps of all pairs of tracks; ours starts from run lengths, as results have them, the other from masks."""
    numbers = np.unique(pair.truth)[2:]
    masks = [[[own == k if (own == k).any() else None for own in side] for k in numbers] for side in _sides(pair)]
    runs = [[[None if m is None else runs_of(m) for m in own] for own in side] for side in masks]

    def plain() -> NDArray[np.float64]:
        return np.array([[track_overlap(p, t) for t in masks[0]] for p in masks[1]])

    return lambda: video_ious(runs[1], runs[0]), plain


def classes(pair: Pair) -> tuple[Work, Work]:
    """IoU of the classes, and the shares of the clips of 8 and 16 frames (VC)."""
    truth, found = (_category(side).astype(np.uint8) for side in _sides(pair))
    number = len(CLASSES.all)

    def ours() -> NDArray[np.float64]:
        accumulator = VSS_PROTOCOLS["vspw_corrected"].accumulator(number)
        accumulator.update("v", truth + np.uint8(1), found)
        score = accumulator.compute()
        return np.array([score.miou, *(share for clips in score.clips.values() for share in clips.get("v", ()))])

    def plain() -> NDArray[np.float64]:
        matrix = np.zeros((number, number))
        for true, own in zip(truth, found, strict=True):
            matrix += np.bincount(number * true.astype(np.int64).ravel() + own.ravel(), minlength=number**2).reshape(
                number, number
            )
        right, known = np.diagonal(matrix), matrix.sum(1) > 0
        ious = right[known] / (matrix.sum(0) + matrix.sum(1) - right)[known]
        return np.array([ious.mean(), *(x for k in (8, 16) for x in steadiness(truth, found, k, True, None))])

    return ours, plain


def segments(pair: Pair) -> tuple[Work, Work]:
    """VPQ of windows of 1, 2, 4 and 6 frames, and AQ and SQ."""
    truth, found = ([_frame(str(t), ids) for t, ids in enumerate(side)] for side in _sides(pair))
    windows = [frames for frames in (1, 2, 4, 6) if frames <= len(truth)]

    def ours() -> NDArray[np.float64]:
        accumulator = VPS_PROTOCOLS["vipseg_corrected"].accumulator(CLASSES)
        accumulator.update("v", truth, found)
        score = accumulator.compute()
        return np.array([*(score.windows[k].all.pq for k in windows), score.tracking.aq, score.tracking.sq])

    def plain() -> NDArray[np.float64]:
        quality = []
        for frames in windows:
            overlap, tp, fp, fn = tube_sums((truth, found), frames, CLASSES).T
            tubes = tp + fp / 2 + fn / 2
            quality.append((overlap[tubes > 0] / tubes[tubes > 0]).mean())
        return np.array([*quality, *plain_tracking([(truth, found)], CLASSES, crowd_by_order=False)])

    return ours, plain


def boundaries(pair: Pair) -> tuple[Work, Work]:
    """Mean boundary IoU of all things after the first frame."""
    truth, found = (side.astype(np.uint8) for side in _sides(pair))
    numbers = np.unique(truth[0])[2:].tolist()
    groups = PvosGroups({name: frozenset({0} if name == GROUPS[0] else ()) for name in GROUPS})

    def ours() -> NDArray[np.float64]:
        accumulator = PVOS_PROTOCOLS["viposeg_corrected"].accumulator(groups)
        accumulator.update("v", truth, found, {0: numbers}, dict.fromkeys(numbers, 0))
        return np.array([accumulator.compute().groups[GROUPS[0]].boundary_iou])

    def plain() -> NDArray[np.float64]:
        width = boundary_width(truth.shape[1:])
        maps = list(zip(truth, found, strict=True))[1:]
        return np.array([np.mean([plain_boundary_iou(f == k, t == k, width) for t, f in maps for k in numbers])])

    return ours, plain


def _sides(pair: Pair) -> tuple[Ids, Ids]:
    return pair.truth, pair.prediction


def _category(ids: Ids) -> NDArray[np.int64]:
    """Grounds are categories of their own, things share ten."""
    return np.where(ids < 3, ids.astype(np.int64) - 1, 2 + ids.astype(np.int64) % 10)


def _frame(name: str, ids: Ids) -> PanopticFrame:
    return PanopticFrame(name, ids, [Segment(int(k), int(_category(k))) for k in np.unique(ids)])


def measured(pair: Pair) -> list[list[str]]:
    """CPU time of one video, ours and the plain way, and their ratio. Raises AssertionError where numbers differ."""
    table = []
    for name, make in (("tracks", tracks), ("classes", classes), ("segments", segments), ("boundaries", boundaries)):
        ours, plain = make(pair)
        np.testing.assert_allclose(ours(), plain(), rtol=0, atol=1e-9, err_msg=name)  # also a warm-up
        fast, slow = min(milliseconds(ours) for _ in range(3)), milliseconds(plain)
        table.append([name, f"{fast:.1f}", f"{slow:.1f}", f"{slow / fast:.1f}"])
    return table


def main(argv: Sequence[str]) -> None:
    """The command line."""
    frames, objects, height = options(argv, DEFAULTS, USAGE, least=2)
    pair = generated(frames, objects, height)
    print(f"{frames} frames of {height}x{height * 16 // 9}, {objects} things\n")
    print(text_table(["one video", "ms CPU, ours", "ms CPU, plain", "ratio"], measured(pair)))


if __name__ == "__main__":
    main(sys.argv[1:])

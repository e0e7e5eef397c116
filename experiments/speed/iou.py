"""Timings of mIoU: `python -m experiments.speed.iou`

The pixel counts of a pair of masks against the straightforward versions of the official evaluators' habit, and the
report of a whole test with its bootstrap against a loop that resamples episodes one bootstrap sample at a time. All
ratios come from one run, so that they hold on any machine.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Sequence
from functools import partial

import numpy as np
from numpy.typing import NDArray

from benchmarks.metrics.iou import PairCounts, pair_counts
from benchmarks.protocols import IMAGE_PROTOCOLS
from benchmarks.scores.intervals import replicates
from benchmarks.scores.scores import ImageScore
from benchmarks.tables import text_table
from experiments.speed.jf import milliseconds
from experiments.speed.options import options

USAGE = """
python -m experiments.speed.iou [key=value ...]

  size        side of the masks in pixels (default 473)
  pairs       pairs of masks that are counted (default 50)
  episodes    episodes of the test that is averaged (default 5000)
  bootstrap   bootstrap samples (default 2000; the loop is measured on every hundredth)
"""
DEFAULTS = {"size": 473, "pairs": 50, "episodes": 5000, "bootstrap": 2000}
CLASSES = 20
VOID = 255
Mask = NDArray[np.bool_]


def histogram_counts(pred: Mask, truth: Mask, ignore: Mask) -> PairCounts:
    """Label maps of 0, 1 and 255; three histograms: of the agreement, of the prediction and of the truth."""
    target, output = np.where(ignore, VOID, truth), np.where(ignore, VOID, pred)
    edges = np.arange(3)
    common, of_output, of_target = (
        np.histogram(values[values < 2], bins=edges)[0] for values in (output[output == target], output, target)
    )
    return PairCounts(*(int(n) for n in (*common, *(of_output + of_target - common), *of_target)))


def confusion_counts(pred: Mask, truth: Mask, ignore: Mask) -> PairCounts:
    """A confusion matrix by one bincount over the pixels that are not ignored."""
    cells = 2 * truth[~ignore].astype(np.int64) + pred[~ignore]
    (a, b), (c, d) = np.bincount(cells, minlength=4).reshape(2, 2).tolist()
    return PairCounts(a, d, a + b + c, b + c + d, a + b, c + d)


def synthetic_pairs(number: int, size: int) -> list[tuple[Mask, Mask, Mask]]:
    """Discs, discs a little off, and rings of pixels to ignore around the truth."""
    rng = np.random.default_rng(0)
    rows, columns = np.ogrid[:size, :size]
    pairs = []
    for _ in range(number):
        y, x, radius = rng.uniform(0.3, 0.7) * size, rng.uniform(0.3, 0.7) * size, rng.uniform(0.05, 0.3) * size
        distance = np.hypot(rows - y, columns - x)
        pred = np.hypot(rows - y - rng.uniform(0, 20), columns - x - rng.uniform(0, 20)) < radius
        pairs.append((pred, distance < radius, np.abs(distance - radius) < 2.5))
    return pairs


def synthetic_scores(episodes: int) -> list[ImageScore]:
    """Scores of a fold of 20 classes."""
    rng = np.random.default_rng(0)
    scores = []
    for index in range(episodes):
        union = int(rng.integers(1000, 90000))
        inter, total = int(rng.integers(0, union)), 473 * 473
        background = total - union
        scores.append(
            ImageScore(0, 0, "", index, index % CLASSES, "", str(index), background, inter, total - inter, union)
        )
    return scores


def counting(size: int, pairs: int) -> list[list[str]]:
    """Median CPU time per pair, and the ratio to ours."""
    masks = synthetic_pairs(pairs, size)
    methods = {"ours": pair_counts, "confusion matrix (bincount)": confusion_counts, "histograms": histogram_counts}
    for three in masks[:3]:  # also a warm-up
        assert len({method(*three) for method in methods.values()}) == 1
    medians = {
        name: statistics.median(milliseconds(partial(method, *three)) for three in masks)
        for name, method in methods.items()
    }
    return [[name, f"{value:.3f}", f"{value / medians['ours']:.1f}"] for name, value in medians.items()]


def looped_bootstrap(scores: Sequence[ImageScore], samples: int) -> list[float]:
    """mIoU of bootstrap samples, one after the other: draw episodes within each class, add up, divide."""
    rng = np.random.default_rng(0)
    classes: dict[int, list[ImageScore]] = {}
    for score in scores:
        classes.setdefault(score.class_id, []).append(score)
    values = []
    for _ in range(samples):
        ious = []
        for rows in classes.values():
            drawn = [rows[k] for k in rng.integers(len(rows), size=len(rows))]
            ious.append(sum(s.inter_fg for s in drawn) / sum(s.union_fg for s in drawn))
        values.append(statistics.fmean(ious))
    return values


def averaging(episodes: int, bootstrap: int) -> list[list[str]]:
    """Time per bootstrap sample of a whole test, ours (all measures, sums included) and the loop (mIoU only)."""
    scores, protocol = synthetic_scores(episodes), IMAGE_PROTOCOLS["hsnet"]

    def ours() -> NDArray[np.float64]:
        return replicates(protocol.sums(scores), bootstrap, random_seed=0)[:, 0]

    few = max(bootstrap // 100, 1)
    fast, slow = ours(), looped_bootstrap(scores, few)
    assert abs(fast.mean() - statistics.fmean(slow)) < 5 * fast.std() / few**0.5 + 1e-9
    times = [min(milliseconds(ours) for _ in range(3)) / bootstrap]
    times.append(milliseconds(lambda: looped_bootstrap(scores, few)) / few)
    names = ("ours, three measures", "loop over samples, mIoU only")
    return [[name, f"{value:.3f}", f"{value / times[0]:.1f}"] for name, value in zip(names, times, strict=True)]


def main(argv: Sequence[str]) -> None:
    """The command line."""
    size, pairs, episodes, bootstrap = options(argv, DEFAULTS, USAGE, least=2)
    title = f"counts of a pair, {size}x{size}"
    print(text_table([title, "ms CPU (median)", "ratio"], counting(size, pairs)), end="\n\n")
    title = f"bootstrap of {episodes} episodes"
    print(text_table([title, "ms CPU per sample", "ratio"], averaging(episodes, bootstrap)))


if __name__ == "__main__":
    main(sys.argv[1:])

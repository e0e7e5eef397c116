"""Coverage of the bootstrap intervals where a video or image is asked about for several classes, by simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from benchmarks.metrics.ratios import Floats
from benchmarks.protocols import PROTOCOLS
from benchmarks.scores.intervals import resampled
from benchmarks.scores.sums import Sums, UnitTotals
from tests.benchmarks.test_image_report import image
from tests.benchmarks.test_report import query

NAMES, CLASSES = 90, 6  # videos or images, each with two of the classes
SAMPLES, TESTS = 1000, 1000
TRUTH = 0.6


def asked(protocol: str, which: tuple[int, ...] = (0, 1)) -> Sums:
    """One query for each class of each video or image, or for one of its two; the scores do not matter."""
    pairs = [(f"{k:02d}", (k, k + 1 + k // CLASSES % 2)[n] % CLASSES) for k in range(NAMES) for n in which]
    if PROTOCOLS[protocol].measures[0] == "mIoU":
        return PROTOCOLS[protocol].sums([image(episode=n, name=v, class_id=c) for n, (v, c) in enumerate(pairs)])
    return PROTOCOLS[protocol].sums([query(video=v, class_id=c) for v, c in pairs])


def hardness(rng: np.random.Generator) -> dict[str, Floats]:
    """What makes a video or image hard for every class, in each of the simulated tests."""
    return {f"{k:02d}": rng.normal(0, 0.15, TESTS) for k in range(NAMES)}


def simulated(sums: Sums, hard: dict[str, Floats], rng: np.random.Generator) -> Sums:
    """The same units with the scores of many tests (in the place of seeds), whose expectation is `TRUTH`."""
    common = np.stack([hard[name] for name in sums.names], 1)
    quality = TRUTH + (common + rng.normal(0, 0.05, common.shape))[..., None]

    def scores(part: UnitTotals) -> UnitTotals:
        size = rng.uniform(0.5, 1.5, quality.shape)
        columns, wholes = part.part.shape[2], part.whole.shape[2]
        return replace(
            part,
            part=(size * quality).repeat(columns, 2),
            whole=size.repeat(wholes, 2),
            scores=np.ones(size.shape[:2]),
        )

    return replace(sums, parts=tuple(map(scores, sums.parts)))


def coverage(draws: Floats, truth: float) -> list[float]:
    """Share of the tests whose 95 % interval holds the truth, of each measure; draws `(samples, tests, measures)`."""
    low, high = np.percentile(draws, [2.5, 97.5], axis=0)
    return ((low <= truth) & (truth <= high)).mean(0).tolist()


@pytest.mark.parametrize("protocol", ["cma", "cma_per_class", "davis", "hsnet", "uniref"])
def test_intervals_cover_the_truth_where_classes_share_videos_or_images(protocol: str) -> None:
    rng = np.random.default_rng(0)
    sums = simulated(asked(protocol), hardness(rng), rng)
    found = coverage(sums.averages(resampled(sums, SAMPLES, 0)), TRUTH)
    assert all(0.93 <= share <= 0.97 for share in found), found
    pairs = replace(sums, names=tuple(map(str, range(sums.units))))
    missed = coverage(sums.averages(resampled(pairs, SAMPLES, 0)), TRUTH)
    assert all(share < 0.90 for share in missed), "pairs of class and video, resampled one by one, cover too little"


@pytest.mark.parametrize("protocol", ["cma", "hsnet"])
def test_the_mean_over_folds_that_share_videos_or_images(protocol: str) -> None:
    rng = np.random.default_rng(1)
    hard = hardness(rng)
    folds = [simulated(asked(protocol, (n,)), hard, rng) for n in (0, 1)]
    draws = np.mean([fold.averages(resampled(fold, SAMPLES, 0)) for fold in folds], 0)
    assert all(0.93 <= share <= 0.97 for share in coverage(draws, TRUTH))


@pytest.mark.parametrize("protocol", ["cma", "hsnet"])
def test_paired_differences(protocol: str) -> None:
    """Two runs without a difference; each finds other videos hard, for all their classes."""
    rng = np.random.default_rng(2)
    a, b = (simulated(asked(protocol), hardness(rng), rng) for _ in range(2))
    counts = resampled(a, SAMPLES, 0)
    assert np.array_equal(counts, resampled(b, SAMPLES, 0)), "both runs are resampled together"
    assert all(0.93 <= share <= 0.97 for share in coverage(b.averages(counts) - a.averages(counts), 0.0))

"""Video semantic segmentation: classes of the truth, strays, and clips by the definition written down."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.metrics.vss import VssAccumulator, VssRules
from benchmarks.protocols.tasks import TASK_PROTOCOLS, VSS_PROTOCOLS
from experiments.speed.plain_metrics import steadiness

LENGTHS = (2, 3)


def maps(*rows: list[int]) -> np.ndarray:
    """Frames of one row each."""
    return np.array(rows, np.uint8)[:, None]


def random_video(seed: int, frames: int = 7) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = np.repeat(rng.choice([0, 1, 2, 3, 255], (frames, 6, 8)), 1, axis=0).astype(np.uint8)
    truth = np.where(rng.random(truth.shape) < 0.7, truth[:1], truth).astype(np.uint8)
    return truth, np.where(rng.random(truth.shape) < 0.8, 1, rng.integers(0, 3, truth.shape)).astype(np.uint8)


def plain_vc(truth: np.ndarray, found: np.ndarray, length: int, rules: VssRules) -> list[float]:
    """The definition written down."""
    void = (truth == 0) | (truth == 255)
    labels = truth if rules.void == "two labels" else np.where(void, 0, truth)
    return steadiness(labels, found, length, rules.last_clip, void if rules.void == "left out" else None)


@pytest.mark.parametrize("last_clip", [False, True])
@pytest.mark.parametrize("void", ["left out", "one label", "two labels"])
def test_steadiness_is_that_of_the_definition(void: str, last_clip: bool) -> None:
    rules = VssRules(last_clip=last_clip, void=void, lengths=LENGTHS)
    accumulator = VssAccumulator(rules, classes=3)
    videos = {f"v{seed}": random_video(seed, frames=3 + seed) for seed in range(4)}
    for name, pair in videos.items():
        accumulator.update(name, *pair)
    score = accumulator.compute()
    for length in LENGTHS:
        wanted = {name: plain_vc(*pair, length, rules) for name, pair in videos.items()}
        for name, shares in wanted.items():
            np.testing.assert_allclose(score.clips[length].get(name, ()), shares, rtol=0, atol=1e-15)
        assert score.vc[length] == pytest.approx(np.nanmean([share for own in wanted.values() for share in own]))


def test_a_steady_mistake_is_steady_and_a_video_of_the_length_has_one_clip() -> None:
    truth, wrong = maps(*[[1, 2]] * 3), maps(*[[1, 0]] * 3)
    accumulator = VssAccumulator(VssRules(lengths=(3, 4)), classes=2)
    accumulator.update("v", truth, wrong)
    score = accumulator.compute()
    assert score.miou == 0 and score.vc[3] == 1 and math.isnan(score.vc[4])
    published = VssAccumulator(VssRules(last_clip=False, lengths=(3,)), classes=2)
    published.update("v", truth, wrong)
    assert math.isnan(published.compute().vc[3])


def test_the_truth_scores_one_and_void_counts_nowhere() -> None:
    accumulator = VssAccumulator(VssRules(lengths=(2,)), classes=4)
    accumulator.update("v", maps([1, 3, 0, 255], [1, 3, 3, 255]), maps([0, 2, 1, 3], [0, 2, 2, 1]))
    score = accumulator.compute()
    assert (score.miou, score.weighted_iou, score.accuracy, score.class_accuracy) == (1, 1, 1, 1)
    assert score.ious == {0: 1, 2: 1} and score.vc == {2: 1}


def test_a_prediction_of_no_class() -> None:
    truth, found = maps([1, 1, 2, 2]), maps([0, 7, 1, 1])
    accumulator = VssAccumulator(VssRules(), classes=4)
    accumulator.update("v", truth, found)
    assert accumulator.compute().ious == {0: 0.5, 1: 1}
    spilling = VssAccumulator(VssRules(stray="spill"), classes=4)
    spilling.update("v", truth, found)  # 4 * 0 + 7 is truth 1, prediction 3
    assert spilling.compute().ious == {0: 1, 1: pytest.approx(2 / 3)}
    with pytest.raises(ValueError, match="prediction 255 is no class and leaves the matrix"):
        spilling.update("w", maps([4]), maps([255]))


def test_merging_is_as_if_added_to_one() -> None:
    whole, parts = VssAccumulator(VssRules(), 3), [VssAccumulator(VssRules(), 3) for _ in range(2)]
    for seed in range(4):
        for accumulator in (whole, parts[seed % 2]):
            accumulator.update(f"v{seed}", *random_video(seed, frames=9))
    parts[1].merge(parts[0])
    assert parts[1].compute() == whole.compute()
    with pytest.raises(ValueError, match="video 'v0' was already added"):
        whole.merge(parts[0])
    with pytest.raises(ValueError, match="other rules or classes"):
        whole.merge(VssAccumulator(VssRules(), 4))


@pytest.mark.parametrize(
    ("truth", "found", "message"),
    [
        (maps([1], [1]), maps([0]), "video 'v': truth and prediction must have as many frames"),
        (maps([1], [1]), maps([0], [0], [0]), "video 'v': truth and prediction must have as many frames"),
        (maps([1, 1]), maps([0]), r"of one size, got truth \(1, 2\) and prediction \(1, 1\)"),
        (maps([5]), maps([0]), "video 'v': truth of class 5, but there are 4"),
    ],
)
def test_what_is_refused(truth: np.ndarray, found: np.ndarray, message: str) -> None:
    accumulator = VssAccumulator(VssRules(), classes=4)
    with pytest.raises(ValueError, match=message):
        accumulator.update("v", truth, found)
    with pytest.raises(ValueError, match="no pixel whose class is known"):
        accumulator.compute()


def test_cards_say_what_the_rules_are() -> None:
    cards = {name: protocol.card() for name, protocol in VSS_PROTOCOLS.items()}
    assert "every clip of C frames but the last" in cards["vspw"] and "0 and 255 are one" in cards["vspw"]
    assert "0 and 255 are two" in cards["vspw_baseline"]
    assert "but the last" not in cards["vspw_corrected"] and "left out" in cards["vspw_corrected"]
    assert all(TASK_PROTOCOLS[name] is protocol for name, protocol in VSS_PROTOCOLS.items())
    assert len(set(cards.values())) == len(cards)
    digests = {name: protocol.digest for name, protocol in VSS_PROTOCOLS.items()}
    assert len(set(digests.values())) == len(digests)
    assert f"vspw@1, rules {digests['vspw']} (" in cards["vspw"]

"""Panoptic VOS: boundary IoU by its definition, which pairs count, and what is refused."""

from __future__ import annotations

import math

import numpy as np
import pytest

from benchmarks.metrics.boundary_iou import boundary_width, mask_and_boundary_iou
from benchmarks.metrics.pvos import PvosAccumulator, PvosGroups, PvosRules
from benchmarks.protocols.tasks import PVOS_PROTOCOLS, TASK_PROTOCOLS
from experiments.speed.plain_metrics import plain_boundary_iou

GROUPS = PvosGroups(
    {"thing_seen": {1}, "thing_unseen": {2}, "stuff_seen": {3}, "stuff_unseen": {4}}, {"odd": {3: "stuff_unseen"}}
)
CLASSES = {1: 1, 2: 2, 3: 3, 4: 4}


def blob(rng: np.random.Generator, shape: tuple[int, int]) -> np.ndarray:
    y, x, radius = rng.uniform(0, shape[0]), rng.uniform(0, shape[1]), rng.uniform(0, max(shape) / 2)
    rows, columns = np.ogrid[: shape[0], : shape[1]]
    return (np.hypot(rows - y, columns - x) < radius) & (rng.random(shape) < 0.98)


@pytest.mark.parametrize("seed", range(20))
def test_boundary_iou_is_that_of_the_definition(seed: int) -> None:
    rng = np.random.default_rng(seed)
    shape, width = (int(rng.integers(1, 40)), int(rng.integers(1, 70))), int(rng.integers(1, 9))
    prediction, truth = (blob(rng, shape) for _ in range(2))
    mask, boundary = mask_and_boundary_iou(prediction, truth, width)
    assert boundary == plain_boundary_iou(prediction, truth, width)
    union = (prediction | truth).sum()
    assert mask == ((prediction & truth).sum() / union if union else 1.0)


def test_the_border_of_the_image_is_a_boundary() -> None:
    full, inner = np.ones((20, 20), bool), np.zeros((20, 20), bool)
    inner[2:-2, 2:-2] = True
    assert mask_and_boundary_iou(full, full, 2) == (1, 1)
    assert mask_and_boundary_iou(full, inner, 2)[1] == 0
    assert [boundary_width(shape) for shape in ((10, 10), (64, 96), (480, 854))] == [1, 2, 20]


def maps(*rows: list[int]) -> np.ndarray:
    return np.array([np.repeat(np.repeat([row], 9, 0), 9, 1) for row in rows], np.uint8)


def score_of(*rows: list[int], given: dict, found: np.ndarray | None = None, video: str = "v", repeats: bool = False):
    accumulator = PvosAccumulator(PvosRules(repeats), GROUPS)
    truth = maps(*rows)
    accumulator.update(video, truth, truth if found is None else found, given, CLASSES)
    return accumulator.compute()


def test_the_truth_scores_one_from_the_frame_after_the_one_that_gives_the_mask() -> None:
    rows = [[1, 2, 3, 4]] * 3
    wrong_where_given = maps([0, 0, 0, 0], *rows[1:])
    score = score_of(*rows, given={0: [1, 2, 3, 4]}, found=wrong_where_given)
    assert (score.overall, score.decay) == (1, 0) and score.groups["thing_seen"].pairs == 2
    assert score_of(*rows, given={2: [1]}).groups["thing_seen"].pairs == 0


def test_an_object_that_is_given_again() -> None:
    rows, given = [[1, 2]] * 4, {0: [1, 2], 2: [2]}
    once, twice = (score_of(*rows, given=given, repeats=repeats).groups for repeats in (False, True))
    assert (once["thing_unseen"].pairs, twice["thing_unseen"].pairs) == (3, 4)
    assert once["thing_seen"].pairs == twice["thing_seen"].pairs == 3


def test_repeats_crowd_a_frame() -> None:
    rows, found = [[1, 2]] * 3, maps([1, 2], [1, 0], [1, 0])
    once, twice = (score_of(*rows, given={0: [1, 2], 1: [1]}, found=found, repeats=r) for r in (False, True))
    assert once.decay == pytest.approx(math.log(2) / 0.02)
    x, y = (0.02, 0.03), (1 / 2, 2 / 3)
    assert twice.decay == pytest.approx(
        sum(-a * math.log(b) for a, b in zip(x, y, strict=True)) / sum(a * a for a in x)
    )


def test_absent_objects() -> None:
    score = score_of([1, 2], [0, 2], [0, 2], given={0: [1, 2]}, found=maps([1, 2], [0, 2], [1, 0]))
    assert (score.groups["thing_seen"].mask_iou, score.groups["thing_unseen"].boundary_iou) == (0.5, 0.5)
    assert math.isnan(score.overall) and score.groups["stuff_seen"].pairs == 0
    assert score_of([1], [1], given={0: [1]}, found=maps([0], [0])).decay == math.inf


def test_groups_of_classes_and_of_single_videos() -> None:
    rows, given = [[3]] * 2, {0: [3]}
    assert score_of(*rows, given=given).groups["stuff_seen"].pairs == 1
    assert score_of(*rows, given=given, video="odd").groups["stuff_unseen"].pairs == 1
    accumulator = PvosAccumulator(PvosRules(), GROUPS)
    accumulator.update("v", maps(*rows), maps(*rows), {0: [3, 1]}, {3: 99, 1: 1})
    score = accumulator.compute()
    assert score.left_out == {"v": (3,)} and sum(group.pairs for group in score.groups.values()) == 1
    with pytest.raises(ValueError, match="a class must be in one of thing_seen, "):
        PvosGroups({**GROUPS.classes, "thing_seen": frozenset({1, 4})})


def test_merging_is_as_if_added_to_one() -> None:
    rng = np.random.default_rng(0)
    whole, parts = PvosAccumulator(PvosRules(), GROUPS), [PvosAccumulator(PvosRules(), GROUPS) for _ in range(2)]
    for number in range(4):
        truth, found = (maps(*rng.integers(0, 5, (5, 6)).tolist()) for _ in range(2))
        for accumulator in (whole, parts[number % 2]):
            accumulator.update(f"v{number}", truth, found, {0: [1, 2], 2: [3, 4]}, CLASSES)
    parts[1].merge(parts[0])
    assert parts[1].compute() == whole.compute()
    with pytest.raises(ValueError, match="video 'v0' was already added"):
        whole.merge(parts[0])
    with pytest.raises(ValueError, match="other rules or groups"):
        whole.merge(PvosAccumulator(PvosRules(repeats=True), GROUPS))


@pytest.mark.parametrize(
    ("found", "given", "message"),
    [
        (maps([1], [1]), {}, "no frame gives the mask of an object"),
        (maps([1], [1]), {0: []}, "no frame gives the mask of an object"),
        (maps([1], [1]), {0: [1, 7]}, "object 7 is given, but has no class"),
        (maps([1]), {0: [1]}, "as many frames as each other"),
        (maps([1, 1], [1, 1]), {0: [1]}, r"of one size, got truth \(9, 9\) and prediction \(9, 18\)"),
    ],
)
def test_what_is_refused(found: np.ndarray, given: dict, message: str) -> None:
    accumulator = PvosAccumulator(PvosRules(), GROUPS)
    with pytest.raises(ValueError, match=f"video 'v': .*{message}"):
        accumulator.update("v", maps([1], [1]), found, given, CLASSES)
    with pytest.raises(ValueError, match="no video was added"):
        accumulator.compute()


def test_cards_say_what_the_rules_are() -> None:
    published, corrected = (PVOS_PROTOCOLS[name].card() for name in ("viposeg", "viposeg_corrected"))
    assert "counts twice" in published and "counts once" in corrected and "2% of the diagonal" in corrected
    assert all(TASK_PROTOCOLS[name] is protocol for name, protocol in PVOS_PROTOCOLS.items())

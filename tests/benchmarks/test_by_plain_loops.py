"""Numbers of referring segmentation against plain loops over pixels, frames and candidates, on small random masks.

The loops follow the definitions word by word and share no code with the metrics. Truth and results have what real ones
have: objects that are absent from a frame or from all, empty predictions, equal scores, void pixels, one frame.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from itertools import permutations
from pathlib import Path

import numpy as np
import pytest

from benchmarks.davis import evaluate_referring, mean_of_runs
from benchmarks.masks.png import write_labels, write_mask
from benchmarks.metrics.davis import VOID, DavisAccumulator, SequenceScore, score_identity, score_unsupervised
from benchmarks.metrics.sentences import Candidate, SentenceAccumulator
from episodes.sources.segmentations import runs_of
from fewshot.evaluation.tasks.folder import score_folder
from tests.episodes.expression_trees import write_expressions

SEEDS = range(12)


def blob(draw: np.random.Generator, size: tuple[int, int], empty: float) -> np.ndarray:
    """A rectangle with some noise on it, or nothing."""
    mask = np.zeros(size, bool)
    if draw.random() >= empty:
        (top, bottom), (left, right) = (np.sort(draw.choice(side + 1, 2, replace=False)) for side in size)
        mask[top:bottom, left:right] = True
        mask ^= draw.random(size) < 0.05
    return mask


def counts(a: np.ndarray, b: np.ndarray) -> tuple[int, int]:
    """Pixels in both masks and in either."""
    inter = union = 0
    for y in range(a.shape[0]):
        for x in range(a.shape[1]):
            inter += bool(a[y, x] and b[y, x])
            union += bool(a[y, x] or b[y, x])
    return inter, union


# ----------------------------------------------------------------------------------------------------------- sentences


Sample = tuple[np.ndarray, list[tuple[float, np.ndarray]]]


def samples(draw: np.random.Generator) -> list[Sample]:
    """A truth and five candidates each, near the truth or not, with scores of which many are equal."""
    found = []
    for _ in range(int(draw.integers(1, 7))):
        size = (int(draw.integers(3, 9)), int(draw.integers(3, 9)))
        truth = blob(draw, size, empty=0.2)
        offers = [truth ^ (draw.random(size) < noise) for noise in (0.0, 0.1, 0.2)]
        offers += [blob(draw, size, empty=0.5) for _ in range(2)]
        found.append((truth, [(round(float(draw.random()), 1), offers[k]) for k in draw.permutation(5)]))
    return found


def average_precision(rows: list[Sample], threshold: float) -> float:
    """Of one class: greedy matches in each image, candidates of all images ranked by score, 101 recall points."""
    ranked = []
    for number, (truth, offers) in enumerate(rows):
        free = True
        for place, (score, mask) in sorted(enumerate(offers), key=lambda pair: (-pair[1][0], pair[0])):
            inter, union = counts(mask, truth)
            hit = free and inter > 0 and inter / union >= min(threshold, 1 - 1e-10)
            free = free and not hit
            ranked.append((-score, number, place, hit))
    precisions, recalls, right = [], [], 0
    for rank, (_, _, _, hit) in enumerate(sorted(ranked, key=lambda row: row[:2]), start=1):
        right += hit
        precisions.append(right / rank)
        recalls.append(right / len(rows))
    total = 0.0
    for wanted in np.linspace(0, 1, 101):
        total += max((p for p, r in zip(precisions, recalls, strict=True) if r >= wanted), default=0.0)
    return total / 101


def sentence_numbers(rows: list[Sample]) -> dict[str, float]:
    """mAP, overall and mean IoU, and P@K, of the best candidate, of equals the last."""
    inters, unions, ious = [], [], []
    for truth, offers in rows:
        best = offers[0]
        for offer in offers:
            if offer[0] >= best[0]:
                best = offer
        inter, union = counts(best[1], truth)
        inters.append(inter)
        unions.append(union)
        ious.append(float((np.float32(inter) + np.float32(1e-6)) / (np.float32(union) + np.float32(1e-6))))
    at = {f"P@{k}": sum(iou > k for iou in ious) / len(rows) for k in (0.5, 0.6, 0.7, 0.8, 0.9)}
    steps = [average_precision(rows, 0.5 + 0.05 * k) for k in range(10)]
    whole = sum(inters) / sum(unions) if sum(unions) else 0.0
    means = {"mAP": sum(steps) / 10, "AP50": steps[0], "AP75": steps[5]}
    return {**means, "oIoU": whole, "mIoU": sum(ious) / len(rows), **at}


@pytest.mark.parametrize("seed", SEEDS)
def test_sentences(seed: int) -> None:
    rows = samples(np.random.default_rng(seed))
    accumulator = SentenceAccumulator()
    for number in reversed(range(len(rows))):
        truth, offers = rows[number]
        accumulator.update(number, runs_of(truth), [Candidate(score, runs_of(mask)) for score, mask in offers])
    assert accumulator.compute() == pytest.approx(sentence_numbers(rows), abs=1e-9)


# -------------------------------------------------------------------------------------------------------------- J and F


def jaccard(pred: np.ndarray, truth: np.ndarray, void: np.ndarray) -> float:
    inter, union = counts(pred & ~void, truth & ~void)
    return inter / union if union else 1.0


def boundary(mask: np.ndarray) -> list[tuple[int, int]]:
    """Pixels that differ from their right, lower or lower right neighbour."""
    height, width = mask.shape
    found = []
    for y in range(height):
        for x in range(width):
            near = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            if any(b < height and a < width and mask[b, a] != mask[y, x] for b, a in near):
                found.append((y, x))
    return found


def boundary_f(pred: np.ndarray, truth: np.ndarray, void: np.ndarray) -> float:
    radius = math.ceil(0.008 * math.hypot(*truth.shape))
    a, b = boundary(pred & ~void), boundary(truth & ~void)
    if not a or not b:
        return float(not a and not b)

    def near(some: list[tuple[int, int]], others: list[tuple[int, int]]) -> float:
        return sum(any((y - v) ** 2 + (x - u) ** 2 <= radius**2 for v, u in others) for y, x in some) / len(some)

    precision, recall = near(a, b), near(b, a)
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def j_and_f(pred: np.ndarray, truth: np.ndarray, void: np.ndarray | None = None) -> tuple[float, float]:
    void = np.zeros(truth.shape, bool) if void is None else void
    return jaccard(pred, truth, void), boundary_f(pred, truth, void)


def label_maps(draw: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Truth of two objects with void, both in the first frame, later maybe gone; results of up to three proposals."""
    count, size = int(draw.integers(1, 4)), (int(draw.integers(5, 9)), int(draw.integers(5, 9)))
    truth, result = np.zeros((2, count, *size), np.uint8)
    for t in range(count):
        for k in (1, 2):
            truth[t][blob(draw, size, empty=0.4)] = k
        result[t] = np.where(draw.random(size) < 0.2, 0, (3 - truth[t]) % 3)  # the two exchanged
        result[t][blob(draw, size, empty=0.6)] = 3
        truth[t][blob(draw, size, empty=0.7)] = VOID
    truth[0, 0, :2] = 1, 2
    return truth, result


def table_of(truth: np.ndarray, result: np.ndarray, proposals: int) -> np.ndarray:
    """Mean J and F over the frames of every proposal with every object: `(proposals, 2, 2)`."""
    cells = [
        [np.mean([j_and_f(r == p, t == k, t == VOID) for t, r in zip(truth, result, strict=True)], 0) for k in (1, 2)]
        for p in range(1, proposals + 1)
    ]
    return np.array(cells)


def assigned(truth: np.ndarray, result: np.ndarray) -> float:
    """Mean J&F over the objects of the best assignment of proposals."""
    table = table_of(truth, result, 3).mean(2)
    return max(sum(table[p, k] for k, p in enumerate(chosen)) for chosen in permutations(range(3), 2)) / 2


def kept(truth: np.ndarray, result: np.ndarray) -> float:
    """The same of each object with the proposal of its own number."""
    table = table_of(truth, result, 2).mean(2)
    return float(table[0, 0] + table[1, 1]) / 2


READINGS: list[tuple[Callable[..., SequenceScore], Callable[..., float]]]
READINGS = [(score_unsupervised, assigned), (score_identity, kept)]


@pytest.mark.parametrize("seed", SEEDS)
def test_both_readings_of_ref_davis(seed: int) -> None:
    truth, result = label_maps(np.random.default_rng(seed))
    for score, by_loops in READINGS:
        found = DavisAccumulator([score("v", truth, result)]).compute()
        assert found["J&F-Mean"] == pytest.approx(by_loops(truth, result), abs=1e-12)


def test_ref_davis_is_the_mean_over_annotators_of_means_over_objects(tmp_path: Path) -> None:
    """Two videos of one and of three frames count by their objects; each annotator's results are their own."""
    draw, videos = np.random.default_rng(5), {}
    while len(videos) < 2:
        truth, _ = label_maps(draw)
        if len(truth) != len(next(iter(videos.values()), ())):
            videos[f"v{len(videos)}"] = truth
    expected: dict[str, list[float]] = {"unsupervised": [], "identity": []}
    for annotator in range(4):
        means: dict[str, list[float]] = {name: [] for name in expected}
        for name, truth in videos.items():
            result = np.where(draw.random(truth.shape) < 0.1 * annotator, 0, (3 - truth % VOID) % 3).astype(np.uint8)
            for t, labels in enumerate(result):
                write_labels(tmp_path / f"anno_{annotator}" / name / f"{t:05d}.png", labels)
                write_labels(tmp_path / "truth" / name / f"{t:05d}.png", truth[t])
            means["unsupervised"].append(assigned(truth, result))
            means["identity"].append(kept(truth, result))
        for name, values in means.items():
            expected[name].append(sum(values) / len(values))  # two objects in each: the mean over objects
    for task, values in expected.items():
        runs = evaluate_referring(tmp_path, tmp_path / "truth", task=task)
        assert mean_of_runs(runs.values())["J&F-Mean"] == pytest.approx(sum(values) / 4, abs=1e-12)
    assert abs(sum(expected["unsupervised"]) - sum(expected["identity"])) > 0.1, "the objects are exchanged"


# ---------------------------------------------------------------------------------------------------------- expressions


def expression_videos(draw: np.random.Generator) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Name, truth and results of videos with two objects, the second of which may never appear."""
    for name in ("a", "b"):
        truth, result = label_maps(draw)
        truth[truth == VOID] = 0
        if draw.random() < 0.5:
            truth[truth == 2] = 0
        yield name, truth, result


@pytest.mark.parametrize("layout", ["shared", "own", "mevis"])
@pytest.mark.parametrize("seed", range(4))
def test_expressions_of_videos(tmp_path: Path, seed: int, layout: str) -> None:
    """Mean over the frames of an expression, then over expressions; of MeViS a video without results counts 0."""
    videos = {name: (truth, result) for name, truth, result in expression_videos(np.random.default_rng(seed))}
    benchmark, root = write_expressions(tmp_path / "data", layout, {k: (x, (1, 2)) for k, (x, _) in videos.items()})
    without = "b" if benchmark == "mevis" else ""
    j, f = [], []
    for name, (truth, result) in videos.items():
        for key, k in enumerate((1, 2)):
            pairs = [j_and_f(r == k, t == k) for t, r in zip(truth, result, strict=True)]
            mean = (0.0, 0.0) if name == without else (sum(x) / len(pairs) for x in zip(*pairs, strict=True))
            for values, value in zip((j, f), mean, strict=True):
                values.append(value)
            for t, labels in enumerate(result if name != without else ()):
                outer = "Annotations" if benchmark == "ref_youtube_vos" else ""
                write_mask(tmp_path / "masks" / outer / name / str(key) / f"{t:05d}.png", labels == k)
    _, measures = score_folder(benchmark, root, None, tmp_path / "masks")
    expected = {"J": sum(j) / 4, "F": sum(f) / 4, "J&F": (sum(j) + sum(f)) / 8}
    assert measures.values == pytest.approx(expected, abs=1e-12)

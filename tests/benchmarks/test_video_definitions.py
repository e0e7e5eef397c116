"""Video metrics against their definitions in plain loops, on random videos with everything that may be odd in them."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from benchmarks.metrics.pvos import PvosAccumulator, PvosGroups, PvosRules
from benchmarks.metrics.vis import VisAccumulator
from benchmarks.metrics.vss import VssAccumulator, VssRules
from episodes.panoptic import GROUPS
from episodes.sources.segmentations import runs_of
from experiments.speed.plain_metrics import plain_boundary_iou, track_overlap

Track = list[NDArray[np.bool_] | None]
Row = dict[str, Any]

# ------------------------------------------------------------------------------------------------------------- tracks

SIZE, THRESHOLDS = (300, 320), [0.5 + 0.05 * k for k in range(10)]
AREAS = {"": (0, 1e10), " small": (0, 128**2), " medium": (128**2, 256**2), " large": (256**2, 1e10)}


def rectangle(y: int, x: int, height: int, width: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[max(y, 0) : y + height, max(x, 0) : x + width] = True
    return mask


def random_tracks(seed: int) -> tuple[list[Row], list[Row]]:
    """Tracks that come late, are crowds or empty, and found ones near them, twice, of other classes, with ties."""
    rng = np.random.default_rng(seed)
    truths: list[Row] = []
    found: list[Row] = []
    for video in (4, 2, 9):  # the last one shows nothing that is true
        for _ in range(int(rng.integers(0, 6)) if video != 9 else 0):
            y, x = rng.integers(0, 200, 2)
            side = int(rng.choice([20, 127, 128, 130, 256, 270]))
            shown = rng.random(3) < 0.7
            boxes = [(int(y) + 2 * t, int(x), side, side) if shown[t] else None for t in range(3)]
            row = {"video": video, "category": int(rng.integers(1, 4)), "crowd": bool(rng.random() < 0.2)}
            truths.append({**row, "track": [None if b is None else rectangle(*b) for b in boxes]})
            for _ in range(int(rng.integers(0, 3))):
                dy, dx = (int(v) for v in rng.integers(-side // 4, side // 4 + 1, 2) * rng.integers(0, 2))
                near = [
                    None if b is None or rng.random() < 0.1 else rectangle(b[0] + dy, b[1] + dx, b[2], b[3])
                    for b in boxes
                ]
                category = row["category"] if rng.random() < 0.8 else 2
                found.append({"video": video, "category": category, "track": near})
        found.append(
            {"video": video, "category": int(rng.integers(1, 5)), "track": [rectangle(0, 0, 9, 9), None, None]}
        )
    scores = rng.choice([0.1, 0.3, 0.5, 0.7, 0.9], len(found))
    return truths, [{**row, "score": float(score)} for row, score in zip(found, scores, strict=True)]


def area_of(track: Track) -> float:
    sizes = [int(mask.sum()) for mask in track if mask is not None and mask.any()]
    return sum(sizes) / len(sizes) if sizes else 0.0


def matched(truths: list[Row], found: list[Row], limits: tuple[float, float], threshold: float) -> list[str]:
    """What becomes of each of the tracks of one video and category, best first: `right`, `wrong` or `ignored`."""
    out = [t["crowd"] or not limits[0] <= t["area"] <= limits[1] for t in truths]
    order = sorted(range(len(truths)), key=lambda k: out[k])
    taken: set[int] = set()
    verdicts = []
    for row in found:
        best, chosen = min(threshold, 1 - 1e-10), None
        for k in order:
            if k in taken and not truths[k]["crowd"]:
                continue
            if chosen is not None and not out[chosen] and out[k]:
                break
            overlap = row["overlaps"][truths[k]["number"]]
            if overlap >= best:
                best, chosen = overlap, k
        if chosen is not None:
            taken.add(chosen)
            verdicts.append("ignored" if out[chosen] else "right")
        else:
            verdicts.append("wrong" if limits[0] <= row["area"] <= limits[1] else "ignored")
    return verdicts


def precision_and_recall(
    truths: list[Row], found: list[Row], category: int, limits: tuple[float, float], most: int, threshold: float
) -> tuple[float, float] | None:
    """Of one category, None where it has no true track of this size."""
    count, ranked = 0, []
    for video in (2, 4, 9):
        own, offered = (
            [row for row in rows if (row["video"], row["category"]) == (video, category)] for rows in (truths, found)
        )
        offered = sorted(offered, key=lambda row: -row["score"])[:100]
        count += sum(not t["crowd"] and limits[0] <= t["area"] <= limits[1] for t in own)
        verdicts = matched(own, offered, limits, threshold)
        ranked += [(row["score"], verdict) for row, verdict in zip(offered, verdicts, strict=True)][:most]
    if not count:
        return None
    right, curve = 0, []
    kept = [verdict for _, verdict in sorted(ranked, key=lambda pair: -pair[0]) if verdict != "ignored"]
    for number, verdict in enumerate(kept, start=1):
        right += verdict == "right"
        curve.append((right / count, right / number))
    points = [max((p for r, p in curve if r >= wanted / 100 - 1e-12), default=0.0) for wanted in range(101)]
    return sum(points) / 101, curve[-1][0] if curve else 0.0


def plain_stats(truths: list[Row], found: list[Row]) -> dict[str, float]:
    for number, row in enumerate(truths + found):
        row |= {"number": number, "area": area_of(row["track"])}
    for row in found:
        row["overlaps"] = {
            t["number"]: track_overlap(row["track"], t["track"]) for t in truths if t["video"] == row["video"]
        }

    def mean(part: int, limits: tuple[float, float], most: int, thresholds: list[float]) -> float:
        cells = [
            cell[part]
            for category in (1, 2, 3, 4)
            for t in thresholds
            if (cell := precision_and_recall(truths, found, category, limits, most, t)) is not None
        ]
        return sum(cells) / len(cells) if cells else -1.0

    stats = {f"AP{size}": mean(0, limits, 100, THRESHOLDS) for size, limits in AREAS.items()}
    stats |= {f"AR{size}": mean(1, limits, 100, THRESHOLDS) for size, limits in AREAS.items() if size}
    stats |= {f"AR{most}": mean(1, AREAS[""], most, THRESHOLDS) for most in (1, 10, 100)}
    return stats | {"AP50": mean(0, AREAS[""], 100, [0.5]), "AP75": mean(0, AREAS[""], 100, [0.75])}


@pytest.mark.parametrize("seed", range(6))
def test_average_precision_and_recall_of_tracks(seed: int) -> None:
    truths, found = random_tracks(seed)

    def runs(row: Row) -> Row:
        masks = [None if mask is None else runs_of(mask) for mask in row["track"]]
        return {"video_id": row["video"], "category_id": row["category"], "segmentations": masks}

    content = {
        "videos": [{"id": k, "height": SIZE[0], "width": SIZE[1], "length": 3} for k in (4, 2, 9)],
        "categories": [{"id": k} for k in (1, 2, 3, 4)],
        "annotations": [{**runs(row), "iscrowd": int(row["crowd"])} for row in truths],
    }
    accumulator = VisAccumulator(content)
    for video in (9, 4, 2):
        accumulator.update(video, [{**runs(row), "score": row["score"]} for row in found if row["video"] == video])
    assert accumulator.compute().stats == pytest.approx(plain_stats(truths, found), abs=1e-9)


# ------------------------------------------------------------------------------------------------------------ classes


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("stray", ["wrong", "spill"])
def test_iou_of_classes(seed: int, stray: str) -> None:
    """Pixel by pixel; class 5 is never true, and a prediction may be of no class."""
    rng, classes = np.random.default_rng(seed), 5
    accumulator = VssAccumulator(VssRules(stray=stray), classes)  # type: ignore[arg-type]
    cells = np.zeros((classes, classes + 4), int)
    for video in range(3):
        truth = rng.choice([0, 1, 2, 3, 4, 255], (3, 4, 5)).astype(np.uint8)
        found = np.where(rng.random(truth.shape) < 0.5, truth.clip(1, 5) - 1, rng.integers(0, 7, truth.shape))
        accumulator.update(str(video), truth, found.astype(np.uint8))
        for t, p in zip(truth.ravel().tolist(), found.ravel().tolist(), strict=True):
            if t not in (0, 255):
                row, column = divmod((t - 1) * classes + p, classes) if stray == "spill" else (t - 1, p)
                cells[row, column] += 1
    known = [k for k in range(classes) if cells[k].sum()]
    ious = {k: cells[k, k] / (cells[k].sum() + cells[:, k].sum() - cells[k, k]) for k in known}
    score = accumulator.compute()
    assert score.ious == pytest.approx(ious)
    assert score.miou == pytest.approx(sum(ious.values()) / len(known))
    assert score.weighted_iou == pytest.approx(sum(cells[k].sum() * ious[k] for k in known) / cells.sum())
    assert score.accuracy == pytest.approx(sum(cells[k, k] for k in known) / cells.sum())
    assert score.class_accuracy == pytest.approx(sum(cells[k, k] / cells[k].sum() for k in known) / len(known))


# ------------------------------------------------------------------------------------------------------ given objects

CLASSES = {1: 11, 2: 12, 3: 13, 4: 14, 5: 98, 6: 99, 7: 11}  # 99 is in no group
POOLS = {"thing_seen": {11}, "thing_unseen": {12}, "stuff_seen": {13, 98}, "stuff_unseen": {14}}
GIVEN = {0: [1, 3, 6], 1: [2, 4, 7], 2: [1, 5]}  # object 1 again


def pool_of(video: str, k: int) -> str | None:
    if CLASSES[k] == 98 and video == "odd":
        return "stuff_unseen"
    return next((name for name, own in POOLS.items() if CLASSES[k] in own), None)


@pytest.mark.parametrize("repeats", [False, True])
@pytest.mark.parametrize("seed", range(4))
def test_pools_of_given_objects(seed: int, repeats: bool) -> None:
    rng, shape = np.random.default_rng(seed), (60, 90)
    groups = PvosGroups({name: frozenset(own) for name, own in POOLS.items()}, {"odd": {98: "stuff_unseen"}})
    accumulator = PvosAccumulator(PvosRules(repeats), groups)
    pools: dict[str, list[tuple[float, float]]] = {name: [] for name in GROUPS}
    crowds: dict[int, list[float]] = {}
    width = max(1, round(0.02 * math.hypot(*shape)))
    for video in ("plain", "odd"):
        truth = np.kron(rng.integers(0, 9, (5, 6, 9)), np.ones((1, 10, 10), int)).astype(np.uint8)
        found = np.roll(np.where(rng.random(truth.shape) < 0.02, 0, truth), 1, axis=2)
        found[:, rng.integers(0, 40) :][:, :9] = 0
        accumulator.update(video, truth, found, GIVEN, CLASSES)
        tracked: list[int] = []
        for t in range(5):
            for k in tracked:
                pool = pool_of(video, k)
                if pool is None:
                    continue
                pair = found[t] == k, truth[t] == k
                either = int((pair[0] | pair[1]).sum())
                score = (int((pair[0] & pair[1]).sum()) / either if either else 1.0, plain_boundary_iou(*pair, width))
                pools[pool].append(score)
                crowds.setdefault(len(tracked), []).append(sum(score) / 2)
            tracked += [k for k in GIVEN.get(t, []) if repeats or k not in tracked]
    score = accumulator.compute()
    means = {name: [sum(column) / len(own) for column in zip(*own, strict=True)] for name, own in pools.items()}
    for name, group in score.groups.items():
        assert [group.mask_iou, group.boundary_iou] == pytest.approx(means[name]) and group.pairs == len(pools[name])
    assert score.overall == pytest.approx(sum(sum(own) / 2 for own in means.values()) / 4)
    fit = [(n / 100, -math.log(sum(own) / len(own))) for n, own in crowds.items()]
    assert score.decay == pytest.approx(sum(x * y for x, y in fit) / sum(x * x for x, _ in fit))
    assert score.left_out == {"plain": (6,), "odd": (6,)}

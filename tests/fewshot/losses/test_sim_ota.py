"""SimOTA against the rules written out with loops, for one object and for several."""

from __future__ import annotations

import math

import pytest
import torch
from torch import Tensor

from fewshot.losses.boxes import to_corners
from fewshot.losses.sim_ota import dynamic_claims, sim_ota


def iou_and_giou(a: list[float], b: list[float]) -> tuple[float, float]:
    low = [max(a[i], b[i]) for i in (0, 1)]
    high = [min(a[i], b[i]) for i in (2, 3)]
    inter = max(high[0] - low[0], 0) * max(high[1] - low[1], 0)
    areas = [(x[2] - x[0]) * (x[3] - x[1]) for x in (a, b)]
    union = sum(areas) - inter
    hull = (max(a[2], b[2]) - min(a[0], b[0])) * (max(a[3], b[3]) - min(a[1], b[1]))
    return inter / union, inter / union - (hull - union) / hull


def slow_cost(
    logits: list[list[float]], boxes: list[list[float]], labels: list[int], targets: list[list[float]]
) -> tuple[list[list[float]], list[list[float]]]:
    costs, ious = [], []
    for logit, box in zip(logits, boxes, strict=True):
        row, hopes, overlaps = [], [], []
        for label, target in zip(labels, targets, strict=True):
            p = 1 / (1 + math.exp(-logit[label]))
            score = -0.25 * (1 - p) ** 2 * math.log(p + 1e-8) + 0.75 * p**2 * math.log(1 - p + 1e-8)
            a, b = to_corners(torch.tensor(box)).tolist(), to_corners(torch.tensor(target)).tolist()
            iou, giou = iou_and_giou(a, b)
            in_box = b[0] < box[0] < b[2] and b[1] < box[1] < b[3]
            in_square = all(abs(box[i] - target[i]) < 2.5 / 32 for i in (0, 1))
            row.append(score - 3 * giou + 100 * (not (in_box and in_square)))
            hopes.append(in_box or in_square)
            overlaps.append(iou)
        costs.append([c + 10_000 * (not any(hopes)) for c in row])
        ious.append(overlaps)
    return costs, ious


def slow_claims(costs: list[list[float]], ious: list[list[float]]) -> list[list[int]]:
    """Query by query the objects that claim it in the end."""
    queries, objects = range(len(costs)), range(len(costs[0]))
    costs = [list(row) for row in costs]
    claims: list[set[int]] = [set() for _ in queries]
    for m in objects:
        count = max(1, int(sum(sorted((ious[q][m] for q in queries), reverse=True)[:10])))
        for q in sorted(queries, key=lambda q: costs[q][m])[:count]:
            claims[q].add(m)
    contested = [q for q in queries if len(claims[q]) > 1]

    def settle() -> None:
        for q in contested:
            claims[q] = {min(objects, key=lambda m: costs[q][m])}

    settle()
    while empty := [m for m in objects if not any(m in claims[q] for q in queries)]:
        for q in queries:
            if claims[q]:
                costs[q] = [c + 100_000 for c in costs[q]]
        for m in empty:
            claims[min(queries, key=lambda q: costs[q][m])].add(m)
        if any(len(c) > 1 for c in claims):
            settle()
    return [sorted(c) for c in claims]


def scene(queries: int, objects: int, classes: int, seed: int, spread: float = 0.3) -> tuple[Tensor, ...]:
    g = torch.Generator().manual_seed(seed)
    targets = torch.cat(
        [torch.rand(objects, 2, generator=g) * 0.6 + 0.2, torch.rand(objects, 2, generator=g) * 0.3 + 0.1], 1
    )
    near = targets[torch.arange(queries) % objects] + spread * (torch.rand(queries, 4, generator=g) - 0.5)
    boxes = near.clamp(0.02, 0.98)
    logits = torch.randn(queries, classes, generator=g)
    return logits, boxes, torch.randint(classes, (objects,), generator=g), targets


@pytest.mark.parametrize("objects", [1, 2, 5, 9])
@pytest.mark.parametrize("spread", [0.05, 0.3, 1.0])
def test_matching_is_that_of_the_loops(objects: int, spread: float) -> None:
    several = 0
    for seed in range(6):
        given = scene(60, objects, 4, seed, spread)
        expected = slow_claims(*slow_cost(*(x.tolist() for x in given)))
        queries, found = sim_ota(*given)
        assert queries.tolist() == [q for q, c in enumerate(expected) if c]
        assert found.tolist() == [c[0] for c in expected if c]
        several += len(queries) > objects
    assert several > 0 or spread > 0.3  # close queries share an object


def test_an_object_without_queries_is_repaired() -> None:
    ious = torch.zeros(4, 2)
    cost = torch.tensor([[1.0, 1.5], [2.0, 9.0], [7.0, 8.0], [9.0, 9.5]])
    claims = dynamic_claims(cost, ious)  # both want query 0, object 0 gets it; object 1 takes a free one
    assert claims.nonzero().tolist() == [[0, 0], [2, 1]]


def test_conflicts_that_arise_in_the_repair_are_left_alone() -> None:
    # all three want query 0; objects 1 and 2 then both take query 1, which nobody contested before
    cost = torch.tensor([[0.0, 1.0, 2.0], [5.0, 3.0, 3.0], [9.0, 9.0, 9.0], [9.0, 9.0, 9.0]])
    claims = dynamic_claims(cost, torch.zeros(4, 3))
    assert claims.nonzero().tolist() == [[0, 0], [1, 1], [1, 2]]
    assert claims.tolist() == [[m in c for m in range(3)] for c in slow_claims(cost.tolist(), [[0.0] * 3] * 4)]


def test_more_objects_than_queries_end() -> None:
    logits, boxes, labels, targets = scene(2, 5, 1, 0)
    queries, found = sim_ota(logits, boxes, labels, targets)
    assert set(queries.tolist()) <= {0, 1} and len(found) == len(queries) > 0


def test_no_object_no_match() -> None:
    logits, boxes, labels, targets = scene(5, 1, 1, 0)
    queries, found = sim_ota(logits, boxes, labels[:0], targets[:0])
    assert len(queries) == len(found) == 0 and queries.dtype == torch.long

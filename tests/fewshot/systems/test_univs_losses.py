"""Losses of UniVS: every term of one head again by plain loops, number by number, from its published definition."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from itertools import permutations

import pytest
import torch
from torch import Tensor

from fewshot.systems.univs.criterion import Criterion, HeadOutput
from fewshot.systems.univs.draws import Draws, FixedDraws
from fewshot.systems.univs.lessons import name_classes
from fewshot.systems.univs.matching import match
from fewshot.systems.univs.points import PointSampling
from fewshot.systems.univs.targets import UNKNOWN, Asked, Targets, boxes_of

QUERIES, FRAMES, CLASSES, GRID, SIDE, POINTS, WIDTH = 5, 2, 6, 6, 24, 16, 8
Row = tuple[int, int, list[float]]  # clip, id, embedding


class Points(FixedDraws):
    """Points that lie between the cells, the same for every mask."""

    def points(self, rows: int, count: int) -> Tensor:
        return torch.rand(1, count, 2, generator=torch.Generator().manual_seed(4)).expand(rows, -1, -1)


POINT_LIST = Points().points(1, POINTS)[0].tolist()


def clips() -> list[Targets]:
    """Two of one class, one of which is seen in frame 1 alone, and one of another; then one of a third class."""
    masks = torch.zeros(3, FRAMES, SIDE, SIDE, dtype=torch.bool)
    masks[0, :, 2:10, 1:9], masks[1, 0, 8:20, 6:22], masks[1, 1, 6:18, 5:21], masks[2, 1, 1:8, 14:23] = (True,) * 4
    ids = torch.where(masks.flatten(2).any(2), torch.tensor([0, 2, 5])[:, None], UNKNOWN)
    first = Targets(torch.tensor([2, 4, 2]), ids, masks, boxes_of(masks))
    alone = masks[1:2].flip(-1)
    return [first, Targets(torch.tensor([3]), torch.zeros(1, FRAMES, dtype=torch.int64), alone, boxes_of(alone))]


class Named:
    """Stands for a network whose prompts play no part here."""

    def name_classes(self, scenes: object, texts: Tensor) -> Tensor:
        return texts


def by_names(targets: Sequence[Targets]) -> list[Asked]:
    question = name_classes(Named(), None, targets, torch.zeros(CLASSES, WIDTH), 20, FixedDraws())  # type: ignore[arg-type]
    assert question is not None
    return question[1]


def by_looks(targets: Sequence[Targets]) -> list[Asked]:
    """The objects that frame 0 shows, again where there are fewer."""
    return [Asked.of_objects(t, torch.tensor(own)) for t, own in zip(targets, ([1, 0], [0, 0]), strict=True)]


def head(prompts: int) -> HeadOutput:
    generator = torch.Generator().manual_seed(0)
    rows = QUERIES + prompts
    shapes = ((2, rows, FRAMES, GRID, GRID), (2, rows, FRAMES, WIDTH), (2, rows, CLASSES))
    return HeadOutput(*(2 * torch.randn(shape, generator=generator) for shape in shapes))


# ----------------------------------------------------------------------------------------------- the definition again


def sigmoid(x: float) -> float:
    return 1 / (1 + math.exp(-x))


def at(mask: Tensor, x: float, y: float) -> float:
    """Bilinear between the centres of the cells, 0 beyond the edge."""
    height, width = mask.shape
    column, row = x * width - 0.5, y * height - 0.5
    value = 0.0
    for r in (math.floor(row), math.floor(row) + 1):
        for c in (math.floor(column), math.floor(column) + 1):
            if 0 <= r < height and 0 <= c < width:
                value += (1 - abs(row - r)) * (1 - abs(column - c)) * float(mask[r, c])
    return value


def sampled(mask: Tensor) -> list[float]:
    return [at(mask.float(), x, y) for x, y in POINT_LIST]


def entropy(logits: list[float], truth: list[float]) -> float:
    terms = (-t * math.log(sigmoid(x)) - (1 - t) * math.log(1 - sigmoid(x)) for x, t in zip(logits, truth, strict=True))
    return sum(terms) / len(logits)


def dice(logits: list[float], truth: list[float]) -> float:
    both = sum(sigmoid(x) * t for x, t in zip(logits, truth, strict=True))
    return 1 - (2 * both + 1) / (sum(map(sigmoid, logits)) + sum(truth) + 1)


def cheapest(masks: Tensor, logits: Tensor, targets: Targets) -> list[tuple[int, int]]:
    """All assignments are tried."""
    spread = [math.exp(5 * sigmoid(float(x))) for x in logits.flatten()]
    chances = [[x / sum(row) for x in row] for row in (spread[q * CLASSES :][:CLASSES] for q in range(QUERIES))]
    cost = []
    for q in range(QUERIES):
        found = [x for t in range(FRAMES) for x in sampled(masks[q, t])]
        cost.append([])
        for n in range(len(targets)):
            truth = [x for t in range(FRAMES) for x in sampled(targets.masks[n, t])]
            cost[-1].append(5 * entropy(found, truth) + 5 * dice(found, truth) - 3 * chances[q][int(targets.labels[n])])
    ways = permutations(range(QUERIES), len(targets))
    best = min(ways, key=lambda way: sum(cost[q][n] for n, q in enumerate(way)))
    return sorted((q, n) for n, q in enumerate(best))


def of_classes(logits: Tensor, rows: list[tuple[int, int]]) -> float:
    """Focal loss of all rows of logits and cross entropy of some `(row, class)`."""
    total = 0.0
    for q, row in enumerate(logits.tolist()):
        for k, x in enumerate(row):
            p = sigmoid(x) if (q, k) in rows else 1 - sigmoid(x)
            total -= 0.5 * (1 - p) ** 2 * math.log(p)
    for q, k in rows:
        total -= math.log(math.exp(logits[q, k]) / sum(math.exp(x) for x in logits[q].tolist()))
    return total


def columns_of(same: list[list[bool]]) -> list[int]:
    """The first three quarters of the columns with a partner, and the first quarter of those without."""
    most = min(20, 3 * len(same))
    paired = [c for c in range(len(same[0])) if any(row[c] for row in same)]
    others = [c for c in range(len(same[0])) if c not in paired]
    return sorted(paired[: int(0.75 * most)] + others[: int(0.25 * most)])


def contrast(rows: list[Row], columns: list[Row]) -> tuple[float, float]:
    def dot(a: list[float], b: list[float]) -> float:
        return sum(x * y for x, y in zip(a, b, strict=True))

    same = [[(a[0], a[1]) == (b[0], b[1]) for b in columns] for a in rows]
    kept = [r for r, own in enumerate(same) if any(own)]
    same, rows = [same[r] for r in kept], [rows[r] for r in kept]
    chosen = columns_of(same)
    first = second = 0.0
    for own, a in zip(same, rows, strict=True):
        score = [dot(a[2], b[2]) / math.sqrt(WIDTH) for b in columns]
        partners = [score[c] for c in range(len(columns)) if own[c]]
        references = partners[0], sum(partners) / len(partners)
        first += math.log1p(sum(math.exp(min(10, score[c] - p)) for c in chosen if not own[c] for p in references))
        for c in chosen:
            cosine = dot(a[2], columns[c][2]) / math.sqrt(dot(a[2], a[2]) * dot(columns[c][2], columns[c][2]))
            gap = abs(max(cosine, 0.0) - own[c])
            second += 0.5 * gap**2 if gap < 1 else gap - 0.5
    return first / len(rows), second / len(rows)


def entries(head: HeadOutput, rows: Sequence[Sequence[tuple[int, list[int]]]]) -> list[Row]:
    """Embeddings of the rows of each clip, `(row, ids over the frames)`, where they have an id."""
    return [
        (clip, ids[t], head.embeddings[clip, q, t].tolist())
        for clip, own in enumerate(rows)
        for q, ids in own
        for t in range(FRAMES)
        if ids[t] >= 0
    ]


def learnable_again(head: HeadOutput, targets: list[Targets], pairs: list[list[tuple[int, int]]]) -> dict[str, float]:
    assert head.logits is not None
    count = sum(map(len, targets))
    labels = [[(q, int(t.labels[n])) for q, n in own] for t, own in zip(targets, pairs, strict=True)]
    terms = {"loss_ce": sum(of_classes(head.logits[v], own) for v, own in enumerate(labels)) / count}
    masks = [
        (sampled(head.masks[v, q, t]), sampled(targets[v].masks[n, t]))
        for v, own in enumerate(pairs)
        for q, n in own
        for t in range(FRAMES)
    ]
    terms["loss_mask"] = sum(entropy(*x) for x in masks) / (count * FRAMES)
    terms["loss_dice"] = sum(dice(*x) for x in masks) / (count * FRAMES)
    rows = entries(head, [[(q, targets[v].ids[n].tolist()) for q, n in own] for v, own in enumerate(pairs)])
    terms["loss_reid"], terms["loss_reid_aux"] = contrast(rows, rows)
    return terms


def of_segments(head: HeadOutput, asked: list[Asked]) -> float:
    """Cross entropy over the prompts of a clip, at points that one of them asks for: the first that does."""
    total, points = 0.0, 0
    for v, own in enumerate(asked):
        for t in range(FRAMES):
            values = [sampled(head.masks[v, p, t]) for p in range(len(own))]
            for k, (x, y) in enumerate(POINT_LIST):
                row, column = min(int(y * SIDE), SIDE - 1), min(int(x * SIDE), SIDE - 1)
                there = [p for p in range(len(own)) if own.ids[p] >= 0 and own.masks[p, t, row, column]]
                if there:
                    total -= math.log(math.exp(values[there[0]][k]) / sum(math.exp(own[k]) for own in values))
                    points += 1
    return total / points


def prompts_again(head: HeadOutput, asked: list[Asked], count_absent: bool) -> dict[str, float]:
    assert head.logits is not None
    there = [[p for p in range(len(own)) if own.ids[p] >= 0] for own in asked]
    count = sum(map(len, asked if count_absent else there))
    classes = masks = overlaps = 0.0
    for v, own in enumerate(there):
        classes += of_classes(head.logits[v, own], [(n, int(asked[v].labels[p])) for n, p in enumerate(own)])
        for p in own:
            for t in range(FRAMES):
                pair = sampled(head.masks[v, p, t]), sampled(asked[v].masks[p, t])
                masks, overlaps = masks + entropy(*pair), overlaps + dice(*pair)
    terms = {
        "loss_ce": classes / count,
        "loss_mask": masks / (count * FRAMES),
        "loss_dice": overlaps / (count * FRAMES),
    }
    if asked[0].segments is not None:
        terms["loss_mask"] += of_segments(head, asked)
    rows = entries(head, [[(p, [int(asked[v].ids[p])] * FRAMES) for p in own] for v, own in enumerate(there)])
    terms["loss_reid"], terms["loss_reid_aux"] = contrast(rows, rows)
    return terms


def across_again(
    own: HeadOutput,
    shown: HeadOutput,
    targets: list[Targets],
    pairs: list[list[tuple[int, int]]],
    asked: list[Asked],
) -> dict[str, float]:
    """By class where prompts are names, by object where they are looks."""
    named = asked[0].segments is not None

    def ids_of(t: Targets, n: int) -> list[int]:
        return [int(t.labels[n]) if named and k >= 0 else k for k in t.ids[n].tolist()]

    rows = entries(own, [[(q, ids_of(t, n)) for q, n in p] for t, p in zip(targets, pairs, strict=True)])
    wanted = [
        [(p, [int(a.labels[p])] * FRAMES if named else a.numbers[p].tolist()) for p in range(len(a)) if a.ids[p] >= 0]
        for a in asked
    ]
    first, second = contrast(rows, entries(shown, wanted))
    return {"loss_reid_l2p": first, **({} if named else {"loss_reid_l2p_aux": second})}


@pytest.mark.parametrize("count_absent", [True, False])
@pytest.mark.parametrize("ask", [by_names, by_looks])
def test_every_term_is_that_of_the_definition(ask: object, count_absent: bool) -> None:
    targets = clips()
    asked = ask(targets)  # type: ignore[operator]
    found = head(len(asked[0]))
    own, shown = found.rows(slice(QUERIES)), found.rows(slice(QUERIES, None))
    criterion = Criterion(PointSampling(POINTS, 1.0, 0.0), 0.5, count_absent)
    terms, matches = criterion.of_head(found, QUERIES, targets, asked, Points())
    assert own.logits is not None
    pairs = [cheapest(own.masks[v], own.logits[v], t) for v, t in enumerate(targets)]
    assert [list(zip(*(x.tolist() for x in own), strict=True)) for own in matches] == pairs
    mine, others = learnable_again(own, targets, pairs), prompts_again(shown, asked, count_absent)
    wanted = {name: (mine[name] + others[name]) / 2 for name in mine}
    wanted.update(across_again(own, shown, targets, pairs, asked))
    assert {name: float(value) for name, value in terms.items()} == pytest.approx(wanted, rel=1e-5)


def test_names_ask_for_what_is_there_in_order_and_then_for_the_first_that_are_not() -> None:
    first, second = by_names(clips())
    assert first.labels.tolist() == [2, 4] and first.ids.tolist() == [0, 1]
    assert second.labels.tolist() == [3, 0] and second.ids.tolist() == [0, UNKNOWN]
    assert first.masks[0, 1].sum() == (clips()[0].masks[0, 1] | clips()[0].masks[2, 1]).sum()


def test_an_object_of_no_known_class_is_matched_by_its_mask_alone() -> None:
    targets, found = clips()[0], head(0)
    assert found.logits is not None
    unknown = replace(targets, labels=torch.full_like(targets.labels, UNKNOWN))
    points = torch.tensor(POINT_LIST)
    with_classes, without = (match(found.masks[0], x, unknown, points) for x in (found.logits[0], None))
    assert [x.tolist() for x in with_classes] == [x.tolist() for x in without]


def test_of_many_objects_so_many_are_learnt() -> None:
    """Nothing is drawn where there are no more, so that a seed gives the prompts that it gave."""
    targets = clips()[0]
    few, draws = targets.at_most(2, Draws.seeded(1)), Draws.seeded(0)
    assert len(few) == 2 and targets.at_most(3, draws) is targets
    assert torch.equal(draws.order(9), Draws.seeded(0).order(9))
    assert set(few.labels.tolist()) <= {2, 4} and few.masks.shape == (2, FRAMES, SIDE, SIDE)
    kept = [n for n in range(3) if any(torch.equal(targets.masks[n], own) for own in few.masks)]
    assert torch.equal(few.masks, targets.masks[kept])


def test_alone_learnable_queries_are_not_halved() -> None:
    """Where prompts ask for nothing that is there, they play no part."""
    targets, found = clips(), head(1)
    nothing = [Asked.nothing(t, 1) for t in targets]
    criterion = Criterion(PointSampling(POINTS, 1.0, 0.0))
    with_prompts, _ = criterion.of_head(found, QUERIES, targets, nothing, Points())
    without, _ = criterion.of_head(found.rows(slice(QUERIES)), QUERIES, targets, None, Points())
    assert with_prompts == without

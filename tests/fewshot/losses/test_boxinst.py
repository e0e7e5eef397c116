"""BoxInst against its equations pixel by pixel, and colours against known values."""

from __future__ import annotations

import math

import pytest
import torch

from fewshot.losses.boxinst import (
    colour_similarity,
    fill_boxes,
    neighbours,
    pairwise_loss,
    projection_loss,
    rgb_to_lab,
)

OFFSETS = [(y, x) for y in (-2, 0, 2) for x in (-2, 0, 2) if (y, x) != (0, 0)]


@pytest.mark.parametrize(
    ("rgb", "lab"),
    [
        ((0, 0, 0), (0, 0, 0)),
        ((255, 255, 255), (100, 0.0, 0.0)),
        ((255, 0, 0), (53.24, 80.09, 67.20)),
        ((0, 255, 0), (87.73, -86.18, 83.18)),
        ((0, 0, 255), (32.30, 79.19, -107.86)),
        ((119, 119, 119), (50.03, 0.0, 0.0)),
        ((5, 5, 5), (1.37, 0.0, 0.0)),  # on the straight parts of both curves
    ],
)
def test_colours(rgb: tuple[int, ...], lab: tuple[float, ...]) -> None:
    got = rgb_to_lab(torch.tensor(rgb).float().div(255).view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(got, torch.tensor(lab, dtype=torch.float32), rtol=0, atol=0.03)


def test_neighbours_are_two_cells_away() -> None:
    maps = torch.arange(2.0 * 5 * 6).view(1, 2, 5, 6)
    got = neighbours(maps)
    for k, (dy, dx) in enumerate(OFFSETS):
        for y in range(5):
            for x in range(6):
                inside = 0 <= y + dy < 5 and 0 <= x + dx < 6
                expected = maps[0, :, y + dy, x + dx] if inside else torch.zeros(2)
                assert torch.equal(got[0, :, k, y, x], expected)


def slow_similarity(colours: torch.Tensor, known: torch.Tensor) -> torch.Tensor:
    _, h, w = colours.shape
    out = torch.zeros(8, h, w)
    for k, (dy, dx) in enumerate(OFFSETS):
        for y in range(h):
            for x in range(w):
                if 0 <= y + dy < h and 0 <= x + dx < w and known[y + dy, x + dx]:
                    out[k, y, x] = math.exp(-0.5 * float((colours[:, y, x] - colours[:, y + dy, x + dx]).norm()))
    return out


def test_similarity_and_pairwise_term() -> None:
    g = torch.Generator().manual_seed(0)
    colours, known = torch.rand(3, 6, 7, generator=g) * 3, torch.rand(6, 7, generator=g) > 0.2
    similarity = colour_similarity(colours[None], known[None])
    torch.testing.assert_close(similarity[0], slow_similarity(colours, known))
    logits, boxes = torch.randn(2, 6, 7, generator=g), fill_boxes(torch.tensor([[1.0, 1, 4, 5], [0, 0, 2, 2]]), (6, 7))
    p, total, weight = logits.sigmoid(), 0.0, 0
    for i in range(2):
        for k, (dy, dx) in enumerate(OFFSETS):
            for y, x in boxes[i].nonzero().tolist():
                if similarity[0, k, y, x] >= 0.3:
                    a, b = float(p[i, y, x]), float(p[i, y + dy, x + dx])
                    total, weight = total - math.log(a * b + (1 - a) * (1 - b)), weight + 1
    assert weight > 10
    got = pairwise_loss(logits, similarity.expand(2, -1, -1, -1), boxes.float())
    assert float(got) == pytest.approx(total / weight, rel=1e-5)


def test_pairwise_term_without_any_pair_is_zero() -> None:
    logits = torch.randn(1, 4, 4, requires_grad=True)
    loss = pairwise_loss(logits, torch.zeros(1, 8, 4, 4), torch.ones(1, 4, 4))
    loss.backward()
    assert loss == 0 and logits.grad is not None and logits.grad.isfinite().all()


def test_projection_term() -> None:
    logits, box = torch.randn(1, 4, 5), torch.zeros(1, 4, 5)
    box[0, 1:3, 2:5] = 1
    p, total = logits[0].sigmoid().tolist(), 0.0
    columns = [max(p[y][x] for y in range(4)) for x in range(5)], [0, 0, 1, 1, 1]
    rows = [max(p[y]) for y in range(4)], [0, 1, 1, 0]
    for shadow, truth in (columns, rows):
        inter = sum(a * b for a, b in zip(shadow, truth, strict=True))
        total += 1 - 2 * inter / (sum(a * a for a in shadow) + sum(truth) + 1e-5)
    assert float(projection_loss(logits, box)) == pytest.approx(total, rel=1e-5)


def test_boxes_are_filled_with_whole_pixels_right_and_bottom_included() -> None:
    masks = fill_boxes(torch.tensor([[1.0, 2.0, 3.0, 4.0], [0.9, 0.0, 1.7, 0.2]]), (6, 6))
    assert masks.dtype == torch.bool
    assert masks[0].nonzero().amin(0).tolist() == [2, 1] and masks[0].nonzero().amax(0).tolist() == [4, 3]
    assert masks[1].nonzero().tolist() == [[0, 0], [0, 1]]

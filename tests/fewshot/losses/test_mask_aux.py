"""The auxiliary mask losses of videos against plain sums."""

from __future__ import annotations

import math

import pytest
import torch

from fewshot.losses.segmentation import hard_pixel_loss, soft_iou_loss, two_way_logits


def foreground(logit: float) -> float:
    """The probability that the two-way softmax gives to the foreground."""
    p = 1 / (1 + math.exp(-logit))
    odds = [x / (1 - x) for x in (1 - p, p)]
    return odds[1] / sum(odds)


def test_hard_pixels_and_soft_iou_are_the_plain_sums() -> None:
    g = torch.Generator().manual_seed(0)
    logits, targets = 2 * torch.randn(3, 12, generator=g), (torch.rand(3, 12, generator=g) > 0.5).float()
    two_way = two_way_logits(logits)
    for i in range(3):
        p = [foreground(x) for x in logits[i].tolist()]
        t = targets[i].tolist()
        entropy = sorted((-math.log(a if b else 1 - a) for a, b in zip(p, t, strict=True)), reverse=True)
        hard = entropy[:4]  # 40 % of 12, rounded down
        assert float(hard_pixel_loss(two_way, targets)[i]) == pytest.approx(sum(hard) / len(hard), rel=1e-4)
        inter, union = (sum(f(a, b) for a, b in zip(p, t, strict=True)) for f in (min, max))
        assert float(soft_iou_loss(two_way, targets)[i]) == pytest.approx(1 - inter / union, rel=1e-4, abs=1e-5)


def test_saturated_pixels_have_a_bounded_loss() -> None:
    logits = torch.tensor([[-200.0, 200.0, -200.0]], requires_grad=True)
    loss = hard_pixel_loss(two_way_logits(logits), torch.tensor([[1.0, 1.0, 0.0]]))
    loss.sum().backward()
    assert 31 < loss.item() < 33 and logits.grad is not None and logits.grad.isfinite().all()

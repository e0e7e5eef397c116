"""Matching and set losses: against the plain way of writing them, batches, normaliser, bad input."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import generalized_box_iou

from episodes.batch import ClipBatch
from fewshot.losses.boxes import generalised_iou, to_corners
from fewshot.losses.criterion import WEIGHTS, SetCriterion, make_targets
from fewshot.losses.matching import MatchCosts, assign, match
from fewshot.losses.segmentation import dice_loss, dice_overlap, focal_cost, focal_loss
from fewshot.nn.outputs import Prediction
from tests.fewshot.tiny import clips


def prediction(batch: ClipBatch, candidates: int = 3, layers: int = 1, seed: int = 0) -> Prediction:
    """Random outputs that ask for gradients."""
    g = torch.Generator().manual_seed(seed)
    n, t = batch.frames.shape[:2]
    return Prediction(
        masks=torch.randn(n, t, candidates, 16, 16, generator=g).requires_grad_(),
        scores=torch.randn(n, t, candidates, generator=g).requires_grad_(),
        boxes=torch.rand(n, t, candidates, 4, generator=g).mul(0.4).add(0.1).requires_grad_(),
        layers=tuple(prediction(batch, candidates, 0, seed + k) for k in range(1, layers)),
    )


def part(whole: Prediction, n: int) -> Prediction:
    parts = (x[n : n + 1] for x in (whole.masks, whole.scores, whole.boxes) if x is not None)
    return Prediction(*parts, layers=tuple(part(layer, n) for layer in whole.layers))


@settings(max_examples=100, deadline=None)
@given(st.lists(st.integers(0, 3), min_size=1, max_size=7))
def test_one_target_goes_to_the_first_of_the_cheapest(costs: list[int]) -> None:
    assert assign(torch.tensor(costs).float()[:, None]) == ([int(np.argmin(costs))], [0])


def test_several_targets_are_assigned_one_to_one() -> None:
    cost = torch.tensor([[1.0, 2.0], [0.0, 0.5], [3.0, 3.0]])
    assert assign(cost) == ([0, 1], [0, 1])  # 1 + 0.5, less than 0 + 2


def test_costs_that_are_no_numbers_do_not_stop_matching() -> None:
    nan = float("nan")
    assert assign(torch.tensor([[nan], [2.0], [float("inf")]])) == ([1], [0])
    assert assign(torch.tensor([[nan], [nan]]))[1] == [0]


def test_giou_is_torchvisions_but_for_the_smoothing() -> None:
    torch.manual_seed(0)
    a, b = torch.rand(5, 4) * 0.5 + 0.2, torch.rand(3, 4) * 0.5 + 0.2
    ours = generalised_iou(a[:, None], b)
    torch.testing.assert_close(ours, generalized_box_iou(to_corners(a), to_corners(b)), rtol=1e-4, atol=1e-4)
    assert generalised_iou(torch.zeros(4), torch.zeros(4)) == 0.0  # an invisible frame


def test_pairwise_terms_agree_with_the_losses() -> None:
    logits, targets = torch.randn(4, 30), (torch.rand(3, 30) > 0.5).float()
    for q in range(4):
        for m in range(3):
            torch.testing.assert_close(focal_cost(logits, targets)[q, m], focal_loss(logits[q], targets[m]).mean())
            torch.testing.assert_close(1 - dice_overlap(logits, targets)[q, m], dice_loss(logits[q], targets[m]))


def test_a_batch_is_the_sum_of_its_clips() -> None:
    batch = clips(2)
    whole = prediction(batch, layers=3)
    criterion = SetCriterion()
    singles = [criterion(part(whole, n), batch.take([n]), num_frames=4) for n in range(2)]
    both = criterion(whole, batch)  # 4 visible frames
    for name, value in both.terms.items():
        torch.testing.assert_close(value, singles[0].terms[name] + singles[1].terms[name], rtol=1e-5, atol=1e-6)
    weights = {f"{name}{end}": weight for name, weight in WEIGHTS.items() for end in ("", "_0", "_1")}
    torch.testing.assert_close(both.total, sum(weights[k] * v for k, v in both.terms.items()))


def test_invisible_frames_have_no_positive_score_and_an_empty_box() -> None:
    batch = clips(1)
    hidden = replace(
        batch,
        boxes=torch.stack([batch.boxes[:, 0], torch.zeros(1, 4)], 1),
        valid=torch.tensor([[True, False]]),
        masks=(batch.masks[0] & torch.tensor([True, False])[:, None, None],),
    )
    out = prediction(batch, candidates=1)
    terms = SetCriterion()(out, hidden).terms
    expected = focal_loss(out.scores[0, :, 0], torch.tensor([1.0, 0.0])).sum()
    torch.testing.assert_close(terms["loss_ce"], expected)  # divided by one visible frame
    torch.testing.assert_close(terms["loss_bbox"], (out.boxes[0, :, 0] - hidden.boxes[0]).abs().sum())


def test_no_visible_frame_at_all() -> None:
    batch = clips(1)
    nothing = replace(
        batch,
        boxes=torch.zeros(1, 2, 4),
        valid=torch.zeros(1, 2, dtype=torch.bool),
        masks=(torch.zeros_like(batch.masks[0]),),
    )
    losses = SetCriterion()(prediction(batch), nothing)
    losses.total.backward()
    assert losses.total.isfinite()


def test_targets_are_sampled_in_the_middle_of_a_cell() -> None:
    batch = clips(1, height=62, width=60)
    mask = torch.zeros(2, 62, 60, dtype=torch.bool)
    mask[:, 6, 10] = True  # cell (1, 2): row 4 + 2, column 8 + 2
    targets = make_targets(replace(batch, masks=(mask,)), (16, 16), stride=4)
    assert targets.masks.shape == (1, 2, 16, 16)
    assert targets.masks.nonzero().tolist() == [[0, 0, 1, 2], [0, 1, 1, 2]]


def test_targets_that_do_not_fit_are_refused() -> None:
    batch = clips(1)
    with pytest.raises(ValueError, match="equal sizes"):
        make_targets(replace(batch, masks=(batch.masks[0][:, ::2],)), (16, 16), 4)
    with pytest.raises(ValueError, match="no masks"):
        make_targets(replace(batch, masks=(None,)), (16, 16), 4)
    with pytest.raises(ValueError, match="training"):
        make_targets(replace(batch, boxes=None), (16, 16), 4)
    with pytest.raises(ValueError, match="scores"):
        SetCriterion()(Prediction(torch.zeros(1, 2, 1, 16, 16)), batch)


def test_frames_without_the_object_may_be_left_out_of_costs_and_losses_of_boxes() -> None:
    """Candidate 0 is right where the object is seen, candidate 1 where an empty box would be right."""
    batch = clips(1)
    box, empty = batch.boxes[0, 0], torch.zeros(4)
    hidden = replace(batch, boxes=torch.stack([box, empty])[None], valid=torch.tensor([[True, False]]))
    boxes = torch.stack([torch.stack([box, box + 0.05]), torch.stack([box + 0.3, empty])])[None]
    out = Prediction(torch.zeros(1, 2, 2, 16, 16), torch.zeros(1, 2, 2), boxes)
    alone = SetCriterion(costs=MatchCosts(visible_boxes=True), absent_boxes=False)
    for criterion, chosen in ((SetCriterion(), 1), (alone, 0)):
        targets = make_targets(hidden, (16, 16), out.stride)
        assert match(out, targets, criterion.costs).tolist() == [chosen]
    terms = alone(out, hidden).terms
    assert terms["loss_bbox"] == 0 and terms["loss_giou"] == pytest.approx(0, abs=1e-4)
    assert SetCriterion()(out, hidden).terms["loss_bbox"] > 0
    nothing = replace(hidden, valid=torch.zeros(1, 2, dtype=torch.bool))
    assert alone(out, nothing).terms["loss_bbox"] == 0 and alone(out, nothing).total.isfinite()


def test_masks_may_weigh_as_much_whatever_the_length_of_a_clip() -> None:
    batch = clips(2)
    out = prediction(batch)
    once, each = SetCriterion()(out, batch).terms, SetCriterion(masks_per_clip=False)(out, batch).terms
    for name in ("loss_mask", "loss_dice"):
        torch.testing.assert_close(each[name], 2 * once[name])  # of two visible frames each
    assert all(torch.equal(each[name], once[name]) for name in ("loss_ce", "loss_bbox", "loss_giou"))
    single = replace(batch, valid=torch.tensor([[True, True], [False, False]]))
    terms = [SetCriterion(masks_per_clip=False)(part(out, n), single.take([n]), 2.0).terms for n in range(2)]
    both = SetCriterion(masks_per_clip=False)(out, single).terms  # 2 visible frames
    torch.testing.assert_close(both["loss_mask"], terms[0]["loss_mask"] + terms[1]["loss_mask"])
    assert terms[1]["loss_mask"] > 0, "where nothing is to be found the empty mask is learnt"

"""Two-stage queries, masks on the pixels of padded frames, and the small feature pyramid."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from fewshot.nn.deformable_transformer import DeformableTransformer, refine
from fewshot.nn.masks import padded_masks
from fewshot.nn.positions import sine_box
from fewshot.nn.proposals import ProposalQueries, token_boxes
from fewshot.nn.queries import Encoded
from fewshot.nn.small_fpn import SmallFPN
from tests.fewshot.tiny import clips

SHAPES = [(4, 6), (2, 3)]


def encoded(valid: tuple[int, int] = (4, 6), dim: int = 16) -> Encoded:
    """Two levels of which the first has `valid` rows and columns and the second half of them."""
    masks = []
    for level, (h, w) in enumerate(SHAPES):
        mask = torch.ones(1, h, w, dtype=torch.bool)
        mask[:, : valid[0] >> level, : valid[1] >> level] = False
        masks.append(mask)
    share = [[valid[1] >> i, valid[0] >> i] for i in range(2)]
    ratios = torch.tensor([share]) / torch.tensor([[w, h] for h, w in SHAPES])
    tokens = torch.randn(1, 30, dim, generator=torch.Generator().manual_seed(0))
    return Encoded(tokens, SHAPES, torch.cat([m.flatten(1) for m in masks], 1), ratios)


def test_every_token_has_a_box_of_its_level() -> None:
    boxes, usable = token_boxes(encoded())
    assert usable.all()
    first, last = boxes.sigmoid()[0, [0, 29]].tolist()
    assert first == pytest.approx([0.5 / 6, 0.5 / 4, 0.05, 0.05])
    assert last == pytest.approx([2.5 / 3, 1.5 / 2, 0.1, 0.1])


def test_padded_tokens_have_no_box() -> None:
    """Centres count in the valid part; what lies beyond it is at infinity."""
    boxes, usable = token_boxes(encoded((2, 4)))
    grid = usable[0, :24].view(4, 6)
    assert grid[:2, :4].all() and grid.sum() == 8 and usable[0, 24:].tolist() == [True, True, False] + [False] * 3
    assert boxes[0, 7].sigmoid().tolist() == pytest.approx([1.5 / 4, 1.5 / 2, 0.05, 0.05])
    assert boxes[~usable].isposinf().all()


def test_boxes_at_the_border_are_not_proposed() -> None:
    wide = Encoded(torch.zeros(1, 60, 4), [(1, 60)], torch.zeros(1, 60, dtype=torch.bool), torch.ones(1, 1, 2))
    usable = token_boxes(wide)[1][0]
    assert not usable[[0, 59]].any() and usable[1:59].all()  # 0.5 / 60 < 0.01


def test_queries_are_the_best_tokens_in_order() -> None:
    torch.manual_seed(0)
    queries, tokens = ProposalQueries(3, 16), encoded()
    start = queries.start(None, tokens)
    assert start.proposals is not None and start.positions is not None
    logits = start.proposals.logits[0, :, 0]
    assert start.proposals.chosen[0].tolist() == sorted(range(30), key=lambda i: -logits[i].item())[:3]
    chosen = start.proposals.boxes[0, start.proposals.chosen[0]].sigmoid()
    torch.testing.assert_close(start.references[0], chosen)
    assert not start.references.requires_grad and start.positions.shape == (1, 3, 16)
    assert torch.equal(start.content[0], queries.content.weight)  # by rank, whatever the tokens are
    code = queries.place_norm(queries.place(sine_box(start.references, 8, y_first=False)))
    torch.testing.assert_close(start.positions, code[..., :16])


def test_an_unusable_token_that_is_chosen_starts_as_the_whole_frame() -> None:
    start = ProposalQueries(30, 16).start(None, encoded((2, 4)))
    assert int((start.references == 1).all(-1).sum()) == 30 - 8 - 2
    assert start.references.isfinite().all()


def test_proposals_need_an_encoded_image_with_enough_tokens() -> None:
    with pytest.raises(ValueError, match="taken from the encoded image"):
        ProposalQueries(3, 16).start(torch.zeros(1, 16))
    with pytest.raises(ValueError, match="31 queries are chosen from the tokens of a frame, and this one has 30"):
        ProposalQueries(31, 16).start(None, encoded())


@pytest.mark.parametrize("twice", [False, True])
def test_looking_forward_twice_trains_the_layer_before(twice: bool) -> None:
    torch.manual_seed(0)
    queries = ProposalQueries(3, 16)
    model = DeformableTransformer(16, 2, 2, 2, 1, 2, 16, 0.0, queries, look_forward_twice=twice)
    for head in model.box_heads:
        torch.nn.init.normal_(head.layers[-1].weight)
    levels = [torch.randn(1, 16, h, w) for h, w in SHAPES]
    paddings = [torch.zeros(1, h, w, dtype=torch.bool) for h, w in SHAPES]
    decoded = model(levels, paddings, [torch.zeros(1, 16, h, w) for h, w in SHAPES], None)
    torch.testing.assert_close(decoded.references[1], decoded.boxes[0])
    first = model.box_heads[0].layers[-1].weight
    (gradient,) = torch.autograd.grad(decoded.boxes[1].sum(), first, retain_graph=True)
    assert bool(gradient.abs().sum() > 0) == twice
    delta = model.box_heads[1](decoded.states[1])
    torch.testing.assert_close(decoded.boxes[1], refine(delta, decoded.boxes[0].detach()))


def test_masks_on_padded_frames() -> None:
    batch = clips(2, frames=1, height=32, width=48)
    assert batch.masks[0] is not None
    frames = torch.zeros(2, 1, 3, 64, 64)
    half = batch.masks[0][:, ::2, ::2]
    masks = padded_masks(replace(batch, frames=frames, masks=(half, batch.masks[1])))
    assert masks.shape == (2, 1, 64, 64) and masks[:, :, 32:].sum() == 0 and masks[..., 48:].sum() == 0
    assert torch.equal(masks[1, :, :32, :48].bool(), batch.masks[1])
    assert torch.equal(masks[0, :, :32:2, :48:2].bool(), half) and set(masks.unique().tolist()) == {0.0, 1.0}


def test_the_pyramid_ends_at_the_finest_map() -> None:
    fpn = SmallFPN(24, 16, 8)
    memory = [torch.randn(2, 16, s, s) for s in (5, 3, 2)]
    assert fpn.pyramid(memory).shape == (2, 8, 5, 5) and (fpn.pyramid(memory) >= 0).all()
    assert fpn(torch.randn(2, 24, 9, 10), memory).shape == (2, 8, 9, 10)

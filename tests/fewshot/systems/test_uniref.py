"""UniRef++ as a system: references of all kinds, what it refuses, what it learns, and the names of its tensors."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch, References
from fewshot.nn.backbones import TinyBackbone
from fewshot.nn.outputs import in_float32
from fewshot.nn.padding import level_paddings, resize_padding
from fewshot.nn.text import small_text_encoder
from fewshot.nn.value_encoder import TinyValueEncoder
from fewshot.systems.base import ReferenceState
from fewshot.systems.uniref.detection import Detection, best_queries, detect
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.systems.uniref.state import UniRefState
from tests.fewshot.tiny import clips, predicted

SIZES = Sizes(
    hidden_dim=64,
    heads=4,
    encoder_layers=1,
    decoder_layers=2,
    feedforward_dim=64,
    num_queries=6,
    fusion_heads=4,
    fusion_head_dim=16,
    fusion_dropout=0.0,
)


def tiny_uniref(
    seed: int = 0, text: bool = True, supports: bool = True, sizes: Sizes = SIZES, **options: Any
) -> UniRef:
    """A small UniRef in evaluation mode whose fusion lets the reference through, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return UniRef(
            TinyBackbone(8),
            small_text_encoder(dim=32, layers=1, dropout=0.0, vocabulary=64) if text else None,
            TinyValueEncoder(sizes.hidden_dim) if supports else None,
            sizes,
            **{"freeze_backbone": "none", "fusion_init": "similarity", "text_projection_dropout": 0.0, **options},
        ).eval()


def without_words(batch: ClipBatch) -> ClipBatch:
    return replace(batch, expressions=(None,) * len(batch))


def padded(batch: ClipBatch, height: int, width: int) -> ClipBatch:
    """The same clips on a larger canvas."""
    n, t, _, h, w = batch.frames.shape
    frames, padding = torch.zeros(n, t, 3, height, width), torch.ones(n, height, width, dtype=torch.bool)
    frames[..., :h, :w], padding[:, :h, :w] = batch.frames, batch.padding
    return replace(batch, frames=frames, padding=padding)


@torch.no_grad()
def found_by(model: UniRef, queries: ClipBatch, supports: ClipBatch | None = None) -> Detection:
    return predicted(model, queries, supports)


def assert_same(a: Detection, b: Detection, rows: slice = slice(None)) -> None:
    """Equal scores, boxes and masks, where `rows` are the clips of `a` that `b` has."""
    for name in ("masks", "scores", "boxes"):
        torch.testing.assert_close(getattr(a, name)[rows], getattr(b, name), rtol=1e-3, atol=1e-4)


# ---------------------------------------------------------------------------------------------------- the two questions


def test_two_shots_are_two_supports_joined() -> None:
    model, queries, supports = tiny_uniref(), clips(2, seed=1), clips(4, frames=1, seed=2)
    with torch.no_grad():
        together = predicted(model, queries, supports, 2)
        for n in range(2):
            first, second = (model.encode_supports(supports.take([2 * n + k]), 1) for k in range(2))
            query = queries.take([n])
            state = ReferenceState(1, first.join(second), model.encode_text(query.expressions))
            assert_same(together, model(query, state), slice(n, n + 1))


def test_frames_are_seen_one_by_one() -> None:
    model, queries, supports = tiny_uniref(), clips(1, frames=3), clips(1, frames=1, seed=5)
    with torch.no_grad():
        state = model.encode_reference(References(supports, 1, queries.expressions))
        clip = model(queries, state)
        for t in range(3):
            single = replace(queries, frames=queries.frames[:, t : t + 1])
            torch.testing.assert_close(clip.masks[:, t : t + 1], model(single, state).masks, rtol=1e-3, atol=1e-4)
    assert clip.masks.shape == (1, 3, 1, 16, 16) and clip.scores is not None and clip.scores.shape == (1, 3, 1)
    assert clip.boxes is not None and clip.boxes.shape == (1, 3, 1, 4)
    assert clip.best().tolist() == [[0, 0, 0]] and not clip.tracked


def test_shots_and_frames_become_tokens_and_the_mean_embedding() -> None:
    model, supports = tiny_uniref(), clips(6, frames=2, seed=3)
    with torch.no_grad():
        state = model.encode_supports(supports, 3)
        singles = [model.encode_supports(supports.take([n]), 1) for n in range(3)]
    assert len(state) == 2 and state.images == 6
    assert [level.keys.shape for level in state.levels] == [(2, 6 * s * s, 64) for s in (8, 4, 2, 1)]
    joined = singles[0].join(singles[1]).join(singles[2])
    assert joined.images == 6
    for level, other in zip(state.levels, joined.levels, strict=True):
        torch.testing.assert_close(level.keys[:1], other.keys, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(level.values[:1], other.values, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(level.embed[:1], other.embed, rtol=1e-4, atol=1e-5)
    with pytest.raises(ValueError, match="cannot be joined"):
        state.join(joined)


def test_the_embedding_is_the_mean_of_the_unpadded_frame() -> None:
    model, supports = tiny_uniref(), padded(clips(1, frames=1), 96, 128)
    with torch.no_grad():
        level = model.encode_supports(supports, 1).levels[0]
        keys = model.frame_features(supports)[1]
    assert level.padding.view(12, 16)[:8, :8].sum() == 0 and level.padding.sum() == 12 * 16 - 64
    torch.testing.assert_close(level.embed, keys[:, :, :8, :8].mean((2, 3)))


def test_padding_of_the_supports_is_not_read() -> None:
    model, queries = tiny_uniref(), clips(1)
    with torch.no_grad():
        state = model.encode_reference(References(padded(clips(1, frames=1), 96, 128), 1, queries.expressions))
        levels = tuple(
            replace(x, **{k: getattr(x, k) + 100.0 * x.padding[..., None] for k in ("keys", "values")})
            for x in state.supports.levels
        )
        assert_same(model(queries, state), model(queries, replace(state, supports=UniRefState(levels))))


def test_masks_of_another_size_are_brought_to_the_frames() -> None:
    model, supports = tiny_uniref(), clips(1, frames=1)
    assert supports.masks[0] is not None
    large = supports.masks[0].repeat_interleave(3, 1).repeat_interleave(2, 2)
    with torch.no_grad():
        a, b = (model.encode_supports(s, 1) for s in (supports, replace(supports, masks=(large,))))
    assert all(torch.equal(x.values, y.values) for x, y in zip(a.levels, b.levels, strict=True))


def test_every_kind_of_reference_counts() -> None:
    model, queries = tiny_uniref(), clips(1)
    other_words = replace(queries, expressions=("the small green bird",))
    silent = without_words(queries)
    with torch.no_grad():
        supports = [clips(1, frames=1, seed=s) for s in (7, 8)]
        found = [predicted(model, q, s) for q in (queries, other_words, silent) for s in (*supports, None)]
        assert model.encode_reference(References()) == ReferenceState(1)
    memories = [f.memory[0] for f in found]
    pairs = [(i, k) for i in range(len(found)) for k in range(i)]
    assert all(not torch.allclose(memories[i], memories[k]) for i, k in pairs)


def test_without_a_reference_the_fusion_is_skipped() -> None:
    model = tiny_uniref()
    levels = [torch.randn(2, 64, 4, 4)]
    assert model.fuse(levels, None, None, clips(1))[0] is levels[0]


def test_a_released_start_is_the_identity() -> None:
    model, queries = tiny_uniref(fusion_init="zero"), clips(1)
    with torch.no_grad():
        guided = predicted(model, queries, clips(1, frames=1, seed=7))
        assert_same(guided, predicted(model, without_words(queries)))


# ------------------------------------------------------------------------------------------------------------- refusals


def test_what_it_cannot_take_is_refused() -> None:
    queries, supports = clips(2), clips(2, frames=1)
    deaf, blind = tiny_uniref(text=False), tiny_uniref(supports=False)
    assert deaf.accepts == {"support"} and blind.accepts == {"expression"} and not deaf.needs
    with pytest.raises(ValueError, match=r"text=None.*'the big blue dax'.*give it supports"):
        predicted(deaf, queries)
    with pytest.raises(ValueError, match="value_encoder=None.*give it expressions"):
        blind.encode_supports(supports, 1)
    with pytest.raises(ValueError, match="warm-up needs supports"):
        blind.warmup_losses(None, queries, 0)
    model = tiny_uniref()
    with pytest.raises(ValueError, match=r"query clips \[1\] of a batch of 2 have no expression"):
        predicted(model, replace(queries, expressions=("a dax", None)))
    with pytest.raises(ValueError, match="support clip 1 has no masks"):
        model.encode_supports(replace(supports, masks=(supports.masks[0], None)), 1)


def test_wrong_options_name_the_valid_ones() -> None:
    with pytest.raises(ValueError, match="freeze_backbone must be one of all, stem, none, got True"):
        tiny_uniref(freeze_backbone=True)
    with pytest.raises(ValueError, match="fusion_init must be one of zero, similarity, got 'random'"):
        tiny_uniref(fusion_init="random")
    with pytest.raises(ValueError, match="mask_stride must be one of 4, 1, got 2"):
        tiny_uniref(mask_stride=2)


def test_frames_with_fewer_tokens_than_queries_are_refused() -> None:
    model = tiny_uniref(sizes=replace(SIZES, num_queries=100))
    with pytest.raises(ValueError, match="100 queries are chosen from the tokens of a frame, and this one has 85"):
        predicted(model, clips(1))


def test_one_query_is_enough() -> None:
    model = tiny_uniref(sizes=replace(SIZES, num_queries=1))
    assert found_by(model, clips(1)).class_logits.shape == (2, 2, 1, 1)


# ---------------------------------------------------------------------------------------------------- candidates, masks


def test_the_best_query_is_that_of_the_highest_logit() -> None:
    logits = torch.tensor([[[0.0, 1.0], [3.0, -1.0], [3.0, 2.0]], [[-5.0, -4.0], [-6.0, -9.0], [-7.0, -3.0]]])
    assert best_queries(logits).tolist() == [1, 2]
    found = found_by(tiny_uniref(), clips(2))
    assert found.scores is not None
    assert torch.equal(found.scores.flatten(), found.class_logits[-1, :, :, 0].max(1).values)
    frames = torch.arange(4)
    assert found.boxes is not None
    assert torch.equal(found.boxes.flatten(0, 2), found.all_boxes[-1, frames, found.winner])


def test_detections_overlap_only_between_classes() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.4, 0.4], [0.51, 0.5, 0.4, 0.4], [0.5, 0.5, 0.4, 0.4], [0.1, 0.1, 0.1, 0.1]])
    logits = torch.tensor([[2.0, -9.0], [1.0, -9.0], [-9.0, 0.5], [-1.0, -2.0]])
    queries, classes, scores = detect(logits, boxes, keep=4)
    assert list(zip(queries.tolist(), classes.tolist(), strict=True)) == [(0, 0), (2, 1), (3, 0), (3, 1)]
    torch.testing.assert_close(scores, logits[queries, classes].sigmoid())
    assert len(detect(logits, boxes)[0]) == 6  # three queries are left, with two classes each


def test_masks_are_computed_for_chosen_queries() -> None:
    model = tiny_uniref(mask_stride=1)
    found = predicted(model, clips(1))
    assert found.stride == 1 and found.masks.shape == (1, 2, 1, 64, 64)
    frames, queries = torch.tensor([1, 0, 1]), torch.tensor([0, 2, 2])
    fine, coarse = (model.masks_of(found, 0, frames, queries, stride) for stride in (None, 4))
    assert fine.shape == (3, 64, 64) and coarse.shape == (3, 16, 16)
    torch.testing.assert_close(fine[:, 2::4, 2::4], coarse, rtol=1e-4, atol=1e-4)
    alone = model.masks_of(found, 0, frames[1:2], queries[1:2], 4)
    torch.testing.assert_close(coarse[1:2], alone)
    (gradient,) = torch.autograd.grad(coarse.sum(), model.controller.layers[0].weight)
    assert gradient.abs().sum() > 0
    best = model.masks_of(found, -1, torch.arange(2), found.winner)
    torch.testing.assert_close(found.masks[0, :, 0], best)


def test_coordinates_are_pixels_of_the_image_itself() -> None:
    """The same features and reference points give another mask in a frame of another unpadded size."""
    model, queries = tiny_uniref(fusion_init="zero"), padded(clips(1), 96, 96)
    sizes = [found_by(model, q) for q in (queries, replace(queries, sizes=torch.tensor([[64, 50]])))]
    assert torch.equal(sizes[0].states, sizes[1].states) and not torch.equal(sizes[0].masks, sizes[1].masks)


def test_the_last_level_is_padded_as_the_first() -> None:
    padding = torch.zeros(1, 96, 96, dtype=torch.bool)
    padding[:, 66:] = True
    levels = level_paddings(padding, [(12, 12), (6, 6), (3, 3), (2, 2)])
    assert torch.equal(levels[3], resize_padding(levels[0], (2, 2)))
    assert [int((~x)[0, :, 0].sum()) for x in levels] == [9, 5, 3, 2]


# ------------------------------------------------------------------------------------------------------------- training


def gradients(model: UniRef) -> dict[str, Tensor]:
    return {name: p.grad for name, p in model.named_parameters() if p.grad is not None and p.grad.abs().sum() > 0}


def test_a_training_step_reaches_every_part() -> None:
    model = tiny_uniref().train()
    queries = clips(2)
    found = predicted(model, queries, clips(2, frames=1, seed=4))
    assert not found.masks.requires_grad  # the one mask that everybody sees is not learned from
    model.losses(found, queries).total.backward()
    reached = {name.split(".")[0] for name in gradients(model)}
    assert reached == {
        *("backbone", "text", "text_projection", "value_encoder", "level_projection", "fusion", "transformer"),
        *("score_heads", "pixel_decoder", "controller"),
    }


def test_bfloat16_is_close_and_keeps_coordinates_exact() -> None:
    totals = []
    for enabled in (False, True):
        model, queries = tiny_uniref(sizes=replace(SIZES, num_queries=85)).train(), clips(2, seed=2)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            found = predicted(model, queries, clips(2, frames=1, seed=1))
        exact = (found.masks, found.boxes, found.all_boxes, found.anchor_boxes, found.proposal_boxes)
        assert all(x is not None and x.dtype == torch.float32 for x in exact)
        losses = model.losses(in_float32(found), queries)
        losses.total.backward()
        totals.append(losses.total.item())
    assert totals[1] == pytest.approx(totals[0], rel=3e-2)


def test_frozen_parts_ask_for_no_gradient() -> None:
    def learning(model: UniRef) -> set[str]:
        return {name.split(".")[0] for name, p in model.named_parameters() if p.requires_grad}

    assert not {"backbone", "text"} & learning(tiny_uniref(freeze_backbone="all", freeze_text=True))
    stem = tiny_uniref(freeze_backbone="stem").backbone
    assert [all(p.requires_grad for p in stage.parameters()) for stage in stem.stages()] == [False, True, True, True]
    assert not any(p.requires_grad for p in tiny_uniref().text.encoder.pooler.parameters())
    assert not tiny_uniref(freeze_text=True).train().text.training
    assert tiny_uniref(freeze_text=True, text_dropout=True).train().text.training


def test_learning_rates() -> None:
    model = tiny_uniref()
    groups = {g["name"]: g for g in model.parameter_groups(1e-3)}
    assert {name: g["lr"] for name, g in groups.items()} == pytest.approx(
        {"main": 1e-3, "backbone": 1e-4, "text": 1e-5, "offsets": 1e-4}
    )
    assert sum(len(g["params"]) for g in groups.values()) == sum(p.requires_grad for p in model.parameters())
    scratch = tiny_uniref(backbone_lr=1.0, text_lr_absolute=None)
    assert {g["lr"] for g in scratch.parameter_groups(1e-3) if g["name"] != "offsets"} == {1e-3}


def test_the_warm_up_learns_features_of_the_object() -> None:
    model, supports, queries = tiny_uniref().train(), clips(2, frames=1, seed=1), clips(2, seed=2)
    optimiser = torch.optim.Adam(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(8):
        optimiser.zero_grad()
        loss = model.warmup_losses(supports, queries, 1).total
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < 0.9 * losses[0]

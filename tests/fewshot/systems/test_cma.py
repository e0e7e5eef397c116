"""CMA as a system: shapes, shots, support frames, variants, gradients, beyond the contract of all systems."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from fewshot.nn.affinity import VARIANTS
from fewshot.nn.outputs import Prediction
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.config import SystemConfig
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import build_system
from fewshot.systems.trunk import Sizes
from fewshot.systems.trunk_supports import at_query_grid
from tests.fewshot.tiny import SIZES, clips, predicted, tiny_cma


def close(a: Tensor | None, b: Tensor | None) -> None:
    assert a is not None and b is not None
    torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-4)


def same(a: Prediction, b: Prediction) -> None:
    close(a.masks, b.masks)
    close(a.scores, b.scores)
    close(a.boxes, b.boxes)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("queries", [1, 3])
def test_shapes(variant: str, queries: int) -> None:
    model = tiny_cma(replace(SIZES, num_queries=queries), variant=variant).eval()
    query = clips(2, frames=3, height=64, width=96)
    with torch.no_grad():
        prediction = predicted(model, query, clips(2, frames=2))
    for layer in (prediction, *prediction.layers):
        assert layer.masks.shape == (2, 3, queries, 16, 24)
        assert layer.scores is not None and layer.scores.shape == (2, 3, queries)
        assert layer.boxes is not None and layer.boxes.shape == (2, 3, queries, 4)
    assert len(prediction.layers) == SIZES.decoder_layers - 1
    assert model.probabilities(prediction, query, 1).shape == (3, 64, 96)


def test_sides_that_are_no_multiple_of_the_strides() -> None:
    model = tiny_cma().eval()
    with torch.no_grad():
        prediction = predicted(model, clips(1, height=70, width=93), clips(1, height=50, width=61))
    assert prediction.masks.shape[-2:] == (18, 24)


def test_repeat_is_episode_major() -> None:
    model = tiny_cma().eval()
    with torch.no_grad():
        state = model.encode_supports(clips(2, seed=1), 1)
    repeated = state.repeat(3)
    assert [m is state.masks[1] for m in repeated.masks] == [False] * 3 + [True] * 3
    assert torch.equal(repeated.levels[0][2], state.levels[0][0])
    assert torch.equal(repeated.levels[0][3], state.levels[0][1])


def test_one_frame_joined_is_the_middle_frame() -> None:
    """With one shot and one frame there is nothing to join: `all` gives the numbers of `middle`."""
    middle, every = tiny_cma().eval(), tiny_cma(support_frames="all").eval()
    support, query = clips(1, frames=3, seed=1), clips(1, seed=2)
    with torch.no_grad():
        expected = predicted(middle, query, support)
        alone = replace(support, frames=support.frames[:, 1:2], masks=tuple(m[1:2] for m in support.masks))
        same(predicted(every, query, alone), expected)
        joined = predicted(every, query, support)
    assert not torch.allclose(joined.masks, expected.masks, atol=1e-3), "the other frames have no effect"


def test_only_the_middle_support_frame_is_encoded() -> None:
    model = tiny_cma().eval()
    support = clips(2, frames=5, seed=1)
    changed = replace(support, frames=support.frames.clone())
    changed.frames[:, [0, 1, 3, 4]] = 0.0
    with torch.no_grad():
        state, other = (model.encode_supports(s, 1) for s in (support, changed))
    assert state.levels[0].shape[:3] == (2, 1, 1)
    assert all(torch.equal(a, b) for a, b in zip(state.levels, other.levels, strict=True))


@pytest.mark.parametrize("variant", VARIANTS)
def test_the_same_support_twice_changes_nothing(variant: str) -> None:
    """Tokens that come twice get the same attention together as once; the mean of two equals is the same."""
    model = tiny_cma(variant=variant).eval()
    support, query = clips(1, seed=1), clips(1, seed=2)
    twice = replace(
        support,
        frames=support.frames.repeat(2, 1, 1, 1, 1),
        padding=support.padding.repeat(2, 1, 1),
        sizes=support.sizes.repeat(2, 1),
        expressions=support.expressions * 2,
        masks=support.masks * 2,
    )
    with torch.no_grad():
        once = predicted(model, query, support)
        same(predicted(model, query, twice, 2), once)


def test_shots_of_different_mask_sizes() -> None:
    model = tiny_cma().eval()
    support, query = clips(4, seed=1), clips(2, seed=2)
    small = torch.zeros(2, 30, 20, dtype=torch.bool)
    small[:, :, :10] = True
    masks = (small, *support.masks[1:])
    with torch.no_grad():
        prediction = predicted(model, query, replace(support, masks=masks), 2)
        other = predicted(model, query, support, 2)
    close(prediction.masks[1], other.masks[1])
    assert not torch.allclose(prediction.masks[0], other.masks[0])


def test_masks_of_supports_of_different_sizes_stay_on_their_features() -> None:
    """What pads a small support up to the largest of its batch is neither shown nor stretched under its mask."""
    support = replace(
        clips(2, frames=1, height=128, width=128),
        sizes=torch.tensor([[60, 128], [128, 40]]),  # with the padding of a batch of one: 64x128 and 128x64
        masks=(torch.ones(1, 120, 256, dtype=torch.bool), torch.ones(1, 128, 40, dtype=torch.bool)),
    )
    with torch.no_grad():
        state = tiny_cma().encode_supports(support, 2)
    levels = tuple(torch.zeros_like(level) for level in state.levels)
    for index, level in enumerate(levels):
        stride = 8 * 2**index
        level[:, 0, ..., : -(-64 // stride), :] = 1.0
        level[:, 1, ..., : -(-64 // stride)] = 1.0
    for index in range(4):
        shown = at_query_grid(replace(state, levels=levels).repeat(3), index, (7, 9))
        assert shown.shape == (3, 2, 1, 32, 7, 9)
        assert shown.min() > 0.999


@pytest.mark.parametrize("variant", ["base", "self"])
def test_fewer_support_than_query_frames_repeat_the_last(variant: str) -> None:
    model = tiny_cma(variant=variant).eval()
    support, query = clips(1, frames=2, seed=1), clips(1, frames=4, seed=2)
    last = [0, 1, 1, 1]
    longer = replace(support, frames=support.frames[:, last], masks=(support.masks[0][last],))
    with torch.no_grad():
        short = predicted(model, query, support)
        same(short, predicted(model, query, longer))


def test_the_support_and_the_text_matter() -> None:
    model = tiny_cma().eval()
    support, query = clips(1, seed=1), clips(1, seed=2)
    blank = replace(support, masks=(torch.zeros_like(support.masks[0]),))
    with torch.no_grad():
        masks = predicted(model, query, support).masks
        assert not torch.allclose(masks, predicted(model, query, blank).masks, atol=1e-3)
        assert not torch.allclose(
            masks, predicted(model, replace(query, expressions=("a cat",)), support).masks, atol=1e-3
        )


def test_missing_expressions_give_numbers() -> None:
    model = tiny_cma().eval()
    support, query = (replace(clips(2, seed=s), expressions=(None, "a dax")) for s in (1, 2))
    with torch.no_grad():
        prediction = predicted(model, query, support)
    assert prediction.masks.isfinite().all()


def test_padding_is_cropped_from_the_probabilities() -> None:
    model = tiny_cma().eval()
    query = clips(1, seed=2)
    padded = replace(
        query,
        frames=torch.nn.functional.pad(query.frames, (0, 64, 0, 32)),
        padding=torch.nn.functional.pad(query.padding, (0, 64, 0, 32), value=True),
    )
    with torch.no_grad():
        prediction = predicted(model, padded, clips(1, seed=1))
    assert prediction.masks.shape[-2:] == (24, 32)
    assert model.probabilities(prediction, padded, 0).shape == (2, 64, 64)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("layers", [1, 2])
def test_gradients_reach_every_trainable_parameter(variant: str, layers: int) -> None:
    model = tiny_cma(replace(SIZES, decoder_layers=layers), variant=variant).train()
    query = clips(2, seed=2)
    model.losses(predicted(model, query, clips(2, seed=1)), query).total.backward()
    grouped = {id(p) for group in model.parameter_groups(1e-3) for p in group["params"]}
    for name, parameter in model.named_parameters():
        assert (parameter.grad is not None) == parameter.requires_grad, name
        assert (id(parameter) in grouped) == parameter.requires_grad, name


def test_parameter_groups() -> None:
    model = tiny_cma()
    rates = {group["name"]: group["lr"] for group in model.parameter_groups(1e-4)}
    assert rates == pytest.approx({"main": 1e-4, "backbone": 5e-5, "text": 1e-5, "offsets": 1e-4, "affinity": 1e-4})
    assert not model.kept_gradients()
    fixed = tiny_cma(train_affinity=False)
    groups = fixed.parameter_groups(1e-4)
    assert "affinity" not in {group["name"] for group in groups}
    untrained = {id(p) for p in fixed.parameters() if p.requires_grad} - {id(p) for g in groups for p in g["params"]}
    names = {name for name, p in fixed.named_parameters() if id(p) in untrained}
    assert names == set(fixed.kept_gradients())
    names = {name.rsplit(".", 1)[0] for name in names}
    convolutions = {f"affinity.query.{part}" for part in ("query", "key", "value")}
    assert names == convolutions | {"affinity.support.key", "affinity.support.value", "affinity.project"}


def test_activation_checkpointing_gives_the_same_gradients() -> None:
    gradients = []
    for checkpointing in (False, True):
        model = tiny_cma(checkpointing=checkpointing).train()
        model.backbone.checkpointing = checkpointing
        query = clips(1, seed=2)
        model.losses(predicted(model, query, clips(1, seed=1)), query).total.backward()
        gradients.append([p.grad for p in model.parameters() if p.grad is not None])
    for a, b in zip(*gradients, strict=True):
        torch.testing.assert_close(a, b, rtol=1e-4, atol=1e-5)


def test_frozen_parts() -> None:
    model = tiny_cma(freeze_backbone=True, freeze_text=True).train()
    assert not model.text.training and model.affinity.training
    assert {g["name"] for g in model.parameter_groups(1.0)} == {"main", "offsets", "affinity"}
    assert tiny_cma(freeze_text=True, text_dropout=True).train().text.training


def test_warmup_trains_what_the_affinity_compares() -> None:
    model = tiny_cma().train()
    losses = model.warmup_losses(clips(4, seed=1), clips(2, seed=2), shots=2)
    losses.total.backward()
    assert losses.total > 0
    reached = {name.split(".")[0] for name, p in model.named_parameters() if p.grad is not None}
    assert reached == {"backbone", "text", "text_projection", "level_projection", "fusion", "affinity"}


def test_support_without_masks() -> None:
    support = replace(clips(1), masks=(None,))
    with pytest.raises(ValueError, match="no masks"):
        tiny_cma().encode_supports(support, 1)


SETTINGS = (
    CMAConfig(
        backbone="tiny", backbone_width=8, text="small", text_dim=32, text_layers=1, hidden_dim=32, heads=4,
        encoder_layers=1, decoder_layers=1, feedforward_dim=32, num_queries=1,
    ),
    PrototypeConfig(backbone="tiny", backbone_width=8),
)  # fmt: skip


@pytest.mark.parametrize("config", SETTINGS, ids=lambda config: config.name)
def test_built_from_a_configuration(config: SystemConfig) -> None:
    system = build_system(config).eval()
    with torch.no_grad():
        prediction = predicted(system, clips(2), clips(2))
    assert prediction.masks.shape[:2] == (2, 2)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"name": "sam"}, "cma"),
        ({"backbone": "vgg"}, "resnet50"),
        ({"text": "clip"}, "small"),
        ({"text": "roberta"}, "text_weights"),
        ({"variant": "cross"}, "base"),
        ({"affinity_init": "zero"}, "similarity"),
        ({"support_frames": "first"}, "middle"),
        ({"hidden_dim": 30}, "system.heads=8 must divide system.hidden_dim=30"),
        ({"hidden_dim": 30, "heads": 5}, "multiple of 4"),
    ],
)
def test_wrong_configurations_name_the_remedy(change: dict[str, object], message: str) -> None:
    config = CMAConfig(backbone="tiny", text="small", text_dim=32, text_layers=1, hidden_dim=32)
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        build_system(replace(config, **change))


def test_released_sizes_are_the_defaults() -> None:
    assert Sizes() == Sizes(256, 8, 4, 4, 2048, 5, 4, 0.1)


def test_bfloat16_is_close_and_keeps_coordinates_exact() -> None:
    totals = []
    for enabled in (False, True):
        model, query = tiny_cma().train(), clips(2, seed=2)
        with torch.autocast("cpu", dtype=torch.bfloat16, enabled=enabled):
            prediction = predicted(model, query, clips(2, seed=1))
            losses = model.losses(prediction, query)
        assert prediction.masks.dtype == torch.float32
        assert prediction.boxes is not None and prediction.boxes.dtype == torch.float32
        losses.total.backward()
        totals.append(float(losses.total.detach()))
    assert totals[1] == pytest.approx(totals[0], rel=1e-2)


def test_similarity_start_lets_features_pass_the_fusion() -> None:
    model = tiny_cma(affinity_init="similarity").eval()
    with torch.no_grad():
        words, (_, *levels) = model.encode_text(("a red dax",)), model.frame_features(clips(1))
        for before, after in zip(levels, model.fused_levels(levels, words), strict=True):
            assert (after[0] - before).norm() < 0.2 * before.norm()

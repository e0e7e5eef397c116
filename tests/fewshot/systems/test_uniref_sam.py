"""UniRef++ on Segment Anything, in a tiny size: references, padding, losses, what learns, and official names."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.model import Model
from fewshot.nn.sam import SAM, SAMSize
from fewshot.nn.text import small_text_encoder
from fewshot.nn.value_encoder import Stride16ValueEncoder
from fewshot.systems.uniref.build import rule_of_sam
from fewshot.systems.uniref.sam import UniRefSAM, mask_losses, predicted_iou, reference_padding
from fewshot.systems.uniref.sam_checkpoint import TABLE, plan
from fewshot.weights.key_table import convert
from tests.fewshot.tiny import predicted


def tiny(text: bool = True, supports: bool = True, **options: object) -> UniRefSAM:
    torch.manual_seed(0)
    return UniRefSAM(
        SAM("tiny"),
        small_text_encoder(16, 1, vocabulary=64) if text else None,
        Stride16ValueEncoder(32) if supports else None,
        heads=2,
        fusion_head_dim=16,
        **options,
    ).eval()


def clips(count: int, height: int = 48, width: int = 64, frames: int = 1, text: str | None = None) -> ClipBatch:
    generator = torch.Generator().manual_seed(count)
    masks = torch.zeros(count, frames, height, width, dtype=torch.bool)
    masks[..., 8:32, 16:40] = True
    return ClipBatch(
        torch.randn(count, frames, 3, height, width, generator=generator),
        torch.zeros(count, height, width, dtype=torch.bool),
        torch.tensor([[height, width]] * count),
        (text,) * count,
        tuple(masks),
    )


@pytest.mark.parametrize(("text", "supports"), [("a red cat", False), (None, True), ("a red cat", True)])
def test_every_kind_of_reference(text: str | None, supports: bool) -> None:
    model, queries = tiny(fusion_init="similarity"), clips(2, frames=3, text=text)
    if supports:
        state = model.encode_supports(clips(4), 2)
        assert len(state) == 2 and state.levels[0].keys.shape == (2, 2 * 16, 32)
    prediction = predicted(model, queries, clips(4) if supports else None, 2)
    assert prediction.masks.shape == (2, 3, 1, 48, 64) and prediction.scores.shape == (2, 3, 1)
    assert model.probabilities(prediction, queries, 1).shape == (3, 48, 64)
    torch.testing.assert_close(predicted_iou(prediction).shape, (2, 3))


def test_a_mask_reference_matters_and_so_does_its_mask() -> None:
    model, queries, supports = tiny(fusion_init="similarity"), clips(1), clips(1, width=60)
    shown = predicted(model, queries, supports).masks
    hidden = replace(supports, masks=tuple(torch.zeros_like(m) for m in supports.masks))
    assert not torch.allclose(shown, predicted(model, queries, hidden).masks, atol=1e-5)


def test_frames_of_a_clip_are_seen_one_by_one() -> None:
    model, queries = tiny(fusion_init="similarity"), clips(2, frames=3, text="cat")
    whole = predicted(model, queries).masks
    single = predicted(model, replace(queries, frames=queries.frames[:, 1:2])).masks
    torch.testing.assert_close(whole[:, 1:2], single)


@pytest.mark.parametrize("size", [(30, 120), (120, 30), (40, 40)])
def test_pictures_of_any_size_fill_the_plane(size: tuple[int, int]) -> None:
    picture = torch.randint(0, 256, (3, *size), dtype=torch.uint8)
    system = tiny()
    result = Model(system, rule_of_sam(system)).segment(picture, text="the red cat")
    assert result.masks.shape[-2:] == size


def test_refusals() -> None:
    with pytest.raises(ValueError, match="expressions, supports, or both"):
        predicted(tiny(), clips(1))
    with pytest.raises(ValueError, match="without a text encoder"):
        predicted(tiny(text=False), clips(1, text="cat"))
    with pytest.raises(ValueError, match="without a value encoder"):
        tiny(supports=False).encode_supports(clips(1), 1)
    with pytest.raises(ValueError, match="100x64 pixels do not fit into the 64x64 pixels"):
        predicted(tiny(), clips(1, height=100, text="cat"))
    with pytest.raises(ValueError, match="a text encoder, a value encoder, or both"):
        tiny(text=False, supports=False)
    with pytest.raises(ValueError, match="unknown size of SAM 'giant': choose one of base, large, huge, tiny"):
        SAM("giant")
    model = tiny()
    queries = clips(1, text="cat")
    with pytest.raises(ValueError, match=r"query clips \[0\] have no target masks"):
        model.losses(predicted(model, queries), replace(queries, masks=(None,)))


def test_what_learns() -> None:
    model = tiny(fusion_init="similarity").train()
    queries = clips(2, text="a red cat")
    losses = model.losses(predicted(model, queries, clips(2)), queries)
    losses.total.backward()
    learns = {name for name, p in model.named_parameters() if p.requires_grad}
    idle = {name for name in learns if model.get_parameter(name).grad is None}
    assert not idle, f"no gradient: {sorted(idle)}"
    assert {name.split(".")[1] for name in learns if name.startswith("sam.")} == {"mask_decoder"}
    assert {name.split(".")[0] for name in learns} == {"sam", "text", "text_projection", "value_encoder", "fusion"}
    groups = model.parameter_groups(1e-3)
    assert {g["name"]: g["lr"] for g in groups} == {"main": 1e-3, "text": 1e-5}
    assert sum(len(g["params"]) for g in groups) == len(learns)


def test_it_learns() -> None:
    """Small steps against the sign of the gradient."""
    model, queries, supports = tiny(fusion_init="similarity").train(), clips(2, text="a red cat"), clips(2)
    learns = [p for p in model.parameters() if p.requires_grad]
    seen = []
    for _ in range(7):
        total = model.losses(predicted(model, queries, supports), queries).total
        for parameter, gradient in zip(learns, torch.autograd.grad(total, learns), strict=True):
            parameter.data -= 1e-3 * gradient.sign()
        seen.append(float(total.detach()))
    assert seen[-1] < 0.97 * seen[0], seen


def test_a_frozen_text_encoder_stays_in_evaluation_mode() -> None:
    model = tiny(freeze_text=True).train()
    assert not model.text.training and model.fusion.training
    assert not any(p.requires_grad for p in model.text.parameters())
    assert tiny(freeze_text=True, text_dropout=True).train().text.training


def plain_losses(logits: Tensor, truth: Tensor) -> tuple[Tensor, Tensor]:
    p = logits.sigmoid()
    entropy = -(truth * p.log() + (1 - truth) * (1 - p).log()).mean((1, 2))
    dice = 1 - (2 * (p * truth).sum((1, 2)) / 1000 + 1e-6) / ((p.sum((1, 2)) + truth.sum((1, 2))) / 1000 + 1e-6)
    return entropy.mean(), dice.mean()


def test_losses_are_those_of_the_padded_plane() -> None:
    model, queries = tiny(), clips(2, text="cat")
    prediction = predicted(model, queries)
    losses = model.losses(prediction, queries)
    truth = torch.zeros(2, 64, 64)
    truth[:, 8:32, 16:40] = 1
    entropy, dice = plain_losses(model.enlarged(prediction.low), truth)
    torch.testing.assert_close(losses.terms["loss_mask"], entropy)
    torch.testing.assert_close(losses.terms["loss_dice"], dice)
    torch.testing.assert_close(losses.total, 2.0 * entropy + 0.5 * dice)


def test_unknown_pixels_are_left_out() -> None:
    model, queries = tiny(), clips(1, text="cat")
    prediction = predicted(model, queries)
    ignore = torch.zeros_like(queries.masks[0])
    ignore[..., :8, :] = True
    changed = queries.masks[0] | ignore
    first = model.losses(prediction, replace(queries, ignore=(ignore,)))
    second = model.losses(prediction, replace(queries, ignore=(ignore,), masks=(changed,)))
    torch.testing.assert_close(first.total, second.total)
    assert not torch.allclose(first.total, model.losses(prediction, queries).total)


def test_no_object_is_no_reason_for_nan() -> None:
    terms = mask_losses(torch.full((1, 4, 4), -100.0), torch.zeros(1, 4, 4), torch.ones(1, 4, 4))
    assert all(torch.isfinite(x) for x in terms.values()) and terms["loss_dice"] < 1e-6


def test_padding_counts_cells_against_pixels() -> None:
    """The released behaviour: nothing is padding unless a side has fewer pixels than the grid has cells."""
    padding = reference_padding(torch.tensor([[704, 1024], [48, 60]]), 64)
    assert not padding[0].any()
    assert padding[1, 48:].all() and padding[1, :, 60:].all() and not padding[1, :48, :60].any()


def test_every_tensor_has_an_official_name_and_back() -> None:
    model = tiny()
    official = {}
    for name, tensor in model.state_dict().items():
        (key,) = TABLE.to_official(name)
        official[key] = tensor
    assert "model.sam.image_encoder.blocks.1.attn.qkv.weight" in official
    own, ignored, _ = convert(official, plan(official, model).table)
    assert not ignored and set(own) == set(model.state_dict())


def test_a_file_of_sam_itself_is_a_start() -> None:
    model = tiny()
    official = {
        TABLE.to_official(name)[0].removeprefix("model.sam."): tensor
        for name, tensor in model.state_dict().items()
        if name.startswith("sam.")
    }
    found = plan(official, model)
    own, _, _ = convert(official, found.table)
    missing = set(model.state_dict()) - set(own)
    assert missing and all(name.startswith(found.fresh) for name in missing)


def test_parts_that_are_not_there_are_ignored() -> None:
    whole, model = tiny(), tiny(text=False)
    official = {TABLE.to_official(name)[0]: tensor for name, tensor in whole.state_dict().items()}
    own, ignored, _ = convert(official, plan(official, model).table)
    assert set(own) == set(model.state_dict())
    assert set(ignored.values()) == {"this system has no text encoder"}


def test_released_sizes() -> None:
    with torch.device("meta"):
        count = sum(p.numel() for p in SAM(SAMSize(768, 12, 12, (2, 5, 8, 11))).parameters())
    assert count / 1e6 == pytest.approx(93.7, abs=0.1)

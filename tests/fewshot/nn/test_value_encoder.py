"""Value encoders: shapes, what the mask does to them, and their start weights."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor
from torchvision.models import resnet18

from fewshot.nn.value_encoder import MaskedResNet18, Stride16ValueEncoder, TinyValueEncoder, ValueEncoder


@pytest.fixture(scope="module")
def large() -> ValueEncoder:
    """The encoder of the released models, with narrow values."""
    torch.manual_seed(0)
    return ValueEncoder(32).eval()


def example(dim: int, height: int = 64, width: int = 96) -> tuple[Tensor, Tensor, list[Tensor]]:
    torch.manual_seed(0)
    masks = torch.zeros(2, height, width)
    masks[:, : height // 2] = 1
    levels = [torch.randn(2, dim, -(-height // s), -(-width // s)) for s in (8, 16, 32, 64)]
    return torch.randn(2, 3, height, width), masks, levels


@pytest.mark.parametrize("size", [(64, 96), (96, 64)])
def test_values_have_the_sizes_of_the_levels(size: tuple[int, int], large: ValueEncoder) -> None:
    images, masks, levels = example(32, *size)
    for encoder in (large, TinyValueEncoder(32)):
        values = encoder(images, masks, levels)
        assert [v.shape for v in values] == [level.shape for level in levels]
    assert Stride16ValueEncoder(32).eval()(images, masks, levels[1]).shape == levels[1].shape


def test_the_mask_matters(large: ValueEncoder) -> None:
    images, masks, levels = example(32)
    for encoder in (large, TinyValueEncoder(32)):
        for with_mask, without in zip(encoder(images, masks, levels), encoder(images, 0 * masks, levels), strict=True):
            assert (with_mask - without).abs().max() > 1e-3


def test_the_tiny_encoder_tells_object_from_background_at_its_start() -> None:
    images, masks, levels = example(64)
    encoder = TinyValueEncoder(64)
    value = encoder(images, masks, levels)[0]  # 8 x 12 cells, the upper half is the object
    told = value[:, :16] / encoder.strength[:, None, None]
    torch.testing.assert_close(told[:, :, :4], torch.ones(2, 16, 4, 12))
    torch.testing.assert_close(told[:, :, 4:], -torch.ones(2, 16, 4, 12))
    assert abs(float(encoder.strength.detach().sum())) < 1e-6, "a layer norm must not take it off"
    assert sum(p.numel() for p in encoder.parameters()) < 5000


def test_the_tiny_encoder_takes_half_covered_cells_as_such() -> None:
    encoder, masks = TinyValueEncoder(16), torch.zeros(1, 16, 16)
    masks[:, :4] = 1  # half of the upper row of 8x8 cells
    (value,) = encoder(torch.zeros(1, 3, 16, 16), masks, [torch.zeros(1, 16, 2, 2)])
    torch.testing.assert_close(value[0, :4, 0], torch.zeros(4, 2))


@pytest.mark.parametrize("dim", [12, 8, 0])
def test_widths_that_do_not_divide_are_refused(dim: int) -> None:
    with pytest.raises(ValueError, match=f"multiple of 8 from 16 on, got {dim}"):
        TinyValueEncoder(dim)


def test_image_weights_of_torchvision() -> None:
    torch.manual_seed(0)
    network, body = resnet18(weights=None).eval(), MaskedResNet18().eval()
    body.start_from_image_weights(network.state_dict())
    images = torch.randn(1, 3, 64, 64)
    x = network.maxpool(network.relu(network.bn1(network.conv1(images))))
    expected = network.layer3(network.layer2(network.layer1(x)))
    with torch.no_grad():
        without_mask = body(images, torch.zeros(1, 64, 64))
        torch.testing.assert_close(without_mask[1], expected)
        assert not torch.allclose(body(images, torch.ones(1, 64, 64))[1], expected)


def test_other_weights_are_refused() -> None:
    state = resnet18(weights=None).state_dict()
    state["conv1.weight"] = torch.zeros(64, 4, 7, 7)
    with pytest.raises(ValueError, match=r"ResNet-18: conv1.weight is \(64, 4, 7, 7\), expected \(64, 3, 7, 7\)"):
        MaskedResNet18().start_from_image_weights(state)
    del state["conv1.weight"], state["bn1.bias"]
    with pytest.raises(ValueError, match="conv1.weight is None"):
        MaskedResNet18().start_from_image_weights(state)

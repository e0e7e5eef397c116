"""Cells of feature maps and pixels of frames: nothing moves on the way there and back."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from fewshot.nn.backbones import Backbone, MobileNetV2, ResNet, TinyBackbone
from fewshot.nn.masks import cells_of, pixels_of
from fewshot.nn.swin import Swin, SwinSize

RAMP = torch.arange(64.0).expand(1, 1, 64, 64)  # the value of a pixel is its column


@pytest.mark.parametrize("stride", [4, 8, 16])
@pytest.mark.parametrize("patches", [True, False])
def test_pixels_come_back_to_their_place(stride: int, patches: bool) -> None:
    seen = F.avg_pool2d(RAMP, stride) if patches else RAMP[..., ::stride, ::stride]
    back = pixels_of(seen, stride, (64, 64), patches)
    inside = slice(stride, 64 - stride)
    torch.testing.assert_close(back[..., inside], RAMP[..., inside])
    assert back.shape == (1, 1, 64, 64)


@pytest.mark.parametrize("patches", [True, False])
def test_a_frame_that_is_no_multiple_of_the_stride(patches: bool) -> None:
    cells = torch.randn(2, 3, 8, 7)
    assert pixels_of(cells, 8, (61, 50), patches).shape == (2, 3, 61, 50)
    assert cells_of(torch.rand(2, 3, 61, 50), 8, (8, 7), patches).shape == (2, 3, 8, 7)


def test_a_cell_weighs_what_lies_around_it() -> None:
    mask = torch.zeros(1, 1, 64, 64)
    mask[..., 28:36, 12:20] = 1  # 8 x 8 pixels around (32, 16)
    around = cells_of(mask, 8, (8, 8), patches=False)
    assert around[0, 0, 4, 2] == 1 and around.sum() == 1
    assert cells_of(mask, 8, (8, 8), patches=True).sum() == 1 and not cells_of(mask, 8, (8, 8), patches=True).max() == 1


def small_swin() -> Swin:
    return Swin(SwinSize(embed=32, depths=(1, 1, 1, 1), window=2), drop_path=0.0)


@pytest.mark.parametrize("backbone", [lambda: TinyBackbone(16), MobileNetV2, lambda: ResNet(50), small_swin])
def test_the_cells_of_a_backbone_lie_where_it_says(backbone) -> None:  # type: ignore[no-untyped-def]
    """The middle of the pixels that a cell depends on, over random weights, is the middle of the cell."""
    torch.manual_seed(0)
    body: Backbone = only_linear(backbone())
    side, level, row = 256, 1, 16
    shares = torch.zeros(side)
    for _ in range(3):
        image = torch.rand(1, 3, side, side, requires_grad=True)
        body(image)[level][0, :, row, row].square().sum().backward()
        assert image.grad is not None
        shares += image.grad.abs().sum((0, 1, 2))
    middle = float((shares * torch.arange(side)).sum() / shares.sum())
    wanted = 8 * row + (3.5 if body.patches else 0.0)
    assert middle == pytest.approx(wanted, abs=1.2), f"{middle:.1f}, not {wanted}"


def only_linear(backbone: Backbone) -> Backbone:
    """Evaluation mode, with activations that let everything pass, so that no place is left out by chance."""

    def pass_all(module: nn.Module) -> None:
        for name, child in module.named_children():
            if isinstance(child, (nn.ReLU, nn.ReLU6)):
                setattr(module, name, nn.Identity())
            pass_all(child)

    pass_all(backbone)
    return backbone.eval()

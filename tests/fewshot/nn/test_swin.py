"""Swin: tap sizes, windows, shifts, padding, and agreement with torchvision where the two agree."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torchvision.models.swin_transformer import SwinTransformer

from fewshot.nn.swin import Swin, SwinSize, other_regions, relative_positions

SMALL = SwinSize(32, (2, 2, 2, 2), 4)


@pytest.mark.parametrize(("height", "width"), [(64, 64), (70, 97), (33, 40)])
def test_taps(height: int, width: int) -> None:
    backbone = Swin(SMALL).eval()
    taps = backbone(torch.randn(2, 3, height, width))
    assert backbone.channels == (32, 64, 128, 256)
    for tap, channels, stride in zip(taps, backbone.channels, (4, 8, 16, 32), strict=True):
        assert tap.shape == (2, channels, -(-height // stride), -(-width // stride))


def test_named_sizes() -> None:
    with torch.device("meta"):
        counts = {name: sum(p.numel() for p in Swin(name).parameters()) / 1e6 for name in ("tiny", "base", "large")}
    assert counts == pytest.approx({"tiny": 27.5, "base": 86.9, "large": 195.2}, abs=0.3)
    with pytest.raises(ValueError, match="unknown size of Swin 'giant': choose one of tiny, small, base, large"):
        Swin("giant")


def test_is_torchvisions_where_windows_divide_the_map() -> None:
    """At 128 pixels every map but the last is larger than its windows of 4 and a multiple of them."""
    torch.manual_seed(0)
    ours = Swin(SMALL, drop_path=0.0).eval()
    theirs = SwinTransformer([4, 4], 32, [2, 2, 2, 2], [1, 2, 4, 8], [4, 4], stochastic_depth_prob=0.0).eval()
    body = ours.body
    pairs: list[tuple[nn.Module, nn.Module]] = [
        (theirs.features[0][0], body.patch_embed.proj),
        (theirs.features[0][2], body.patch_embed.norm),
    ]
    for index, stage in enumerate(body.layers):
        for block, other in zip(stage.blocks, theirs.features[2 * index + 1], strict=True):
            pairs += [(other.norm1, block.norm1), (other.norm2, block.norm2)]
            pairs += [(other.attn.qkv, block.attn.qkv), (other.attn.proj, block.attn.proj)]
            pairs += [(other.mlp[0], block.mlp.fc1), (other.mlp[3], block.mlp.fc2)]
            block.attn.relative_position_bias_table.data = other.attn.relative_position_bias_table.data
        if stage.downsample is not None:
            merging = theirs.features[2 * index + 2]
            pairs += [(merging.reduction, stage.downsample.reduction), (merging.norm, stage.downsample.norm)]
    for source, target in pairs:
        target.load_state_dict(source.state_dict())
    image = torch.randn(1, 3, 128, 128)
    with torch.no_grad():
        taps, x = ours(image), image
        for index in range(3):  # the last map has the size of one window: torchvision does not shift there
            x = theirs.features[2 * index + 1](theirs.features[2 * index](x))
            expected = getattr(body, f"norm{index}")(x).permute(0, 3, 1, 2)
            torch.testing.assert_close(taps[index], expected, rtol=1e-4, atol=1e-4)


def test_padding_is_attended_to_and_shifts_are_kept_on_small_maps() -> None:
    """A map smaller than a window still has four regions after its shift."""
    apart = other_regions(4, 4, window=4, shift=2, device=torch.device("cpu"))
    assert apart.shape == (1, 16, 16) and len(apart[0].unique(dim=0)) == 4
    assert not apart.diagonal(dim1=1, dim2=2).any() and torch.equal(apart, apart.transpose(1, 2))


def test_relative_positions() -> None:
    index = relative_positions(3)
    assert index.shape == (9, 9) and len(index.unique()) == 25
    assert (index.diagonal() == 12).all() and torch.equal(index + index.T, torch.full((9, 9), 24))


def test_checkpointing_changes_nothing() -> None:
    torch.manual_seed(0)
    plain, saving = Swin(SMALL, drop_path=0.0), Swin(SMALL, drop_path=0.0, checkpointing=True)
    saving.load_state_dict(plain.state_dict())
    image = torch.randn(1, 3, 32, 32)
    for backbone in (plain, saving):
        sum(tap.square().mean() for tap in backbone(image)).backward()
    for a, b in zip(plain.parameters(), saving.parameters(), strict=True):
        torch.testing.assert_close(a.grad, b.grad)

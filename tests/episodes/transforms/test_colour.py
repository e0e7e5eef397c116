from __future__ import annotations

import colorsys

import pytest
import torch

from episodes.seeding import generator
from episodes.transforms.colour import GENTLE, WIDE, distort, shift_hsv


def frames(count=6, seed=0) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 5, 7), dtype=torch.uint8, generator=generator("colour", seed))


def test_shift_agrees_with_colorsys() -> None:
    x = frames(2).float()
    hue, saturation = torch.tensor([17.0, -12.5]), torch.tensor([0.6, 1.4])
    out = shift_hsv(x, hue, saturation)
    for t in range(2):
        for pixel, moved in zip(x[t].flatten(1).T, out[t].flatten(1).T, strict=True):
            h, s, v = colorsys.rgb_to_hsv(*(pixel / 255).tolist())
            expected = colorsys.hsv_to_rgb((h + float(hue[t]) / 360) % 1, min(1, s * float(saturation[t])), v)
            assert (moved / 255).tolist() == pytest.approx(expected, abs=1e-5)


def test_no_shift_is_the_identity_and_grey_stays_grey() -> None:
    x = frames().float()
    one, zero = torch.ones(6), torch.zeros(6)
    assert torch.allclose(shift_hsv(x, zero, one), x, atol=1e-3)
    grey = torch.full((1, 3, 2, 2), 77.0)
    assert torch.allclose(shift_hsv(grey, torch.tensor([15.0]), torch.tensor([1.5])), grey)
    bright = torch.full((1, 3, 2, 2), -5.0)  # after the brightness part, values may lie outside 0..255
    assert torch.allclose(shift_hsv(bright, torch.tensor([15.0]), torch.tensor([1.5])), bright)


def test_frames_get_draws_of_their_own() -> None:
    same = frames(1).expand(8, -1, -1, -1)
    out = distort(same, generator(3))
    assert out.dtype == torch.uint8 and out.shape == same.shape
    assert len({tuple(f.flatten().tolist()) for f in out}) > 4
    assert torch.equal(out, distort(same, generator(3)))
    assert not torch.equal(out, distort(same, generator(4)))


def test_bright_parts_stay_bright_unless_wrapped() -> None:
    """At 250 most draws of brightness and contrast pass 255: clipped they stay, wrapped they turn dark."""
    white = torch.full((64, 3, 4, 4), 250, dtype=torch.uint8)
    clipped, wrapped = distort(white, generator(0)), distort(white, generator(0), wrap=True)
    assert clipped.min() >= 100
    assert wrapped.min() < 30
    over = clipped == 255
    near = (clipped.int() - wrapped.int()).abs()
    assert over.any() and near[over].max() > 200
    assert near[~over].max() <= 1, "without overflow both are the same, up to rounding"


def test_strength_is_bounded() -> None:
    grey = torch.full((500, 3, 1, 1), 100, dtype=torch.uint8)
    out = distort(grey, generator(0)).float()
    assert out.min() >= (100 - 32) * 0.5 - 1 and out.max() <= (100 + 32) * 1.5 + 1
    assert out.min() < 45 and out.max() > 160, "the ends are nearly reached"
    assert (out == 100).all(1).float().mean() > 0.15, "a quarter keep brightness and contrast"


def test_gentle_colours_stay_nearer_keep_their_hue_and_are_clipped_early() -> None:
    """SgMg: contrast and saturation 0.8 to 1.2, no hue, another order of the channels in one of five."""
    grey = torch.full((600, 3, 1, 1), 100, dtype=torch.uint8)
    out = distort(grey, generator(0), ranges=GENTLE).float()
    assert (100 - 32) * 0.8 - 1 <= out.min() < 60 and 145 < out.max() <= (100 + 32) * 1.2 + 1
    red = torch.tensor([180, 100, 60], dtype=torch.uint8)[:, None, None].expand(600, 3, 1, 1)
    gentle, wide = (distort(red, generator(0), ranges=ranges)[..., 0, 0].float() for ranges in (GENTLE, WIDE))
    reordered = (gentle.argsort(1, descending=True) != torch.arange(3)).any(1).float().mean()
    assert 0.12 < reordered < 0.22, "five of six orders are others"
    kept = gentle[(gentle.argsort(1, descending=True) == torch.arange(3)).all(1)]
    middle = (kept[:, 1] - kept[:, 2]) / (kept[:, 0] - kept[:, 2])  # which brightness and saturation do not move
    assert (middle - 40 / 120).abs().max() < 0.02
    assert ((wide[:, 1] - wide[:, 2]) / (wide[:, 0] - wide[:, 2]) - 40 / 120).abs().max() > 0.1
    white = torch.full((400, 3, 1, 1), 250, dtype=torch.uint8)
    early = distort(white, generator(0), wrap=True, ranges=GENTLE)
    assert early.int().add(256).remainder(256).max() == 255 and early[early < 100].max() <= 255 * 1.2 - 256


def test_frames_may_share_a_draw() -> None:
    same = frames(1).expand(8, -1, -1, -1)
    out = distort(same, generator(3), alike=True)
    assert all(torch.equal(f, out[0]) for f in out) and not torch.equal(out[0], same[0])

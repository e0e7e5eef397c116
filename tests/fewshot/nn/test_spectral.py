"""Spectral filters, beyond their parity."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fewshot.nn.spectral import SpectralFilter


@pytest.mark.parametrize("padding", [0, 1])
@pytest.mark.parametrize("size", [(3, 3), (5, 4), (9, 16)])
def test_the_gate_sees_the_mean_of_a_convolution(padding: int, size: tuple[int, int]) -> None:
    torch.manual_seed(0)
    spectral, x = SpectralFilter(8, padding).double(), torch.randn(2, 8, *size).double().requires_grad_()
    texture = F.conv2d(x, spectral.texture.weight, spectral.texture.bias, padding=padding).mean((-2, -1))
    wanted, found = spectral.gate(texture).sigmoid(), spectral.openness(x)
    torch.testing.assert_close(found, wanted)
    for one, other in zip(*(torch.autograd.grad(y.sum(), x) for y in (found, wanted)), strict=True):
        torch.testing.assert_close(one, other)

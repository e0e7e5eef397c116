"""The package's attention on a GPU, and the kernels for rows of different lengths, against the math kernel."""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from fewshot.nn.attention import attention, packed_attention
from tests.gpu.tiny import DEVICES, ON_CUDA, error

# Inputs are rounded to bfloat16 on both sides: what is left are the rounded weights and results, 2 ** -8 of a value.
FORWARD, BACKWARD = 2e-2, 4e-2
WIDTHS = (32, 64, 256)  # of a head; UniFusion's is 256


def example(width: int, device: str, empty: bool) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Queries, keys and values `(3, 2, 40 or 100, width)`, and padding with 100, 37 and 1 (`empty`: 0) keys."""
    draw = torch.Generator().manual_seed(width)
    rows = [torch.randn(3, 2, length, width, generator=draw).bfloat16() for length in (40, 100, 100)]
    lengths = torch.tensor([100, 37, 0 if empty else 1])
    padding = torch.arange(100) >= lengths[:, None]
    query, key, value = (x.float().to(device).requires_grad_() for x in rows)
    return query, key, value, padding.to(device)


def by_math(query: Tensor, key: Tensor, value: Tensor, padding: Tensor) -> Tensor:
    """Attention in float32 by the math kernel, row by row over the keys that are there."""
    out = torch.zeros_like(query)
    with sdpa_kernel(SDPBackend.MATH):
        for n, there in enumerate(~padding):
            if there.any():
                out[n] = F.scaled_dot_product_attention(query[n], key[n][:, there], value[n][:, there])
    return out


def with_gradients(attend: Callable[..., Tensor], *inputs: Tensor) -> list[Tensor]:
    """The result, and the gradients of queries, keys and values for a fixed direction."""
    out = attend(*inputs).float()
    direction = torch.linspace(-1, 1, out.numel(), device=out.device).view_as(out)
    return [out, *torch.autograd.grad(out, inputs[:3], direction)]


def assert_close(found: list[Tensor], wanted: list[Tensor]) -> None:
    errors = [error(a, b) for a, b in zip(found, wanted, strict=True)]
    assert errors[0] <= FORWARD and max(errors[1:]) <= BACKWARD, errors


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", WIDTHS)
def test_bf16_attention_is_that_of_the_math_kernel(width: int, device: str) -> None:
    inputs = example(width, device, empty=True)
    found = with_gradients(lambda *x: attention(*x, bf16=True), *inputs)
    assert_close(found, with_gradients(by_math, *inputs))
    assert all(x[2].abs().max() == 0 for x in found), "a row without keys gives zeros and no gradient"


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("width", WIDTHS)
def test_float32_attention_is_that_of_the_math_kernel(width: int, device: str) -> None:
    inputs = example(width, device, empty=True)
    found, wanted = (with_gradients(attend, *inputs) for attend in (attention, by_math))
    # TF32 may round the products of the fused kernel to eleven bits
    assert max(error(a, b) for a, b in zip(found, wanted, strict=True)) <= (1e-5 if device == "cpu" else 2e-3)


def flash_attn() -> Callable[..., Tensor] | None:
    """The kernel of flash-attn, where it is installed."""
    if find_spec("flash_attn") is None:
        return None
    from flash_attn import flash_attn_varlen_func

    return flash_attn_varlen_func


def torch_varlen() -> Callable[..., Tensor] | None:
    """The kernel of torch with the arguments of flash-attn's, where this torch has it."""
    if find_spec("torch.nn.attention.varlen") is None:
        return None
    from torch.nn.attention.varlen import varlen_attn

    def attend(query: Tensor, key: Tensor, value: Tensor, **options: Any) -> Tensor:
        assert options["softmax_scale"] is None and options["dropout_p"] == 0.0, "not every version takes them"
        starts, longest = ("cu_seqlens_q", "cu_seqlens_k"), ("max_seqlen_q", "max_seqlen_k")
        return varlen_attn(query, key, value, *(options[name] for name in (*starts, *longest)))

    return attend


KERNELS = {"flash-attn": flash_attn, "torch.nn.attention.varlen": torch_varlen}


@pytest.mark.parametrize("device", [ON_CUDA])
@pytest.mark.parametrize("width", WIDTHS)
@pytest.mark.parametrize("name", KERNELS)
def test_packed_attention_is_that_of_the_math_kernel(name: str, width: int, device: str) -> None:
    kernel = KERNELS[name]()
    if kernel is None:
        pytest.skip(f"{name} is not installed")
    inputs = example(width, device, empty=False)

    def packed(query: Tensor, key: Tensor, value: Tensor, padding: Tensor) -> Tensor:
        half = (x.bfloat16() for x in (query, key, value))
        return packed_attention(*half, padding, None, 0.0, kernel)

    assert_close(with_gradients(packed, *inputs), with_gradients(by_math, *inputs))

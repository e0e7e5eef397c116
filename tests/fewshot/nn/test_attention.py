"""Attention over padded keys: equal to an explicit softmax, zeros where no key is, and the packed form."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn

from fewshot.nn.attention import MultiheadAttention, attention, packed_attention

sizes = st.integers(1, 5)


def explicit(q: Tensor, k: Tensor, v: Tensor, padding: Tensor, scale: float) -> Tensor:
    """Row by row, only over the keys that are there."""
    out = q.new_zeros(*q.shape[:-1], v.shape[-1])
    for n, there in enumerate(~padding):
        if there.any():
            weights = (q[n] @ k[n][:, there].transpose(1, 2) * scale).softmax(-1)
            out[n] = weights @ v[n][:, there]
    return out


def packed_softmax(q: Tensor, k: Tensor, v: Tensor, **options: Any) -> Tensor:
    """What a variable-length kernel computes, on packed `(tokens, heads, d)`, one sequence after the other."""
    out = torch.empty_like(q)
    starts_q, starts_k = options["cu_seqlens_q"].tolist(), options["cu_seqlens_k"].tolist()
    scale = options["softmax_scale"] or q.shape[-1] ** -0.5
    assert options["max_seqlen_q"] >= max(b - a for a, b in zip(starts_q, starts_q[1:], strict=False))
    assert options["max_seqlen_k"] >= max(b - a for a, b in zip(starts_k, starts_k[1:], strict=False))
    for i in range(len(starts_q) - 1):
        rows, keys = slice(starts_q[i], starts_q[i + 1]), slice(starts_k[i], starts_k[i + 1])
        weights = (torch.einsum("lhd,shd->hls", q[rows], k[keys]) * scale).softmax(-1)
        out[rows] = torch.einsum("hls,shd->lhd", weights, v[keys])
    return out


def example(rows: int, heads: int, queries: int, keys: int, seed: int = 0) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(rows, heads, n, 8, generator=generator) for n in (queries, keys, keys))
    return q, k, v, torch.rand(rows, keys, generator=generator) < 0.5


@settings(max_examples=30, deadline=None)
@given(sizes, sizes, sizes, sizes, st.integers(0, 1000))
def test_equals_the_explicit_softmax(rows: int, heads: int, queries: int, keys: int, seed: int) -> None:
    q, k, v, padding = example(rows, heads, queries, keys, seed)
    torch.testing.assert_close(attention(q, k, v, padding), explicit(q, k, v, padding, 8**-0.5))
    torch.testing.assert_close(attention(q, k, v, padding, scale=2.0), explicit(q, k, v, padding, 2.0))
    whole = torch.zeros_like(padding)
    torch.testing.assert_close(attention(q, k, v), explicit(q, k, v, whole, 8**-0.5))


def test_a_row_of_padding_gives_zeros_and_no_gradient() -> None:
    q, k, v, padding = example(3, 2, 4, 5)
    padding[0], padding[1] = True, False
    for x in (q, k, v):
        x.requires_grad_()
    out = attention(q, k, v, padding)
    out.square().sum().backward()
    assert out[0].abs().max() == 0 and out[1].abs().min() > 0
    for x in (q, k, v):
        assert x.grad.isfinite().all() and x.grad[0].abs().max() == 0 and x.grad[1].abs().max() > 0


def test_padded_keys_get_no_gradient() -> None:
    q, k, v, padding = example(2, 1, 3, 6)
    k.requires_grad_()
    attention(q, k, v, padding).square().sum().backward()
    assert k.grad[padding[:, None]].abs().max() == 0


def test_no_keys_at_all() -> None:
    q, k, v, _ = example(2, 3, 4, 1)
    out = attention(q, k[:, :, :0], v[:, :, :0], torch.zeros(2, 0, dtype=torch.bool))
    assert out.shape == q.shape and out.abs().max() == 0


def test_values_of_another_width() -> None:
    q, k, v, padding = example(2, 1, 3, 4)
    assert attention(q, k, v[..., :5], padding).shape == (2, 1, 3, 5)


@pytest.mark.parametrize("hidden", (0, 2, 6))
def test_one_row_of_keys_serves_many_of_values(monkeypatch: pytest.MonkeyPatch, hidden: int) -> None:
    q, k, v, _ = example(3, 2, 7, 6)
    monkeypatch.setattr("fewshot.nn.attention.WEIGHTS_AT_ONCE", 3 * 6)  # three queries at once
    padding = torch.arange(6)[None] < hidden
    with torch.no_grad():
        got = attention(q[:1], k[:1], v, padding, scale=0.7)
    rows = (x[:1].expand(3, -1, -1, -1) for x in (q, k))
    torch.testing.assert_close(got, attention(*rows, v, padding.expand(3, -1), scale=0.7))


def test_bf16_only_where_asked_for() -> None:
    q, k, v, padding = example(2, 2, 3, 4)
    exact, rounded = attention(q, k, v, padding), attention(q, k, v, padding, bf16=True)
    assert exact.dtype == rounded.dtype == torch.float32
    assert torch.equal(rounded, rounded.bfloat16().float()), "the result is a bfloat16 number"
    error = (exact - rounded).abs().max() / exact.abs().max()
    assert 1e-5 < error < 2e-2


def test_dropout_drops_weights() -> None:
    q, k, v, _ = example(1, 1, 64, 1)
    out = attention(q, k, v, dropout=0.5)
    dropped = out.abs().amax(-1) == 0
    assert 0 < dropped.sum() < 64
    torch.testing.assert_close(out[~dropped], (2 * v).expand_as(out)[~dropped])


@settings(max_examples=20, deadline=None)
@given(sizes, sizes, sizes, sizes, st.integers(0, 1000))
def test_packed_keys_are_the_same_attention(rows: int, heads: int, queries: int, keys: int, seed: int) -> None:
    q, k, v, padding = example(rows, heads, queries, keys, seed)
    padding[:, 0] = False
    out = packed_attention(q, k, v, padding, None, 0.0, kernel=packed_softmax)
    torch.testing.assert_close(out, attention(q, k, v, padding))
    whole = packed_attention(q, k, v, None, 0.3, 0.0, kernel=packed_softmax)
    torch.testing.assert_close(whole, attention(q, k, v, scale=0.3))


def test_multihead_is_that_of_torch() -> None:
    torch.manual_seed(0)
    ours = MultiheadAttention(16, 4)
    torch.manual_seed(0)
    theirs = nn.MultiheadAttention(16, 4, batch_first=True)
    for name, tensor in theirs.state_dict().items():
        assert torch.equal(tensor, ours.state_dict()[name]), "it starts from the same numbers"
    query, key = torch.randn(2, 5, 16), torch.randn(2, 7, 16)
    padding = torch.arange(7)[None] >= torch.tensor([[7], [3]])
    expected, _ = theirs(query, key, key, key_padding_mask=padding)
    torch.testing.assert_close(ours(query, key, key, padding), expected)


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="multiple of its heads, got 10 and 4"):
        MultiheadAttention(10, 4)

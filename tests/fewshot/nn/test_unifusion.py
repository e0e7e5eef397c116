"""UniFusion: identity at its start, parallel references, start as similarity, padding."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from fewshot.nn.attention import attention
from fewshot.nn.unifusion import OPEN_GATE, SHARPNESS, FusionReference, UniFusion


def reference(tokens: int, rows: int = 2, dim: int = 32, seed: int = 0) -> FusionReference:
    generator = torch.Generator().manual_seed(seed)
    keys, values = (torch.randn(rows, tokens, dim, generator=generator) for _ in range(2))
    embed = torch.randn(rows, dim, generator=generator)
    return FusionReference(keys, values, torch.zeros(rows, tokens, dtype=torch.bool), embed)


def open_gate(fusion: UniFusion) -> UniFusion:
    """With a random modulation, so that shift, scale and gate matter."""
    torch.nn.init.normal_(fusion.modulation.weight)
    torch.nn.init.normal_(fusion.modulation.bias)
    return fusion.eval()


def test_starts_as_the_identity_and_still_learns() -> None:
    torch.manual_seed(0)
    fusion, tokens = UniFusion(32, 2, 16), torch.randn(2, 5, 32)
    out = fusion(tokens, reference(3), reference(7, seed=1))
    assert torch.equal(out, tokens)
    out.square().sum().backward()
    assert fusion.modulation.bias.grad[64:].abs().min() > 0, "the gate learns first"


def test_no_reference_changes_nothing() -> None:
    tokens = torch.randn(2, 5, 32)
    assert torch.equal(open_gate(UniFusion(32, 2, 16))(tokens, None, None), tokens)


def test_both_references_are_read_by_the_original_tokens() -> None:
    torch.manual_seed(0)
    fusion, tokens = open_gate(UniFusion(32, 2, 16)), torch.randn(2, 5, 32)
    language, mask = reference(3), reference(7, seed=1)
    deltas = [fusion(tokens, language, None) - tokens, fusion(tokens, None, mask) - tokens]
    torch.testing.assert_close(fusion(tokens, language, mask) - tokens, sum(deltas), rtol=1e-4, atol=1e-4)
    in_sequence = fusion(fusion(tokens, language, None), None, mask)
    assert not torch.allclose(fusion(tokens, language, mask), in_sequence, atol=1e-2)


def test_padded_tokens_are_not_read() -> None:
    torch.manual_seed(0)
    fusion, tokens, whole = open_gate(UniFusion(32, 2, 16)), torch.randn(2, 5, 32), reference(6)
    padding = whole.padding.clone()
    padding[:, 4:] = True
    spoilt = whole.keys.clone()
    spoilt[:, 4:] = 100.0
    short = FusionReference(whole.keys[:, :4], whole.values[:, :4], whole.padding[:, :4], whole.embed)
    padded = FusionReference(spoilt, whole.values, padding, whole.embed)
    torch.testing.assert_close(fusion(tokens, None, padded), fusion(tokens, None, short))


def test_a_reference_of_padding_only_adds_what_its_embedding_says() -> None:
    torch.manual_seed(0)
    fusion, tokens, empty = open_gate(UniFusion(32, 2, 16)), torch.randn(2, 5, 32), reference(4)
    out = fusion(tokens, None, FusionReference(empty.keys, empty.values, ~empty.padding, empty.embed))
    assert out.isfinite().all()
    torch.testing.assert_close((out - tokens).std(1), torch.zeros(2, 32), atol=1e-6, rtol=0)


def matched(dim: int, heads: int, head_dim: int) -> tuple[Tensor, Tensor, Tensor]:
    """What tokens bring back from a reference that holds the same features in reverse order."""
    torch.manual_seed(0)
    fusion = UniFusion(dim, heads, head_dim).eval()
    fusion.start_as_similarity()
    keys = 3 + 5 * torch.randn(1, 6, dim)
    values = torch.randn(1, 6, dim)
    whole = torch.zeros(1, 6, dtype=torch.bool)
    out = fusion(keys, None, FusionReference(keys.flip(1), values, whole, torch.randn(1, dim)))
    return (out - keys)[0] / OPEN_GATE, values[0].flip(0), values[0].mean(0)


@pytest.mark.parametrize(("dim", "heads", "head_dim"), [(64, 4, 64), (128, 8, 64), (64, 2, 128)])
def test_starts_as_similarity(dim: int, heads: int, head_dim: int) -> None:
    """A place finds the place with its own feature and brings back that place's value as it is."""
    found, wanted, average = matched(dim, heads, head_dim)
    assert (found - wanted).norm() < 0.25 * (average - wanted).norm()


def test_heads_that_are_too_narrow_bring_back_a_projection() -> None:
    found, wanted, average = matched(64, 2, 8)
    similarity = torch.nn.functional.cosine_similarity(found, wanted - average)
    assert similarity.mean() > 0.3 and found.norm() < 0.8 * wanted.norm()


@pytest.mark.parametrize(("dim", "head_dim"), [(64, 16), (64, 64), (64, 256)])
def test_the_sharpness_does_not_depend_on_the_width_of_a_head(dim: int, head_dim: int) -> None:
    torch.manual_seed(0)
    fusion = UniFusion(dim, 4, head_dim)
    fusion.start_as_similarity()
    x = torch.nn.functional.layer_norm(torch.randn(1000, dim), (dim,))
    query = fusion.query(x).detach().view(1000, 4, head_dim)
    products = (query * fusion.key(x).detach().view_as(query)).sum(-1)
    assert float(products.mean() / head_dim**0.5) == pytest.approx(SHARPNESS, 0.05)


def test_bf16_changes_little() -> None:
    torch.manual_seed(0)
    fusion, tokens, mask = open_gate(UniFusion(32, 2, 16)), torch.randn(2, 5, 32), reference(7)
    exact = fusion(tokens, None, mask)
    fusion.bf16 = True
    rounded = fusion(tokens, None, mask)
    error = (exact - rounded).abs().max() / (exact - tokens).abs().max()
    assert rounded.dtype == torch.float32 and 1e-6 < error < 2e-2


def test_an_image_that_is_asked_several_times_is_given_once() -> None:
    torch.manual_seed(0)
    fusion, tokens = open_gate(UniFusion(32, 2, 16)), torch.randn(2, 5, 32)
    words, shared, own = reference(3, rows=6), reference(7, seed=1), reference(7, rows=6, seed=2)
    copies = tokens.repeat_interleave(3, 0)
    each = FusionReference(
        *(x.repeat_interleave(3, 0) for x in (shared.keys, shared.values, shared.padding, shared.embed))
    )
    torch.testing.assert_close(fusion(tokens, words, shared), fusion(copies, words, each))
    torch.testing.assert_close(fusion(tokens, words, own), fusion(copies, words, own))
    assert fusion(tokens, None, shared).shape == tokens.shape


def test_references_of_the_same_frames_share_their_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    """As objects of a video do, that differ in their values alone."""
    torch.manual_seed(0)
    rows: list[tuple[int, int]] = []

    def counted(query: Tensor, key: Tensor, *rest: Tensor | None, **options: Any) -> Tensor:
        rows.append((len(query), len(key)))
        return attention(query, key, *rest, **options)

    monkeypatch.setattr("fewshot.nn.unifusion.attention", counted)
    fusion, tokens, objects = open_gate(UniFusion(32, 2, 16)), torch.randn(1, 5, 32), reference(7, rows=3)
    padding = torch.arange(7).expand(3, -1) > 4
    same = FusionReference(objects.keys[:1].repeat(3, 1, 1), objects.values, padding, objects.embed)
    other = replace(same, padding=padding & torch.tensor([True, True, False])[:, None])
    for alike, mask in ((True, same), (False, replace(same, keys=objects.keys)), (False, other)):
        plain = fusion(tokens, None, mask)
        with torch.no_grad():
            torch.testing.assert_close(fusion(tokens, None, mask), plain)
        assert rows == [(3, 3), (1, 1) if alike else (3, 3)], "with gradients, and without"
        rows.clear()

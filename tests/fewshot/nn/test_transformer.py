"""Deformable attention, queries, mask head and pixel decoder on small numbers."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from fewshot.nn.deformable_attention import DeformableAttention, gathered, sampled
from fewshot.nn.deformable_transformer import pixel_references
from fewshot.nn.fpn import VisionLanguageBlock
from fewshot.nn.fusion import Words
from fewshot.nn.mask_head import DynamicMaskHead
from fewshot.nn.mlp import HIDDEN_AT_ONCE, MLP, FeedForward
from fewshot.nn.norms import group_norm
from fewshot.nn.padding import valid_ratios
from fewshot.nn.positions import sine_2d
from fewshot.nn.queries import AnchorQueries, TextQueries, inverse_sigmoid


def test_deformable_attention_reads_where_it_points() -> None:
    """With no offsets and equal weights, the value at a reference at a cell centre is that cell's value."""
    attention = DeformableAttention(8, heads=2, levels=1, points=3)
    for linear in (attention.value_proj, attention.output_proj):
        torch.nn.init.eye_(linear.weight)
    torch.nn.init.zeros_(attention.sampling_offsets.bias)
    memory = torch.randn(1, 12, 8)
    references = pixel_references([(3, 4)], torch.ones(1, 1, 2))
    torch.testing.assert_close(attention(torch.randn(1, 12, 8), references, memory, [(3, 4)]), memory)


@pytest.mark.parametrize("levels", [[(5, 7)], [(6, 9), (3, 5), (1, 2)]])
def test_gathered_rows_are_sampled_points(levels: list[tuple[int, int]]) -> None:
    """Inside, between, at the edge of and far beyond the cells; what is not a number stays so, in its query alone."""
    cells = sum(h * w for h, w in levels)
    values, weights = torch.randn(2, cells, 3, 4), torch.rand(2, 6, 3, len(levels), 5)
    at = torch.rand(2, 6, 3, len(levels), 5, 2) * 2 - 0.5
    at[0, 0], at[0, 1], at[0, 2] = 0.0, 1.0, -40.0
    expected = sampled(values, levels, at, weights)
    torch.testing.assert_close(gathered(values, levels, at, weights), expected)
    assert not expected[0, 2].any()
    at[1, 3, 1] = torch.nan
    found = gathered(values, levels, at, weights)
    assert found[1, 3, 1].isnan().all() and found.isnan().sum() == 4


def test_attention_without_gradients_is_the_same() -> None:
    attention, shapes = DeformableAttention(16, heads=4, levels=2, points=3), [(6, 8), (3, 4)]
    torch.nn.init.normal_(attention.sampling_offsets.weight)
    query, references, memory = torch.randn(2, 7, 16), torch.rand(2, 7, 2, 4), torch.randn(2, 60, 16)
    expected = attention(query, references, memory, shapes)
    with torch.no_grad():
        torch.testing.assert_close(attention(query, references, memory, shapes), expected)


def test_deformable_attention_does_not_read_padding() -> None:
    attention = DeformableAttention(8, heads=2, levels=2, points=2)
    shapes, padding = [(3, 4), (2, 2)], torch.zeros(1, 16, dtype=torch.bool)
    padding[0, 5:9] = True
    query, references, memory = torch.randn(1, 6, 8), torch.rand(1, 6, 2, 2), torch.randn(1, 16, 8)
    changed = memory.masked_fill(padding[..., None], 9.0)
    out = attention(query, references, memory, shapes, padding)
    torch.testing.assert_close(out, attention(query, references, changed, shapes, padding))


def test_pixel_references_are_fractions_of_the_valid_part() -> None:
    padding = torch.zeros(1, 4, 8, dtype=torch.bool)
    padding[:, 2:], padding[:, :, 4:] = True, True
    ratios = valid_ratios([padding])
    assert ratios.tolist() == [[[0.5, 0.5]]]
    grid = pixel_references([(4, 8)], ratios)[0, :, 0].view(4, 8, 2)
    assert grid[0, 0].tolist() == [1 / 16, 1 / 8] and grid[1, 3].tolist() == [7 / 16, 3 / 8]


def test_anchors_of_the_first_layer() -> None:
    """As released, level l sees the l-th coordinate of the anchor four times; clean, every level sees the box."""
    ratios = torch.ones(2, 4, 2)
    for clean in (False, True):
        queries = AnchorQueries(3, 16, clean_anchors=clean)
        boxes = queries.start(torch.zeros(2, 16)).references
        first, later = (queries.references(layer, boxes, ratios) for layer in (0, 1))
        assert torch.equal(later, boxes[:, :, None].expand(-1, -1, 4, -1))
        assert torch.equal(first, later) if clean else torch.equal(first, boxes[..., None].expand(-1, -1, -1, 4))
    with pytest.raises(ValueError, match="4 levels"):
        AnchorQueries(3, 16, levels=3)


def test_text_queries_are_the_sentence() -> None:
    queries = TextQueries(3, 16)
    sentence = torch.randn(2, 16)
    content, points, positions, _ = queries.start(sentence)
    assert torch.equal(content[:, 2], sentence) and points.shape == (2, 3, 2)
    assert positions is not None and positions.shape == (2, 3, 16)


def test_inverse_sigmoid() -> None:
    x = torch.tensor([0.1, 0.5, 0.9])
    torch.testing.assert_close(inverse_sigmoid(x).sigmoid(), x)
    assert inverse_sigmoid(torch.tensor([0.0, 1.0, 2.0])).isfinite().all()


def test_mask_head_is_a_stack_of_convolutions() -> None:
    """The same weights, one query at a time, through `conv2d`."""
    head = DynamicMaskHead(6, channels=4)
    features, parameters = torch.randn(2, 6, 5, 7), torch.randn(2, 3, head.num_parameters)
    points, sizes = torch.rand(2, 3, 2), torch.tensor([[20, 28], [16, 24]])
    out = head(features, parameters, points, sizes)
    relative = head.relative(points, sizes, (5, 7)).view(2, 3, 2, 5, 7)
    assert relative[0, 0, 0, 0, 0] == points[0, 0, 0] * 28 - 2 and relative[1, 2, 1, 1, 0] == points[1, 2, 1] * 16 - 6
    for n in range(2):
        for q in range(3):
            w1, w2, w3, b1, b2, b3 = parameters[n, q].split(head.splits)
            x = torch.cat([features[n], relative[n, q]])[None]
            x = F.conv2d(x, w1.view(4, 8, 1, 1), b1).relu()
            x = F.conv2d(x, w2.view(4, 4, 1, 1), b2).relu()
            torch.testing.assert_close(out[n, q], F.conv2d(x, w3.view(1, 4, 1, 1), b3)[0, 0], rtol=1e-4, atol=1e-4)


def test_released_mask_head_takes_2153_numbers() -> None:
    assert DynamicMaskHead(256).num_parameters == 2153
    with pytest.raises(ValueError, match="divide"):
        DynamicMaskHead(256, stride=4, out_stride=3)


def test_feed_forward_in_portions_is_the_same() -> None:
    block = FeedForward(4, 8, 0.0).eval()
    x = torch.randn(1, HIDDEN_AT_ONCE["cpu"] // 8 + 7, 4)
    with torch.no_grad():
        portions = block(x)
    torch.testing.assert_close(portions, block(x).detach())


def test_too_small_features_are_refused() -> None:
    block = VisionLanguageBlock(16, 4, 16, 0.0, reduction=8)
    words = Words(torch.zeros(1, 2, 16), torch.zeros(1, 2, dtype=torch.bool), torch.zeros(1, 2, 16), torch.zeros(1, 16))
    padding = torch.zeros(1, 7, 9, dtype=torch.bool)
    with pytest.raises(ValueError, match="7x9 cells at stride 4 .* at least 29 pixels"):
        block(torch.zeros(1, 1, 16, 7, 9), sine_2d(padding, 16), padding, words)


def test_padded_words_do_not_matter() -> None:
    block = VisionLanguageBlock(16, 4, 16, 0.0, reduction=1).eval()
    padding = torch.zeros(1, 3, 4, dtype=torch.bool)
    features = torch.randn(1, 4, 16)
    x, positions = torch.randn(1, 2, 16, 3, 4), sine_2d(padding, 16)
    ignored = torch.tensor([[False, False, True, True]])
    outs = []
    for value in (0.0, 5.0):
        words = Words(
            features.masked_fill(ignored[..., None], value), ignored, torch.zeros(1, 4, 16), torch.zeros(1, 16)
        )
        outs.append(block(x, positions, padding, words))
    torch.testing.assert_close(outs[0], outs[1])


@pytest.mark.parametrize(
    ("channels", "groups", "expected"), [(256, 32, 32), (256, 8, 8), (64, 32, 8), (32, 8, 4), (4, 8, 1)]
)
def test_group_counts(channels: int, groups: int, expected: int) -> None:
    assert group_norm(channels, groups).num_groups == expected


def test_an_mlp_needs_two_sizes() -> None:
    assert MLP(4, 8, 2)(torch.zeros(3, 5, 4)).shape == (3, 5, 2)
    with pytest.raises(ValueError, match="input and an output"):
        MLP(4)


def test_reference_points_stay_in_float32_under_autocast() -> None:
    queries = TextQueries(5, 32)
    exact = queries.start(torch.randn(2, 32))[1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert torch.equal(queries.start(torch.randn(2, 32))[1], exact)

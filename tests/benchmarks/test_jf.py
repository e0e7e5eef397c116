"""J and F against the definition written down with scipy, and their edge cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import ndimage

from benchmarks.metrics import boundary_f, boundary_map, j_and_f, jaccard
from benchmarks.metrics.jf import boundary_radius
from experiments.speed.jf import dilation_j_and_f, distance_j_and_f, synthetic_masks


def slow_boundary(mask: np.ndarray) -> np.ndarray:
    """Pixel by pixel: differs from the right, lower or lower-right neighbour inside the image."""
    height, width = mask.shape
    edge = np.zeros_like(mask)
    for y, x in np.ndindex(height, width):
        ahead = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
        edge[y, x] = any(mask[y, x] != mask[v, u] for v, u in ahead if v < height and u < width)
    return edge


def slow_j_and_f(pred: np.ndarray, gt: np.ndarray, void: np.ndarray | None, bound_th: float) -> tuple[float, float]:
    """No crop, no bits: dilation of the whole map with the disk."""
    if void is not None:
        pred, gt = pred & ~void, gt & ~void
    union = (pred | gt).sum()
    j = (pred & gt).sum() / union if union else 1.0
    radius = bound_th if bound_th >= 1 else math.ceil(bound_th * np.linalg.norm(gt.shape))
    rows, cols = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = rows**2 + cols**2 <= radius**2
    p, g = slow_boundary(pred), slow_boundary(gt)
    if not p.any() or not g.any():
        return j, float(p.any() == g.any())
    precision = (p & ndimage.binary_dilation(g, disk)).sum() / p.sum()
    recall = (g & ndimage.binary_dilation(p, disk)).sum() / g.sum()
    return j, 2 * precision * recall / (precision + recall) if precision + recall else 0.0


@st.composite
def mask_triples(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray, np.ndarray | None]:
    """Prediction, truth and perhaps void of one size: noise, or unions of rectangles (that may touch the border)."""
    shape = draw(st.tuples(st.integers(1, 40), st.integers(1, 40)))
    noise = arrays(bool, shape, elements=st.booleans())

    @st.composite
    def rectangles(draw: st.DrawFn) -> np.ndarray:
        mask = np.zeros(shape, bool)
        for _ in range(draw(st.integers(0, 3))):
            (top, bottom), (left, right) = (sorted(draw(st.tuples(*[st.integers(0, side)] * 2))) for side in shape)
            mask[top:bottom, left:right] ^= True
        return mask

    mask = st.one_of(rectangles(), noise)
    return draw(mask), draw(mask), draw(st.one_of(st.none(), mask))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(mask_triples(), st.sampled_from([0.008, 0.010, 0.05, 0.2, 1, 2, 3, 7]))
def test_equals_the_definition(masks: tuple, bound_th: float) -> None:
    pred, gt, void = masks
    expected = slow_j_and_f(pred, gt, void, bound_th)
    assert j_and_f(pred, gt, void, bound_th) == pytest.approx(expected, abs=1e-12)
    assert (jaccard(pred, gt, void), boundary_f(pred, gt, void, bound_th)) == pytest.approx(expected, abs=1e-12)


@settings(max_examples=50, deadline=None)
@given(arrays(bool, st.tuples(st.integers(1, 12), st.integers(1, 12))))
def test_boundary_map_pixel_by_pixel(mask: np.ndarray) -> None:
    assert np.array_equal(boundary_map(mask), slow_boundary(mask))


@pytest.mark.parametrize(
    ("shape", "bound_th", "radius"),
    [
        ((480, 854), 0.008, 8),
        ((480, 910), 0.008, 9),
        ((480, 1152), 0.008, 10),
        ((1080, 1920), 0.008, 18),
        ((480, 854), 0.010, 10),
        ((300, 400), 0.010, 5),
        ((48, 64), 0.008, 1),
        ((480, 854), 3, 3),
    ],
)
def test_radius(shape: tuple[int, int], bound_th: float, radius: int) -> None:
    assert boundary_radius(shape, bound_th) == radius


def test_full_and_empty_masks() -> None:
    full, empty = np.ones((20, 30), bool), np.zeros((20, 30), bool)
    half = full & (np.arange(30) < 15)
    assert j_and_f(empty, empty) == (1.0, 1.0)
    assert j_and_f(full, empty) == (0.0, 1.0)  # neither has a boundary
    assert j_and_f(full, full) == (1.0, 1.0)
    assert j_and_f(full, half) == (0.5, 0.0)


def test_radius_comes_from_the_whole_image_not_from_the_crop() -> None:
    pred, gt = np.zeros((2, 480, 854), bool)
    pred[100:110, 100:110], gt[100:110, 108:118] = True, True
    assert boundary_f(pred, gt) == 1.0
    assert boundary_f(pred[95:125, 95:125], gt[95:125, 95:125]) < 1.0


def test_integer_masks_count_above_zero() -> None:
    pred, gt = np.zeros((2, 9, 9), np.uint8)
    pred[2:5, 2:5], gt[2:5, 2:5] = 255, 1
    assert j_and_f(pred, gt) == (1.0, 1.0)


@pytest.mark.parametrize("bound_th", [0, -0.1, 1.5])
def test_impossible_tolerance(bound_th: float) -> None:
    with pytest.raises(ValueError, match="bound_th"):
        boundary_f(np.ones((3, 3), bool), np.ones((3, 3), bool), bound_th=bound_th)


def test_sizes_must_agree() -> None:
    with pytest.raises(ValueError, match=r"\(3, 4\).*\(4, 3\)"):
        j_and_f(np.ones((3, 4), bool), np.ones((4, 3), bool))
    with pytest.raises(ValueError, match=r"void \(3, 3\)"):
        jaccard(np.ones((3, 4), bool), np.ones((3, 4), bool), np.ones((3, 3), bool))


def test_the_definitions_written_down_give_the_same_at_full_size() -> None:
    pred, gt = (masks[0] for masks in synthetic_masks(1)["blob1"])
    for slow in (dilation_j_and_f, distance_j_and_f):
        assert slow(pred, gt) == pytest.approx(j_and_f(pred, gt), rel=0, abs=1e-12)

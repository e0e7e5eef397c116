"""Counting a unit n times is the same as having its scores n times: the ground of every bootstrap."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.ratios import mean_ratio
from benchmarks.protocols import PROTOCOLS
from benchmarks.scores.sums import Units, UnitTotals
from tests.benchmarks.test_image_report import image
from tests.benchmarks.test_report import query

SCORES = {
    "query": [
        query(0.1 * k, 1 - 0.1 * k, video=f"v{k // 2}", expression_id=str(k), class_id=k % 4 // 2, frames=3 + k)
        for k in range(10)
    ],
    "image": [image(3 * k, 40 + k, episode=k, name=f"i{k // 2}", class_id=k % 4 // 2) for k in range(10)],
}


@settings(max_examples=20)
@given(st.data(), st.sampled_from(sorted(PROTOCOLS)))
def test_counts_are_repetitions(data: st.DataObject, name: str) -> None:
    protocol = PROTOCOLS[name]
    scores = SCORES["image" if name in ("hsnet", "pfenet", "bam", "uniref") else "query"]
    keys = Units.of(scores).keys
    counts = data.draw(st.lists(st.integers(0, 3), min_size=len(keys), max_size=len(keys)).filter(any))
    often = dict(zip(keys, counts, strict=True))
    repeated = [replace(s, episode=n) for s in scores for n in range(often[s.class_id, s.unit])]
    found = protocol.sums(scores).averages(np.array([counts], float))
    expected = protocol.sums(repeated)
    np.testing.assert_allclose(found[0], expected.averages(np.ones((1, expected.units)))[0], atol=1e-12)


def test_units_of_a_class_lie_side_by_side() -> None:
    units = Units.of(SCORES["image"])
    assert units.keys == ((0, "i0"), (0, "i2"), (0, "i4"), (1, "i1"), (1, "i3"))
    assert units.by_class() == (slice(0, 3), slice(3, 5)) and units.pooled() == (slice(0, 5),)


def test_what_was_not_scored_is_left_out_and_an_empty_union_is_not() -> None:
    part, whole = np.array([[[1.0], [0.0]], [[2.0], [0.0]]]), np.array([[[2.0], [0.0]], [[2.0], [0.0]]])
    seen = np.array([[1.0, 1.0], [1.0, 0.0]])  # the second seed did not draw the second class
    totals = UnitTotals(part, whole, seen, (slice(0, 1), slice(1, 2)))
    assert mean_ratio(totals.drawn(np.ones((1, 2))))[0, :, 0].tolist() == [0.25, 1.0]
    assert np.isnan(mean_ratio(totals.drawn(np.array([[0.0, 1.0]])))[0, 1, 0])


@pytest.mark.parametrize("name", sorted(PROTOCOLS))
def test_every_protocol_gives_all_its_columns(name: str) -> None:
    protocol = PROTOCOLS[name]
    scores = SCORES["image" if protocol.measures[0] == "mIoU" else "query"]
    sums = protocol.sums(scores)
    assert sums.averages(np.ones((1, sums.units))).shape == (1, 1, len(protocol.columns))
    assert set(protocol.basic) <= set(protocol.measures) <= set(protocol.columns)

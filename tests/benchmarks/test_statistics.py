"""Mean, recall and decay of a sequence."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.metrics.statistics import sequence_statistics


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=600))
def test_equals_the_definition(values: list[float]) -> None:
    limits = (np.round(np.linspace(1, len(values), 5) + 1e-10) - 1).astype(int)
    first, last = values[limits[0] : limits[1] + 1], values[limits[3] : limits[4] + 1]
    found = sequence_statistics(values)
    assert found.mean == pytest.approx(np.mean(values))
    assert found.recall == pytest.approx(sum(value > 0.5 for value in values) / len(values))
    assert found.decay == pytest.approx(np.mean(first) - np.mean(last))


@settings(deadline=None)
@given(st.lists(st.floats(0, 1), min_size=1, max_size=255))
def test_wrapping_changes_nothing_below_256_frames(values: list[float]) -> None:
    assert sequence_statistics(values) == sequence_statistics(values, wrapped_ids=True)


def test_wrapped_frame_numbers() -> None:
    falling = np.linspace(1, 0, 1025)
    assert sequence_statistics(falling).decay == pytest.approx(0.75)
    assert sequence_statistics(falling, wrapped_ids=True).decay == 0.0
    assert math.isnan(sequence_statistics(falling[:300], wrapped_ids=True).decay)


def test_frames_without_a_score() -> None:
    found = sequence_statistics([math.nan, 1.0, 1.0, 0.0])
    assert found.mean == pytest.approx(2 / 3)
    assert found.recall == 0.5
    nothing = sequence_statistics([math.nan, math.nan])
    assert math.isnan(nothing.mean) and nothing.recall == 0.0 and math.isnan(nothing.decay)


def test_exactly_one_half_is_no_success() -> None:
    assert sequence_statistics([0.5, 0.5]).recall == 0.0


@pytest.mark.parametrize("values", [[], [[0.5]]])
def test_needs_a_list_of_values(values: list) -> None:
    with pytest.raises(ValueError, match="values"):
        sequence_statistics(values)

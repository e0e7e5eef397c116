"""Reading golden cases: numbers with `null` for NaN, and comparison within the tolerance of the cases."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

TOLERANCE = 1e-9


def read_json(path: Path) -> Any:
    """The content of a case file."""
    return json.loads(path.read_text(encoding="utf-8"))


def numbers(values: Any) -> np.ndarray:
    """Array of (nested lists of) numbers; `null` is NaN."""
    return np.array(values, dtype=object if values is None else None).astype(np.float64)


def assert_same(actual: ArrayLike, expected: Any, what: str) -> None:
    """Equal within the tolerance, NaN where and only where `null` is expected."""
    np.testing.assert_allclose(
        np.asarray(actual, np.float64), numbers(expected), rtol=0, atol=TOLERANCE, equal_nan=True, err_msg=what
    )

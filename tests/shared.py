"""Finds the reference cases and small data sets under `FEWSHOT_SHARED` (default `../shared`)."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

SHARED = Path(os.environ.get("FEWSHOT_SHARED", "../shared"))
if not SHARED.is_absolute():
    SHARED = (Path(__file__).resolve().parents[1] / SHARED).resolve()


def require_shared(*parts: str) -> Path:
    """The path `SHARED/parts`; a missing one skips the test with the reason, and fails it in CI (`CI=true`)."""
    path = SHARED.joinpath(*parts)
    if not path.exists():
        reason = f"{path} is missing: set FEWSHOT_SHARED to the folder with the shared reference data"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)
    return path


def shared_cases(*parts: str, marker: str, want: Callable[[Path], bool] = lambda path: True) -> list:
    """One pytest parameter per entry of `SHARED/parts` that `want` accepts; the folder's own name if it is missing.

    A test calls `require_shared` on its parameter first, so that a missing folder is one skipped (or failed) test.
    """
    folder = SHARED.joinpath(*parts)
    found = sorted(p for p in folder.iterdir() if want(p)) if folder.exists() else [folder]
    mark = getattr(pytest.mark, marker)
    return [pytest.param(p, id=p.stem if p.is_file() else p.name, marks=mark) for p in found]

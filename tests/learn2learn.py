"""Skips what needs learn2learn where it is not installed; in CI (`CI=true`) such a test fails."""

from __future__ import annotations

import importlib.util
import os

import pytest

from fewshot.adaptation.learner import INSTALL


def require_learn2learn() -> None:
    """Skip the test with the reason, or fail it in CI, unless learn2learn is installed."""
    if importlib.util.find_spec("learn2learn") is None:
        reason = f"learn2learn is not installed: {INSTALL}"
        if os.environ.get("CI") == "true":
            pytest.fail(reason)
        pytest.skip(reason)

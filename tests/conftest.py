"""Set-up that every test shares: one thread for torch, no account, no network; imported names are no tests."""

from __future__ import annotations

import os

os.environ.setdefault("WANDB_MODE", "disabled")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.setdefault("MPLBACKEND", "Agg")

import pytest
import torch

ROOMS = ("episodes", "benchmarks", "fewshot", "experiments")


@pytest.hookimpl(tryfirst=True)
def pytest_pycollect_makeitem(collector: pytest.Collector, name: str, obj: object) -> list[pytest.Item] | None:
    """Leave out what a test file imports from the package: `test_episodes` and `TestConfig` are no tests."""
    home = getattr(obj, "__module__", None)
    foreign = isinstance(home, str) and home.split(".")[0] in ROOMS and isinstance(collector, pytest.Module)
    return [] if foreign else None


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    """Tiny networks are slower on several threads, far slower where other processes want the cores too."""
    torch.set_num_threads(1)

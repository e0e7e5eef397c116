"""Fixtures of the tests of training stages."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from fewshot.cli.composition import register_schemas
from tests.fewshot.training.stages import write_data


@pytest.fixture
def schemas() -> None:
    register_schemas()
    torch.set_num_threads(1)  # these networks are too small for more


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Small data of every kind."""
    return write_data(tmp_path)

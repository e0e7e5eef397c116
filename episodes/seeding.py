"""Randomness from names: every draw has a generator of its own, derived from what it is for. No global state."""

from __future__ import annotations

import hashlib
import json
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import torch


def derive(*keys: str | int) -> int:
    """A 63-bit seed from `keys`, the same on every machine and Python version; `1` and `"1"` are different keys."""
    digest = hashlib.sha256(json.dumps(keys).encode()).digest()
    return int.from_bytes(digest[:8], "big") >> 1


def generator(*keys: str | int) -> torch.Generator:
    """A CPU torch generator seeded by `derive(*keys)`."""
    import torch  # here, since a configuration derives seeds without waiting for torch

    return torch.Generator().manual_seed(derive(*keys))


def rng(*keys: str | int) -> np.random.Generator:
    """A numpy generator seeded by `derive(*keys)`."""
    return np.random.default_rng(derive(*keys))

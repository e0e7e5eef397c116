"""A system of one's own, as a user writes it in a module beside the command."""

from __future__ import annotations

from pathlib import Path

import pytest

MODULE = '''
from dataclasses import dataclass

import torch
from torch import nn

from fewshot.config.keys import key
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.spec import SystemSpec


@dataclass
class BlobsConfig(SystemConfig):
    """Blobs."""

    name: str = key("blobs", "the system")
    width: int = key(4, "parameters of a blob", minimum=1)


class Blobs(System):
    """Finds nothing, with `width` parameters."""

    name = "blobs"
    accepts = frozenset({"support", "expression"})
    needs = frozenset({"support"})
    settings = BlobsConfig

    def __init__(self, width):
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(width))

    def encode_supports(self, supports, shots):
        return None

    def forward(self, queries, state):
        n, t, _, height, width = queries.frames.shape
        return Prediction(self.weight.sum().expand(n, t, 1, height // 4, width // 4) - 1)

    def losses(self, prediction, queries, num_frames=None):
        raise NotImplementedError


SPEC = SystemSpec("blobs", BlobsConfig, Blobs.from_settings, needs_training=False)
'''


def write_module(folder: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Write the module into a folder, which is then looked at by `import`; returns its name, a new one each time."""
    name = f"blobs_of_{folder.name}".replace("-", "_")
    (folder / f"{name}.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(folder))
    return name

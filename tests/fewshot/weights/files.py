"""Files as the released code of CMA writes them."""

from __future__ import annotations

import argparse
import collections
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from fewshot.systems.cma.checkpoint import TABLE
from fewshot.systems.cma.model import CMA


def official(model: CMA) -> dict[str, Tensor]:
    """The state of a model under official names, aliases included."""
    return {name: value for own, value in model.state_dict().items() for name in TABLE.to_official(own)}


def legacy_file(path: Path, state: dict[str, Tensor]) -> Path:
    """A file as the official training writes it: the old pickle, with its arguments."""
    args = argparse.Namespace(lr=1e-4, device="cpu", epochs=24, weight=np.float64(0.5))
    schedule = {"milestones": collections.Counter([3, 5]), "last_epoch": 4}
    content = {"model": state, "optimizer": {"state": {}}, "lr_scheduler": schedule, "epoch": 4, "args": args}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    return path

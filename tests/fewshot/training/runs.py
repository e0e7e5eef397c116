"""Programs that train a tiny system, and what they leave."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import torch

from fewshot.weights.checkpoint import load_checkpoint
from tests.fewshot.training.tiny_system import Rows

ROOT = Path(__file__).resolve().parents[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}


def program(folder: Path, *options: str) -> list[str]:
    return [sys.executable, "-m", "tests.fewshot.training.tiny_system", str(folder), *options]


def run(command: list[str], timeout: float = 300) -> subprocess.CompletedProcess[str]:
    return subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=timeout)


def weights(folder: Path, step: int) -> dict[str, torch.Tensor]:
    return load_checkpoint(folder / "checkpoints" / f"step_{step:08d}.pt")["model"]


def assert_same_run(one: Path, other: Path, step: int) -> None:
    assert Rows(one / "rows.jsonl").losses() == Rows(other / "rows.jsonl").losses()
    first, second = weights(one, step), weights(other, step)
    assert first.keys() == second.keys()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert weights_of_best(one) == weights_of_best(other)


def weights_of_best(folder: Path) -> tuple[int, float | None]:
    state = load_checkpoint(folder / "checkpoints" / "best.pt")
    return state["step"], state["best_score"]

"""What runs on a GPU machine needs torch, torchvision, transformers and little else."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
NOT_NEEDED = ("wandb", "rich", "pycocotools", "hydra", "omegaconf", "matplotlib", "av", "hypothesis", "flash_attn")
HIDE = f"""
import sys

class Without:
    def __init__(self, finder):
        self.finder = finder

    def __getattr__(self, name):
        return getattr(self.finder, name)

    def find_spec(self, name, path=None, target=None):
        return None if name.split(".")[0] in {NOT_NEEDED!r} else self.finder.find_spec(name, path, target)

sys.meta_path[:] = map(Without, sys.meta_path)
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    """Python code in the checkout, where the modules that are not needed are missing, and no device is visible."""
    environment = {
        **os.environ,
        "CUDA_VISIBLE_DEVICES": "",
        "PYTHONPATH": str(ROOT),
        "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
    }
    command = [sys.executable, "-c", HIDE + code]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)


@pytest.mark.slow
def test_the_gpu_tests_are_skipped_with_the_reason() -> None:
    done = python("import pytest\nraise SystemExit(pytest.main(['-m', 'gpu', '-p', 'no:cacheprovider', 'tests/gpu']))")
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    last = done.stdout.strip().splitlines()[-1]
    assert "skipped" in last and "passed" not in last and "error" not in last, last
    assert "torch finds no CUDA device" in done.stdout


@pytest.mark.slow
def test_they_are_missing_here() -> None:
    done = python("import importlib.util\nprint([importlib.util.find_spec(n) for n in ('wandb', 'rich', 'torch')][:2])")
    assert done.stdout.strip() == "[None, None]", done.stderr


@pytest.mark.slow
def test_the_timings_are_skipped_with_the_reason() -> None:
    done = python("from experiments.speed.gpu import main\nmain()")
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout == "skipped: torch finds no CUDA device\n"

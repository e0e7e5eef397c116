"""The wheel, built once for all tests of the package."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fewshot", "episodes", "benchmarks", "experiments")
NOT_OURS = shutil.ignore_patterns("__pycache__", "*.pyc", "*.egg-info", "build", "runs")


@pytest.fixture(scope="session")
def built(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The wheel, and everything that pip and setuptools said while they built it from a clean copy."""
    source, out = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for entry in ROOT.iterdir():
        if entry.is_file() and entry.suffix != ".pyc" and entry.name != ".git":
            shutil.copy(entry, source)
    for folder in (*PACKAGES, "tests", "docs", "ledger"):
        shutil.copytree(ROOT / folder, source / folder, ignore=NOT_OURS)
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONDONTWRITEBYTECODE", "PYTHONPATH")}
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "wheel", "--verbose"]
    done = subprocess.run(
        [*pip, "--no-deps", "--no-build-isolation", "--no-index", "--wheel-dir", str(out), str(source)],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    (wheel,) = out.glob("*.whl")
    return wheel, done.stdout + done.stderr

"""Sweeps of a program that takes no time."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parents[3]
STUB = Path(__file__).with_name("stub.py")
COMMAND = ["${env}", "${interpreter}", str(STUB), "${args_no_hyphens}"]
FOLDS = {"group": {"values": [1, 2]}}


def write(folder: Path, parameters: dict[str, Any] = FOLDS, **content: Any) -> Path:
    """The file of a sweep, a grid unless `method` says something else."""
    metric = {"name": "optimized_metric", "goal": "maximize"}
    path = folder / "sweep.yaml"
    whole = {"method": "grid", "metric": metric, "command": COMMAND, "parameters": parameters, **content}
    path.write_text(yaml.safe_dump(whole))
    return path


def start(folder: Path, *words: str) -> subprocess.Popen[str]:
    """`python -m fewshot.sweep sweep.yaml words` in `folder`, beside the test."""
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "fewshot.sweep", "sweep.yaml", *words]
    return subprocess.Popen(
        command, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def starts(folder: Path) -> dict[str, int]:
    """How often each run was started, by the name of its folder."""
    files = sorted((folder / "runs" / "sweep").glob("*/starts.jsonl"))
    return {file.parent.name: len(file.read_text().splitlines()) for file in files}


def typed(folder: Path, run: str) -> list[str]:
    """The words of the last start of a run."""
    return json.loads((folder / "runs" / "sweep" / run / "starts.jsonl").read_text().splitlines()[-1])

"""A sweep of two folds by two workers, as a user types it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from fewshot._origin import config_folder

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

TINY = (
    "system=prototype",
    "logging=disabled",
    "train.steps=2",
    "train.batch=1",
    "data.workers=0",
    "benchmark.world_videos=3",
    "benchmark.val_episodes=2",
    "benchmark.test_episodes=4",
    "test.probes=[]",
    "test.pictures=0",
)


def test_two_folds_are_trained_and_tested_and_stand_in_one_table(tmp_path: Path) -> None:
    sweep = yaml.safe_load((config_folder() / "sweeps" / "folds.yaml").read_text())
    sweep["parameters"]["group"]["values"] = [1, 2]
    (tmp_path / "folds.yaml").write_text(yaml.safe_dump(sweep))
    words = [f"set={word}" for word in (*TINY, f"data.cache={tmp_path}/cache")]
    command = [sys.executable, "-m", "fewshot.sweep", "folds.yaml", "workers=2", "format=csv", *words]
    root = Path(__file__).resolve().parents[2]
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(root)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stdout + done.stderr
    header, row = done.stdout.splitlines()[-2:]
    assert header == "system,benchmark,protocol,measure,shots,fold 1,fold 2,mean,seeds"
    assert row.startswith("prototype,synthetic,clean@") and "-" not in row.split(",")
    assert (tmp_path / "runs" / "folds" / "001-group2" / "learning_curve.png").exists()

"""`python -m fewshot.meta_train` as a user runs it: a whole small run, refusals, a stop and its continuation."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

TINY = (
    "group=1",
    "threads=1",
    "benchmark.world_videos=4",
    "benchmark.val_episodes=4",
    "benchmark.test_episodes=4",
    "test.probes=[wrong_support]",
    "test.pictures=1",
    "train.batch=1",
)


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A folder to work in, which also holds the generated world."""
    return tmp_path_factory.mktemp("work")


def start(place: Path, *arguments: str) -> subprocess.Popen:
    """The program, on a machine without a W&B account."""
    wandb = ("WANDB_API_KEY", "WANDB_MODE", "RANK", "WORLD_SIZE")
    environment = {name: value for name, value in os.environ.items() if name not in wandb}
    environment |= {"NETRC": str(place / "no-netrc"), "OMP_NUM_THREADS": "1", "FEWSHOT_CACHE": str(place / "cache")}
    command = [sys.executable, "-m", "fewshot.meta_train", *arguments]
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def finish(process: subprocess.Popen) -> tuple[int, str, str]:
    """Exit code, stdout and stderr."""
    out, err = process.communicate(timeout=300)
    return process.returncode, out, err


def rows(folder: Path) -> list[dict]:
    """What was measured, without the clock and the memory."""
    rows = [json.loads(line) for line in (folder / "metrics.jsonl").read_text().splitlines()]
    return [{k: v for k, v in row.items() if not k.endswith(("per_second", "memory_gib"))} for row in rows]


def test_a_whole_run_its_files_and_what_happens_when_it_is_started_again(place):
    arguments = (*TINY, "train.steps=3", "train.log_every=1")
    code, out, err = finish(start(place, *arguments))
    assert code == 0, err
    (folder,) = (place / "runs").iterdir()
    assert folder.name.startswith("uniref_tiny-synthetic-clean-1shot-g1-s0-")

    for said in ("torch", "parameters are trained", "device: cpu", "protocol", "training: 36 classes", "step 3/3"):
        assert said in out, said
    for said in (
        "validation: 4 episodes",
        "test: 4 episodes",
        "wrong_support J",
        f"folder: {Path('runs') / folder.name}",
    ):
        assert said in out, said
    assert out.count("protocol     : ") == 1, "the card is printed once"
    assert "wandb" not in err.lower()
    log = (folder / "log.txt").read_text()
    assert "step 3/3" in log and "wrong_support J" in log

    config = yaml.safe_load((folder / "config.yaml").read_text())
    assert (config["group"], config["train"]["steps"]) == (1, 3)
    assert yaml.safe_load((folder / "overrides.yaml").read_text()) == list(arguments)
    assert [row["step"] for row in rows(folder) if "train/loss" in row] == [1, 2, 3]
    validated = [row for row in rows(folder) if "val/J" in row]
    assert validated[-1].keys() >= {"val/J", "val/F", "val/score", "val/J_wrong_support"}
    with (folder / "metrics.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == len(rows(folder))
    result = json.loads((folder / "results.json").read_text())
    assert result["protocol"] == "clean"
    how = result["run"]["groups"]["1"]["training_run"]
    assert (how["steps"], how["seed"], how["recipe"]) == (3, 0, "corrected") and len(how["digest"]) == 12
    assert {fold["probe"] for fold in result["folds"]} == {"", "wrong_support"}
    for name in ("results.csv", "learning_curve.png", "checkpoints/best.pt"):
        assert (folder / name).stat().st_size > 0
    assert list((folder / "pictures").glob("*.png"))
    assert list((folder / "wandb").glob("offline-run-*/run-*.wandb"))
    assert {entry.name for entry in place.iterdir()} == {"runs", "cache"}  # nothing else is left lying about

    before = (folder / "metrics.jsonl").read_bytes()
    code, _, err = finish(start(place, *arguments))
    assert code == 1
    assert "is not empty" in err and "resume=true" in err and "Traceback" not in err
    code, out, err = finish(start(place, *arguments, "resume=true"))
    assert code == 0, err
    assert "the run is finished" in out
    assert (folder / "metrics.jsonl").read_bytes() == before
    again = json.loads((folder / "results.json").read_text())
    result["run"].pop("date"), again["run"].pop("date")  # it says when the test was made
    assert again == result


def test_a_stopped_run_ends_with_143_and_continues_to_the_same_numbers(place):
    arguments = (
        *TINY,
        "test.probes=[]",
        "train.steps=16",
        "train.log_every=1",
        "train.val_every=6",
        "logging=disabled",
    )
    code, _, err = finish(start(place, *arguments, "name=whole"))
    assert code == 0, err
    process = start(place, *arguments, "name=stopped")
    for line in process.stdout:
        if line.startswith("step 4/16"):
            process.send_signal(signal.SIGTERM)
            break
    code, _, err = finish(process)
    assert code == 143, err
    stopped, whole = place / "runs" / "stopped", place / "runs" / "whole"
    assert 4 <= max(row["step"] for row in rows(stopped)) < 16
    assert not (stopped / "results.json").exists()
    code, out, err = finish(start(place, *arguments, "name=stopped", "resume=true"))
    assert code == 0, err
    assert "going on from" in out
    assert rows(stopped) == rows(whole)
    scores = [json.loads((folder / "results.json").read_text())["folds"] for folder in (stopped, whole)]
    assert scores[0] == scores[1]

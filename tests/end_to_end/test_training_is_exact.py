"""The default system on the synthetic world: killed and continued, and in two processes, it learns the same weights."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from fewshot.weights.checkpoint import load_checkpoint

pytestmark = [pytest.mark.end_to_end, pytest.mark.slow]

OPTIONS = (
    "group=1",
    "threads=1",
    "logging=disabled",
    "system.dropout=0.1",
    "benchmark.world_videos=4",
    "benchmark.val_episodes=2",
    "benchmark.test_episodes=2",
    "test.probes=[]",
    "test.pictures=0",
    "train.steps=8",
    "train.log_every=1",
    "train.val_every=4",
    "train.checkpoint_every=3",
    "train.prototype_fraction=0.25",
    "train.batch=1",
)
TORCHRUN = ("-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2")


def start(place: Path, name: str, *options: str, launcher: tuple[str, ...] = ()) -> subprocess.Popen:
    """meta_train in `place/runs/name`."""
    environment = {k: v for k, v in os.environ.items() if k not in ("RANK", "LOCAL_RANK", "WORLD_SIZE")}
    environment |= {"OMP_NUM_THREADS": "1", "FEWSHOT_CACHE": str(place / "cache")}
    command = [sys.executable, *launcher, "-m", "fewshot.meta_train", *OPTIONS, f"name={name}", *options]
    return subprocess.Popen(
        command, cwd=place, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )


def finish(process: subprocess.Popen) -> str:
    """What the program said; it must have ended well."""
    said, _ = process.communicate(timeout=600)
    assert process.returncode == 0, said
    return said


def losses(place: Path, name: str) -> list[dict]:
    """The rows of the log, without clock and memory."""
    rows = map(json.loads, (place / "runs" / name / "metrics.jsonl").read_text().splitlines())
    return [{k: v for k, v in row.items() if not k.endswith(("per_second", "memory_gib"))} for row in rows]


def last_weights(place: Path, name: str) -> dict[str, torch.Tensor]:
    return load_checkpoint(place / "runs" / name / "checkpoints" / "step_00000008.pt")["model"]


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the run `whole`: one process, two micro-batches a step."""
    place = tmp_path_factory.mktemp("exact")
    finish(start(place, "whole", "train.accumulate=2", "data.workers=0"))
    return place


def test_killed_run_goes_on_bit_for_bit(whole: Path) -> None:
    options = ("train.accumulate=2", "data.workers=1")
    process = start(whole, "killed", *options)
    for line in process.stdout:
        if line.startswith("step 5/8"):
            process.send_signal(signal.SIGKILL)
            break
    process.communicate(timeout=60)
    assert process.returncode == -signal.SIGKILL
    assert "going on from" in finish(start(whole, "killed", *options, "resume=true"))
    assert losses(whole, "killed") == losses(whole, "whole")
    ours, theirs = last_weights(whole, "killed"), last_weights(whole, "whole")
    assert all(torch.equal(ours[name], theirs[name]) for name in theirs)


def test_two_processes_learn_what_one_learns(whole: Path) -> None:
    said = finish(start(whole, "two", "train.accumulate=1", launcher=TORCHRUN))
    assert "2 process(es)" in said and "Warning" not in said
    for two, one in zip(losses(whole, "two"), losses(whole, "whole"), strict=True):
        assert two == pytest.approx(one, rel=1e-5)
    ours, theirs = last_weights(whole, "two"), last_weights(whole, "whole")
    for name in theirs:
        torch.testing.assert_close(ours[name], theirs[name], rtol=1e-4, atol=1e-6)

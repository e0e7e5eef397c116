"""What the README tells a newcomer to type works as it stands there."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

README = (Path(__file__).resolve().parents[2] / "README.md").read_text()


def blocks(language: str) -> list[str]:
    """The code blocks of a language."""
    return re.findall(rf"```{language}\n(.*?)```", README, flags=re.DOTALL)


def test_every_module_that_is_named_exists() -> None:
    named = {name for block in blocks("bash") for name in re.findall(r"python -m ([\w.]+)", block)}
    assert {"fewshot.meta_train", "fewshot.meta_test", "fewshot.convert"} <= named
    assert "freeze" in {name.rpartition(".")[2] for name in named}
    assert not [name for name in named if find_spec(name) is None]


def test_the_pictures_are_there() -> None:
    root = Path(__file__).resolve().parents[2]
    assert all((root / path).is_file() for path in re.findall(r"!\[[^\]]*\]\(([^)]+)\)", README))


@pytest.mark.slow
@pytest.mark.end_to_end
def test_the_python_example_runs_on_the_run_that_it_names(tmp_path: Path) -> None:
    (example,) = blocks("python")
    (run,) = re.findall(r'load\("runs/([^"]+)"\)', example)
    environment = {**os.environ, "FEWSHOT_CACHE": str(tmp_path / "cache"), "OMP_NUM_THREADS": "1"}
    # the example as it stands, in a world of fewer videos, which is drawn more quickly
    world = (
        "import functools, fewshot\nfewshot.example_episode = functools.partial(fewshot.example_episode, videos=6)\n"
    )
    short = [
        "train.steps=1",
        "benchmark.world_videos=6",
        "benchmark.val_episodes=2",
        "benchmark.test_episodes=2",
        "test.probes=[]",
    ]
    train = [sys.executable, "-m", "fewshot.meta_train", "group=1", f"name={run}", "logging.mode=disabled", *short]
    for command in (train, [sys.executable, "-c", world + example + "\nprint([tuple(m.shape) for m in masks])"]):
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr[-2000:]
    assert "(8, 64, 64)" in done.stdout
    assert (tmp_path / "episode.png").stat().st_size > 1000


def test_the_default_run_has_the_name_that_the_example_loads() -> None:
    from fewshot.cli.program import Command
    from fewshot.cli.runs import MetaTrainConfig
    from fewshot.config.sections import BenchmarkConfig
    from fewshot.run.folder import run_name
    from fewshot.systems.cma.config import CMAConfig

    config = MetaTrainConfig(system=CMAConfig(), benchmark=BenchmarkConfig(name="synthetic"))
    name = run_name(config, Command(("group=1",), {"system": "cma_tiny", "benchmark": "synthetic"}))
    assert f'load("runs/{name}")' in README

"""What the README tells a newcomer to type works as it stands there."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from fewshot.cli.system_words import system_settings
from fewshot.predict import PROGRAM
from fewshot.weights.imagenet import PUBLISHED

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


def test_links_inside_the_documentation_lead_somewhere() -> None:
    root = Path(__file__).resolve().parents[2]
    for page in (root / "README.md", *sorted((root / "docs").glob("*.md"))):
        links = re.findall(r"\]\(([^)#]+)[^)]*\)", page.read_text())
        assert not [link for link in links if "://" not in link and not (page.parent / link).exists()], page


def test_the_first_page_is_short_and_says_what_parity_was_measured_with() -> None:
    assert len(README.splitlines()) < 180
    assert "parity*" in README and "filled with fixed\nnumbers" in README and "docs/sources.md" in README


def test_the_page_of_sources_names_the_files_that_are_fetched() -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "sources.md").read_text()
    for backbone, weights in PUBLISHED.items():
        name, size = weights.url.rpartition("/")[2], round(weights.meta["_file_size"])
        assert f"`{name}`, {size} MB" in page, backbone


def test_the_first_command_on_photographs_has_valid_keys() -> None:
    (command,) = (line for block in blocks("bash") for line in [block] if "fewshot.predict" in line)
    words = [word for word in shlex.split(command.replace("\\\n", " "))[3:] if not word.startswith("system.")]
    PROGRAM.parsed(words)
    assert system_settings([word for word in shlex.split(command.replace("\\\n", " ")) if word.startswith("system")])


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
    from fewshot.systems.uniref.config import UniRefConfig

    config = MetaTrainConfig(system=UniRefConfig(), benchmark=BenchmarkConfig(name="synthetic"))
    name = run_name(config, Command(("group=1",), {"system": "uniref_tiny", "benchmark": "synthetic"}))
    assert f'load("runs/{name}")' in README

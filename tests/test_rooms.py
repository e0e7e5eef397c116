"""The arrows between the rooms: fewshot -> episodes, fewshot -> benchmarks -> episodes, and never back."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
MAY_IMPORT = {
    "episodes": {"episodes"},
    "benchmarks": {"benchmarks", "episodes"},
    "fewshot": {"fewshot", "benchmarks", "episodes"},
    "experiments": set(),
}
# Networks take numbers and tensors: they never read files and never know of the configuration or the tracker.
MODEL_ROOMS = ("fewshot/nn", "fewshot/losses", "fewshot/systems")
NOT_FOR_MODELS = {"hydra", "omegaconf", "wandb", "PIL", "json", "yaml"}


def imported(path: Path) -> set[str]:
    """Full names of all modules that a file imports, anywhere in it."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and node.level == 0:
            names.add(node.module)
    return names


@pytest.mark.parametrize("room", sorted(MAY_IMPORT))
def test_rooms_import_only_downwards(room: str) -> None:
    for path in sorted((ROOT / room).rglob("*.py")):
        if path.parent == ROOT / "experiments" / "speed":  # scripts that nothing imports may time the models
            continue
        rooms = {name.split(".")[0] for name in imported(path)} & set(MAY_IMPORT)
        forbidden = rooms - MAY_IMPORT[room]
        assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


def test_models_know_nothing_of_files_configs_and_trackers() -> None:
    for room in MODEL_ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            if path.name == "config.py":  # settings, which `build.py` turns into numbers
                continue
            forbidden = {name.split(".")[0] for name in imported(path)} & NOT_FOR_MODELS
            assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


def test_systems_do_not_import_each_other() -> None:
    systems = [p for p in (ROOT / "fewshot" / "systems").iterdir() if (p / "__init__.py").exists()]
    assert len(systems) >= 2
    for system in systems:
        others = {f"fewshot.systems.{p.name}" for p in systems if p != system}
        for path in sorted(system.rglob("*.py")):
            clash = {name for name in imported(path) for other in others if name.startswith(other)}
            assert not clash, f"{path.relative_to(ROOT)} imports {sorted(clash)}"


def test_importing_the_package_is_quiet_and_light() -> None:
    code = (
        "import sys, warnings; warnings.simplefilter('error'); import fewshot, episodes, benchmarks; "
        "print([m for m in ('wandb', 'hydra', 'matplotlib', 'transformers') if m in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""

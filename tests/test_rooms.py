"""The floors of the house: each room imports from the rooms below it alone, without circles."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("episodes", "benchmarks", "fewshot", "experiments")
# Rooms from the ground up, each with the rooms that it may import from. Imports inside functions count.
BELOW: dict[str, tuple[str, ...]] = {
    "episodes": (),
    "benchmarks": ("episodes",),
    "fewshot._origin": (),
    "fewshot.weights": ("episodes",),
    "fewshot.config": ("episodes", "benchmarks"),
    "fewshot.nn": ("episodes",),
    "fewshot.media": ("episodes", "benchmarks"),
    "fewshot.losses": ("episodes", "fewshot.nn"),
    "fewshot.systems": ("episodes", "fewshot.config", "fewshot.losses", "fewshot.nn", "fewshot.weights"),
    "fewshot.adaptation": ("episodes", "fewshot.config", "fewshot.nn", "fewshot.systems"),
    "fewshot.cli": ("episodes", "benchmarks", "fewshot._origin", "fewshot.config", "fewshot.systems"),
    "fewshot.run": ("episodes", "fewshot.cli"),
    "fewshot.inference": (
        "episodes",
        "benchmarks",
        "fewshot.adaptation",
        "fewshot.cli",
        "fewshot.config",
        "fewshot.media",
        "fewshot.nn",
        "fewshot.run",
        "fewshot.systems",
        "fewshot.weights",
    ),
    "fewshot.evaluation": (
        "episodes",
        "benchmarks",
        "fewshot._origin",
        "fewshot.adaptation",
        "fewshot.cli",
        "fewshot.inference",
        "fewshot.media",
        "fewshot.run",
        "fewshot.systems",
        "fewshot.weights",
    ),
    "fewshot.training": (
        "episodes",
        "fewshot.adaptation",
        "fewshot.cli",
        "fewshot.config",
        "fewshot.evaluation",
        "fewshot.nn",
        "fewshot.run",
        "fewshot.systems",
        "fewshot.weights",
    ),
    "fewshot.sweeps": ("episodes", "benchmarks", "fewshot.cli", "fewshot.run"),
    "fewshot.testing": (
        "episodes",
        "fewshot.cli",
        "fewshot.inference",
        "fewshot.nn",
        "fewshot.systems",
    ),
    "fewshot": ("episodes", "fewshot._origin", "fewshot.inference", "fewshot.media"),
    # one thin file per command
    "fewshot.meta_train": ("fewshot.cli", "fewshot.run", "fewshot.training"),
    "fewshot.meta_test": ("fewshot.cli", "fewshot.evaluation", "fewshot.run"),
    "fewshot.train_stage": ("fewshot.cli", "fewshot.run", "fewshot.training"),
    "fewshot.task_test": ("fewshot.cli", "fewshot.evaluation", "fewshot.run"),
    "fewshot.predict": ("fewshot.cli", "fewshot.config", "fewshot.inference"),
    "fewshot.convert": ("fewshot.cli", "fewshot.config", "fewshot.inference", "fewshot.systems", "fewshot.weights"),
    "fewshot.freeze": ("episodes", "fewshot.cli", "fewshot.config"),
    "fewshot.compare": ("benchmarks", "fewshot.cli", "fewshot.config"),
    "fewshot.table": ("benchmarks", "fewshot.cli", "fewshot.config"),
    "fewshot.ledger": ("episodes", "benchmarks", "fewshot.cli", "fewshot.config", "fewshot.run"),
    "fewshot.report": ("fewshot.cli", "fewshot.config", "fewshot.evaluation"),
    "fewshot.check": (
        "episodes",
        "benchmarks",
        "fewshot.cli",
        "fewshot.config",
        "fewshot.evaluation",
        "fewshot.media",
    ),
    "fewshot.sweep": ("fewshot.cli", "fewshot.config", "fewshot.sweeps"),
    "fewshot.expressions": ("episodes", "benchmarks", "fewshot.cli", "fewshot.config", "fewshot.evaluation"),
    "fewshot.davis": ("benchmarks", "fewshot.cli", "fewshot.config"),
    # timings of whole models, which nothing imports
    "experiments": (
        "episodes",
        "benchmarks",
        "fewshot.cli",
        "fewshot.evaluation",
        "fewshot.inference",
        "fewshot.nn",
        "fewshot.systems",
        "fewshot.training",
    ),
}
# Networks take numbers and tensors: they never read files and never know of the configuration or the logs.
NOT_FOR_MODELS = {"hydra", "omegaconf", "wandb", "PIL", "json", "yaml"}
MODEL_ROOMS = ("fewshot/nn", "fewshot/losses", "fewshot/systems")
SETTINGS = "config.py"  # dataclasses of settings, which say what is mandatory
LIGHT = ("torch", "torchvision", "transformers", "wandb", "hydra", "matplotlib", "scipy")


def files() -> list[Path]:
    """Every Python file of the packages."""
    return [path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))]


def module_of(path: Path) -> str:
    """`fewshot/nn/text.py` -> `fewshot.nn.text`; a package's `__init__.py` is the package."""
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


@cache
def modules() -> frozenset[str]:
    """Every module of the packages."""
    return frozenset(map(module_of, files()))


def imported(path: Path) -> set[str]:
    """Full names of all that a file imports, anywhere in it; of names in a package the module that they are."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            assert node.level == 0, f"{path}: imports are absolute"
            for alias in node.names:
                inside = f"{node.module}.{alias.name}"
                names.add(inside if inside in modules() else node.module)
    return names


def room_of(module: str) -> str:
    """The room of a module: the longest name in `BELOW` that it lies under; the packages' own tops."""
    if module in BELOW:
        return module
    rooms = [room for room in BELOW if module.startswith(f"{room}.") and room != "fewshot"]
    assert rooms, f"{module} lies in no room: give it a place in {Path(__file__).name}"
    return max(rooms, key=len)


def own_imports(path: Path) -> set[str]:
    """The modules of this project that a file imports."""
    return {name for name in imported(path) if name in modules()} - {module_of(path)}


def test_every_room_imports_only_from_the_rooms_below_it() -> None:
    wrong = []
    for path in files():
        room = room_of(module_of(path))
        for name in sorted(own_imports(path)):
            if room_of(name) not in (room, *BELOW[room]):
                wrong.append(f"{path.relative_to(ROOT)} imports {name}: {room} may not use {room_of(name)}")
    assert not wrong, "\n".join(wrong)


def test_rooms_stand_on_floors_without_an_arrow_back_up() -> None:
    floors: dict[str, int] = {}

    def floor(room: str, above: tuple[str, ...] = ()) -> int:
        assert room not in above, f"a circle of rooms: {' -> '.join((*above, room))}"
        if room not in floors:
            floors[room] = 1 + max((floor(lower, (*above, room)) for lower in BELOW[room]), default=0)
        return floors[room]

    assert max(map(floor, BELOW)) >= 8


def test_what_a_room_may_use_it_uses() -> None:
    used: dict[str, set[str]] = {room: set() for room in BELOW}
    for path in files():
        used[room_of(module_of(path))].update(map(room_of, own_imports(path)))
    idle = {room: sorted(set(below) - used[room]) for room, below in BELOW.items()}
    assert not {room: names for room, names in idle.items() if names}


def test_no_files_import_each_other_in_a_circle() -> None:
    graph = {module_of(path): own_imports(path) for path in files()}
    state: dict[str, int] = {}

    def visit(module: str, trail: tuple[str, ...]) -> None:
        assert state.get(module) != 1, f"a circle: {' -> '.join((*trail[trail.index(module) :], module))}"
        if module in state:
            return
        state[module] = 1
        for name in sorted(graph[module]):
            visit(name, (*trail, module))
        state[module] = 2

    for module in sorted(graph):
        visit(module, ())


def test_models_know_nothing_of_files_configurations_and_logs() -> None:
    for room in MODEL_ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            forbidden = {name.split(".")[0] for name in imported(path)} & NOT_FOR_MODELS
            if path.name == SETTINGS:
                forbidden -= {"omegaconf"}
            assert not forbidden, f"{path.relative_to(ROOT)} imports {sorted(forbidden)}"


def systems() -> list[Path]:
    """The folders of the systems."""
    return [path.parent for path in sorted((ROOT / "fewshot" / "systems").glob("*/__init__.py"))]


def test_systems_do_not_import_each_other() -> None:
    assert len(systems()) >= 3
    for system in systems():
        others = {f"fewshot.systems.{other.name}" for other in systems() if other != system}
        for path in sorted(system.rglob("*.py")):
            clash = {name for name in imported(path) for other in others if f"{name}.".startswith(f"{other}.")}
            assert not clash, f"{path.relative_to(ROOT)} imports {sorted(clash)}"


def test_nothing_outside_the_folder_of_a_system_knows_its_name() -> None:
    """No import of its modules and no branch on its name; prose and examples of the help may name it."""
    folders = {system.name: system for system in systems()}
    named = re.compile(rf"""(?:==|!=|\bin\b)\s*\(?["']({"|".join(folders)})["']""")
    for path in files():
        if path.is_relative_to(ROOT / "experiments"):
            continue  # timings are of named systems
        for name, folder in folders.items():
            if not path.is_relative_to(folder):
                inside = {module for module in imported(path) if f"{module}.".startswith(f"fewshot.systems.{name}.")}
                assert not inside, f"{path.relative_to(ROOT)} imports {sorted(inside)}"
        if not path.is_relative_to(ROOT / "fewshot" / "systems") and path.is_relative_to(ROOT / "fewshot"):
            for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
                found = named.search(line)
                assert not found or "variant" in line, f"{path.relative_to(ROOT)}:{number} branches on a system: {line}"


@pytest.mark.parametrize("code", ["import fewshot, episodes, benchmarks", "import fewshot.cli.program"])
def test_importing_is_quiet_and_light(code: str) -> None:
    heavy = ("torch", "transformers", "wandb", "matplotlib") if "cli" in code else LIGHT
    script = (
        f"import sys, warnings; warnings.simplefilter('error'); {code}; "
        f"print([name for name in {heavy!r} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, cwd=ROOT, timeout=120)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
    assert done.stderr == ""

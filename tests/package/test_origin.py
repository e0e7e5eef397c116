"""The configuration lies beside the package, and other folders called `episodes` or `benchmarks` are told apart."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import types
from importlib.util import find_spec
from pathlib import Path

import pytest

import fewshot
from fewshot import _origin

ROOT = Path(fewshot.__file__).resolve().parents[1]


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """A folder like site-packages: packages of our names, of which `fewshot` checks its origin when it is imported."""
    site = tmp_path / "site"
    for name in ("fewshot", "episodes", "benchmarks"):
        (site / name).mkdir(parents=True)
        (site / name / "__init__.py").write_text("")
    (site / "fewshot" / "__init__.py").write_text("from fewshot._origin import refuse_shadowed\nrefuse_shadowed()\n")
    shutil.copy(_origin.__file__, site / "fewshot" / "_origin.py")
    (site / "fewshot" / "command.py").write_text(
        "from fewshot._origin import config_folder\nimport episodes, benchmarks\n"
        "print(episodes.__file__, benchmarks.__file__, config_folder(), sep='\\n')\n"
    )
    (site / "experiments").mkdir()
    (site / "experiments" / "meta_train.yaml").write_text("group: 1\n")
    return site


@pytest.fixture
def own(tmp_path: Path) -> Path:
    """The folder that a user works in."""
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


def python(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the folder `cwd`, with `site` later on its path."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("PYTHONSAFEPATH", None)
    return subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, timeout=60
    )


def package(folder: Path) -> Path:
    """A regular package at `folder`."""
    folder.mkdir()
    (folder / "__init__.py").write_text("raise RuntimeError('the wrong package is imported')\n")
    return folder


def test_the_configuration_lies_beside_the_package() -> None:
    assert _origin.config_folder() == ROOT / "experiments"


def test_a_missing_configuration_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(_origin, "HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="no configuration at .*experiments: install"):
        _origin.config_folder()


def test_this_installation_is_not_shadowed() -> None:
    _origin.refuse_shadowed()


@pytest.mark.parametrize("name", ["experiments", "episodes", "benchmarks"])
def test_a_plain_folder_is_harmless(installed: Path, own: Path, name: str) -> None:
    (own / name).mkdir()
    (own / name / "notes.py").write_text("")
    done = python(installed, own, "-m", "fewshot.command")
    assert done.returncode == 0, done.stderr
    places = [Path(line) for line in done.stdout.splitlines()]
    assert places == [installed / f"{p}/__init__.py" for p in ("episodes", "benchmarks")] + [installed / "experiments"]


def test_a_package_called_experiments_is_harmless(installed: Path, own: Path) -> None:
    package(own / "experiments")
    done = python(installed, own, "-m", "fewshot.command")
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines()[-1] == str(installed / "experiments")


@pytest.mark.parametrize("name", ["episodes", "benchmarks"])
def test_a_command_names_the_shadowing_package_in_one_line(installed: Path, own: Path, name: str) -> None:
    shadow = package(own / name)
    done = python(installed, own, "-m", "fewshot.command")
    assert done.returncode == 1 and done.stdout == ""
    assert len(done.stderr.splitlines()) == 1
    assert done.stderr.startswith(f"error: {shadow} shadows the package {name!r} of fewshot (at {installed / name})")
    assert "rename it" in done.stderr and "python -P" in done.stderr


def test_a_script_gets_an_import_error(installed: Path, own: Path) -> None:
    shadow = package(own / "benchmarks")
    done = python(
        installed, own, "-c", "try: import fewshot\nexcept ImportError as error: print(error.name, error.path)"
    )
    assert done.stdout.split() == ["benchmarks", str(shadow)], done.stderr


def test_a_single_file_shadows_too(installed: Path, own: Path) -> None:
    (own / "episodes.py").write_text("")
    done = python(installed, own, "-m", "fewshot.command")
    assert done.returncode == 1 and done.stderr.startswith(f"error: {own / 'episodes.py'} shadows")


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python has -P since 3.11")
def test_the_advice_helps(installed: Path, own: Path) -> None:
    package(own / "benchmarks")
    done = python(installed, own, "-P", "-m", "fewshot.command")
    assert done.returncode == 0, done.stderr


def test_a_link_to_this_installation_is_the_same(installed: Path, own: Path) -> None:
    (own / "linked").symlink_to(installed, target_is_directory=True)
    done = python(own / "linked", own, "-m", "fewshot.command")
    assert done.returncode == 0, done.stderr


def test_a_plain_folder_that_python_would_take_is_refused(monkeypatch: pytest.MonkeyPatch, own: Path) -> None:
    """Where the real package comes from an import hook, Python takes a plain folder on its path first."""
    (own / "episodes").mkdir()
    monkeypatch.setattr(sys, "path", [str(own)])
    monkeypatch.delitem(sys.modules, "episodes", raising=False)
    assert find_spec("episodes") is not None
    with pytest.raises(ImportError, match="own/episodes shadows the package 'episodes'"):
        _origin.refuse_shadowed()


@pytest.mark.parametrize("file", [None, "/elsewhere/benchmarks.py"])
def test_a_module_made_by_hand(monkeypatch: pytest.MonkeyPatch, file: str | None) -> None:
    made = types.ModuleType("benchmarks")
    if file is not None:
        made.__file__ = file
    monkeypatch.setitem(sys.modules, "benchmarks", made)
    if file is None:
        _origin.refuse_shadowed()
        return
    with pytest.raises(ImportError, match="/elsewhere/benchmarks.py shadows"):
        _origin.refuse_shadowed()


def test_it_imports_nothing_and_only_the_standard_library(installed: Path, own: Path) -> None:
    code = "import sys, fewshot; print([m for m in ('episodes', 'benchmarks', 'torch', 'pathlib') if m in sys.modules])"
    done = python(installed, own, "-S", "-c", code)
    assert done.stdout.strip() == "[]", done.stderr

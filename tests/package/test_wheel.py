"""The wheel: built without a warning, complete, and at home beside folders of the same names."""

from __future__ import annotations

import email
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import fewshot

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("fewshot", "episodes", "benchmarks", "experiments")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def names(built: tuple[Path, str]) -> set[str]:
    """Paths of all files in the wheel."""
    with zipfile.ZipFile(built[0]) as archive:
        return set(archive.namelist())


@pytest.fixture(scope="module")
def site(built: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the wheel's packages."""
    folder = tmp_path_factory.mktemp("site")
    with zipfile.ZipFile(built[0]) as archive:
        archive.extractall(folder)
    return folder


def test_building_warns_of_nothing(built: tuple[Path, str]) -> None:
    lines = [line for line in built[1].splitlines() if re.search(r"warning|\babsent\b|deprecat", line, re.IGNORECASE)]
    assert lines == []


def test_every_module_and_every_setting_is_shipped(names: set[str]) -> None:
    for package in PACKAGES:
        files = [path for kind in ("*.py", "*.yaml", "*.html", "*.json.gz") for path in (ROOT / package).rglob(kind)]
        wanted = {path.relative_to(ROOT).as_posix() for path in files}
        assert wanted and wanted <= names, sorted(wanted - names)


def test_it_says_that_it_is_typed(names: set[str]) -> None:
    assert {f"{package}/py.typed" for package in ("fewshot", "episodes", "benchmarks")} <= names


def test_nothing_else_is_shipped(names: set[str]) -> None:
    tops = {name.split("/")[0] for name in names}
    assert {top for top in tops if not top.endswith(".dist-info")} == set(PACKAGES)
    assert not [name for name in names if "__pycache__" in name or "/tests/" in name]


def test_metadata(built: tuple[Path, str]) -> None:
    with zipfile.ZipFile(built[0]) as archive:
        folder = next(name.split("/")[0] for name in archive.namelist() if ".dist-info/" in name)
        metadata = email.message_from_bytes(archive.read(f"{folder}/METADATA"))
        points = archive.read(f"{folder}/entry_points.txt").decode()
    assert metadata["Version"] == fewshot.__version__
    links = dict(line.split(", ", 1) for line in metadata.get_all("Project-URL", []))
    assert set(links) == {"Homepage", "Documentation", "Source", "Issues", "Changelog"}
    assert all(link.startswith("https://") for link in links.values())
    assert points.split("\n")[:2] == ["[console_scripts]", "fewshot = fewshot.cli.main:main"]


def test_the_citation_has_the_version_of_the_package() -> None:
    assert f"\nversion: {fewshot.__version__}\n" in (ROOT / "CITATION.cff").read_text()


def python(site: Path, cwd: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Python in the folder `cwd`, with the installed packages later on the path."""
    environment = {**os.environ, "PYTHONPATH": str(site)}
    environment.pop("PYTHONSAFEPATH", None)
    command = [sys.executable, *arguments]
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True, timeout=120)


def test_folders_of_the_same_names_are_no_obstacle(site: Path, tmp_path: Path) -> None:
    for name in ("experiments", "episodes", "benchmarks"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "results.txt").write_text("")
    code = (
        "import fewshot, benchmarks, episodes.clip; from fewshot._origin import config_folder; print(config_folder())"
    )
    done = python(site, tmp_path, "-c", code)
    assert done.returncode == 0, done.stderr
    assert Path(done.stdout.strip()) == site / "experiments"


@pytest.mark.parametrize("name", ["episodes", "benchmarks"])
def test_a_package_of_the_same_name_is_named(site: Path, tmp_path: Path, name: str) -> None:
    (tmp_path / name).mkdir()
    (tmp_path / name / "__init__.py").write_text("")
    done = python(site, tmp_path, "-c", "import fewshot")
    assert done.returncode == 1
    assert f"ImportError: {tmp_path / name} shadows the package {name!r}" in done.stderr.splitlines()[-1]


def test_a_command_reads_its_own_configuration(site: Path, tmp_path: Path) -> None:
    """Beside a package of the user's that is called `experiments`, with settings of the same name."""
    (tmp_path / "experiments" / "system").mkdir(parents=True)
    (tmp_path / "experiments" / "__init__.py").write_text("raise RuntimeError('the wrong package is imported')\n")
    (tmp_path / "experiments" / "meta_train.yaml").write_text("nonsense: true\n")
    (tmp_path / "experiments" / "system" / "mine.yaml").write_text("name: mine\n")
    done = python(site, tmp_path, "-m", "fewshot.meta_train", "--help")
    assert done.returncode == 0, done.stderr
    assert "cma_tiny" in done.stdout and "mine" not in done.stdout.split() and "nonsense" not in done.stdout
    done = python(site, tmp_path, "-m", "fewshot.meta_train", "--cfg", "job", "system=uniref_tiny")
    assert done.returncode == 0, done.stderr
    assert "name: uniref" in done.stdout and "nonsense" not in done.stdout

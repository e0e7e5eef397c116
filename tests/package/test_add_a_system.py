"""`docs/add-a-system.md`, followed literally beside an installed wheel, in a fresh environment and an empty folder."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from collections.abc import Iterator
from pathlib import Path

import pytest

PAGE = Path(__file__).resolve().parents[2] / "docs" / "add-a-system.md"
FENCE = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
FILE = re.compile(r"`(glance/[\w.]+)`")

pytestmark = [pytest.mark.slow, pytest.mark.end_to_end]


def blocks() -> Iterator[tuple[str, str, str | None]]:
    """Language, content, and the file that the paragraph before a block names, of every block of the page."""
    text, end = PAGE.read_text(encoding="utf-8"), 0
    for found in FENCE.finditer(text):
        named = FILE.findall(text[end : found.start()])
        yield found[1], found[2], named[-1] if named else None
        end = found.end()


@pytest.fixture(scope="module")
def environment(built: tuple[Path, str], tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """A fresh environment with our wheel; libraries of others are taken from where this test runs."""
    folder = tmp_path_factory.mktemp("fresh")
    subprocess.run([sys.executable, "-m", "venv", str(folder / "env")], check=True, timeout=300)
    (site,) = (folder / "env").glob("lib/python*/site-packages")
    (site / "libraries.pth").write_text(f"{sysconfig.get_paths()['purelib']}\n")
    kept = {key: value for key, value in os.environ.items() if key not in ("PYTHONPATH", "VIRTUAL_ENV")}
    variables = {
        **kept,
        "PATH": f"{folder / 'env' / 'bin'}{os.pathsep}{os.environ['PATH']}",
        "FEWSHOT_CACHE": str(folder / "cache"),
        "WANDB_MODE": "disabled",
        "PIP_NO_INDEX": "1",  # nothing is fetched
        "PIP_NO_DEPS": "1",
        "PIP_NO_BUILD_ISOLATION": "0",  # which pip reads as "without isolation"
        "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    }
    # older Pythons put a setuptools of their own there, which builds no wheels
    typed(f"pip uninstall --quiet --yes setuptools; pip install --quiet {built[0]}", folder, variables)
    return variables


def typed(script: str, folder: Path, variables: dict[str, str]) -> str:
    """What a script prints, typed into a shell that stops at the first error."""
    done = subprocess.run(
        ["bash", "-eo", "pipefail", "-c", script],
        cwd=folder,
        env=variables,
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, f"{script}\n{done.stdout[-2000:]}\n{done.stderr[-3000:]}"
    return done.stdout


def test_the_page_leads_from_an_empty_folder_to_a_tested_number(environment: dict[str, str], tmp_path: Path) -> None:
    printed = []
    for language, content, name in blocks():
        if language == "bash":
            printed.append(typed(content, tmp_path, environment))
            continue
        assert name is not None, f"no file is named before this block:\n{content}"
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text(content, encoding="utf-8")
    first, contract, packaged = printed
    assert "system.width=16" in first and "channels of the features" in first  # the help of its own keys
    assert "trained without the prototype phase" in first
    assert "group 2 has been trained on" in first
    assert (tmp_path / "glance" / "runs" / "first" / "results.json").is_file()
    assert (tmp_path / "glance" / "runs" / "again" / "results.csv").is_file()
    assert re.search(r"\d+ passed", contract) and "failed" not in contract
    assert (tmp_path / "runs" / "packaged" / "results.json").is_file()
    assert "J and F in percent" in packaged


def test_keys_of_others_and_misspelt_ones_are_refused(environment: dict[str, str], tmp_path: Path) -> None:
    model = next(content for language, content, name in blocks() if name == "glance/glance.py")
    (tmp_path / "glance.py").write_text(model, encoding="utf-8")
    for key, hint in (("system.widht=8", "Did you mean 'system.width'?"), ("system.num_queries=2", "unknown key")):
        command = [
            "python",
            "-m",
            "fewshot.meta_train",
            "system.name=glance:Glance",
            key,
        ]
        done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=120)
        assert done.returncode == 1 and hint in done.stderr, done.stderr
    assert not (tmp_path / "runs").exists()

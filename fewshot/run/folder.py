"""The folder of a run: named by the content of the run, never overwritten by accident, able to say what it holds."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Collection, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from fewshot.cli.program import Command
from fewshot.cli.runs import RunConfig
from fewshot.run.logging.files import replace_file

logger = logging.getLogger(__name__)

CONFIG = "config.yaml"  # of a run folder

# Overrides that change where and how fast a run goes but not what it is.
INCIDENTAL = ("out", "name", "resume", "device", "threads", "logging", "data.workers", "data.cache", "test.workers")


def run_name(config: RunConfig, command: Command) -> str:
    """The title of the run and, where anything else was typed, a hash of it: `<title>[-<hash>]`."""
    shown = {*config.told, *INCIDENTAL}
    others = sorted(override.lstrip("+") for override in command.overrides if not _among(_key(override), shown))
    words = [hashlib.sha256("\n".join(others).encode()).hexdigest()[:6]] if others else []
    return "-".join([*config.title(command.options), *words])


def _key(override: str) -> str:
    return override.partition("=")[0].lstrip("+~")


def _among(key: str, names: Collection[str]) -> bool:
    """Whether a key is one of `names`, or inside one of the sections `names`; a group's option is not its section."""
    return key in names or any(key.startswith(f"{name}.") for name in names if name in INCIDENTAL)


def open_folder(config: RunConfig, command: Command) -> Path:
    """Make the run's folder and write into it what the run is: `config.yaml` and `overrides.yaml`.

    Raises:
        FileExistsError: the folder holds something and `resume` is false.
    """
    folder = folder_path(config, command)
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give another name=<name> or out=<folder>")
    if folder.exists() and any(folder.iterdir()) and not config.resume:
        raise FileExistsError(
            f"{folder} is not empty: this run was started before. Give resume=true to continue it, name=<name> for "
            "another folder, or remove it"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for name, before, now in changes(folder, config):
        logger.warning("continuing with %s=%s (was %s)", name, now, before)
    replace_file(folder / CONFIG, yaml.safe_dump(asdict(config), sort_keys=False))
    replace_file(folder / "overrides.yaml", yaml.safe_dump(list(command.overrides)))
    return folder


def folder_path(config: RunConfig, command: Command) -> Path:
    """Path of the run's folder; nothing is made."""
    return Path(config.out) / (config.name or run_name(config, command))


def changes(folder: Path, config: RunConfig) -> list[tuple[str, Any, Any]]:
    """The keys in which a run that goes on differs from its first part, each with both values."""
    path = folder / CONFIG
    if not path.is_file():
        return []
    before, now = flat(yaml.safe_load(path.read_text(encoding="utf-8"))), flat(asdict(config))
    return [(name, before.get(name), now[name]) for name in now if name != "resume" and before.get(name) != now[name]]


def refuse_changes(config: RunConfig, command: Command) -> None:
    """A run whose results are added to goes on as it was started: results of two settings are not to be mixed.

    Raises:
        ValueError: the folder holds a run with other settings; they are named.
    """
    folder = folder_path(config, command)
    allowed = {*INCIDENTAL, *config.may_change}
    found = changes(folder, config) if config.resume else []
    changed = [f"{name}={now} (was {before})" for name, before, now in found if not _among(name, allowed)]
    if changed:
        raise ValueError(f"{folder} was started with other settings: {', '.join(changed)}. Give another name=<name>")


def flat(config: dict[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested dictionaries as one with dotted names."""
    values: dict[str, Any] = {}
    for name, value in config.items():
        values.update(flat(value, f"{prefix}{name}.") if isinstance(value, dict) else {prefix + name: value})
    return values


def git_commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of the source code, with `-dirty` where files differ from it; empty outside a git checkout."""
    command: Sequence[str] = ("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout: an installed package
        return ""
    return found.stdout.strip()

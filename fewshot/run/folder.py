"""The folder of a run: named by the content of the run, never overwritten by accident, able to say what it holds."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.run.logging.files import replace_file

logger = logging.getLogger(__name__)

# Overrides that the name shows in words, and those that change where and how fast a run goes but not what it is.
SHOWN = ("group", "shots", "seed", "system", "benchmark", "benchmark.protocol", "protocol")
INCIDENTAL = ("out", "name", "resume", "device", "threads", "tracking", "data.workers", "data.cache", "test.workers")


def run_name(config: MetaTrainConfig | MetaTestConfig, command: Command) -> str:
    """`<system>-<benchmark>-<protocol>-<shots>shot-g<group>-s<seed>[-<hash of the other overrides>]`.

    A test's name starts with `test-`.
    """
    system = command.options.get("system", config.system.name)
    benchmark = command.options.get("benchmark", config.benchmark.name)
    parts = [
        system,
        benchmark,
        config.benchmark.protocol,
        f"{config.shots}shot",
        f"g{config.group}",
        f"s{config.seed}",
    ]
    if isinstance(config, MetaTestConfig):
        parts.insert(0, "test")
    return joined(parts, command.overrides)


def joined(parts: Sequence[str], overrides: Sequence[str], shown: Sequence[str] = ()) -> str:
    """A name: its parts and, where anything else was typed, a hash of it.

    `shown` are further keys that the parts tell of. Keys that only change where and how fast a run goes do not count.
    """
    others = sorted(override for override in overrides if not _is_named(override, shown))
    return "-".join([*parts, *([hashlib.sha256("\n".join(others).encode()).hexdigest()[:6]] if others else [])])


def _is_named(override: str, shown: Sequence[str]) -> bool:
    """Whether an override leaves the hash alone."""
    key = override.partition("=")[0].lstrip("+~")
    return key in (*SHOWN, *shown) or any(key == name or key.startswith(f"{name}.") for name in INCIDENTAL)


def open_folder(config: MetaTrainConfig | MetaTestConfig, command: Command) -> Path:
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
    tell_changes(folder / "config.yaml", asdict(config))
    replace_file(folder / "config.yaml", yaml.safe_dump(asdict(config), sort_keys=False))
    replace_file(folder / "overrides.yaml", yaml.safe_dump(list(command.overrides)))
    return folder


def folder_path(config: MetaTrainConfig | MetaTestConfig, command: Command) -> Path:
    """Where the run's folder is; nothing is made."""
    return Path(config.out) / (config.name or run_name(config, command))


def tell_changes(path: Path, config: dict[str, Any]) -> None:
    """Log the keys in which a run that continues differs from its first part."""
    if not path.exists():
        return
    before, now = flat(yaml.safe_load(path.read_text(encoding="utf-8"))), flat(config)
    changed = [name for name in now if name != "resume" and before.get(name) != now[name]]
    for name in changed:
        logger.warning("continuing with %s=%s (was %s)", name, now[name], before.get(name))


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

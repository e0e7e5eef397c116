"""The folder of a run: named by the content of the run, never overwritten by accident, able to say what it holds."""

from __future__ import annotations

import hashlib
import logging
import subprocess
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import yaml

from episodes.whole_files import clear_stale
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, RunConfig, StageConfig, TaskTestConfig
from fewshot.run.flat import flat
from fewshot.run.lock import LOCK, locked
from fewshot.run.logging.files import replace_file

logger = logging.getLogger(__name__)

CONFIG = "config.yaml"  # of a run folder
# What lies in the folder of a run that has not measured or saved anything.
AT_START = {LOCK, CONFIG, "overrides.yaml", "log.txt", "metrics.csv", "problems.txt", "wandb", "wandb_id.json"}
# The first of these keys that a stored configuration has tells its kind.
MARKS: dict[str, type[RunConfig]] = {
    "stage": StageConfig,
    "train": MetaTrainConfig,
    "task": TaskTestConfig,
    "weights": MetaTestConfig,
}
KINDS: dict[type[RunConfig], str] = {
    StageConfig: "training stage",
    MetaTrainConfig: "training run",
    TaskTestConfig: "test of a task",
    MetaTestConfig: "test",
}

# Overrides that change where and how fast a run goes but not what it is.
INCIDENTAL = (
    *("out", "name", "resume", "dry_run", "device", "threads", "logging"),
    *("data.workers", "data.cache", "test.workers", "test.processes"),
)
ONCE = ("resume", "dry_run")  # what is said of this very start


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


@contextmanager
def held_folder(config: RunConfig, command: Command) -> Iterator[Path]:
    """The run's folder, opened for this process alone. Raises as `open_folder`, and RunInUse."""
    folder = folder_path(config, command)
    if not (folder / LOCK).exists():  # no lock is put into what is no run folder
        check_folder(folder, config)
    _make(folder, config)
    with locked(folder):
        clear_stale(folder / "*", age=0)  # nobody else writes here
        yield open_folder(config, command)


def open_folder(config: RunConfig, command: Command) -> Path:
    """Make the run's folder and write into it what the run is, but for a training that goes on.

    A training that goes on does so itself (`write_config`), once its checkpoint is known to be of the same settings.

    Raises:
        FileExistsError: the folder holds something and `resume` is false, or something that is no run of this kind.
        ValueError: the folder's `config.yaml` is damaged, and nothing else tells its settings.
    """
    folder = folder_path(config, command)
    check_folder(folder, config)
    _make(folder, config)
    if not (config.trains and config.resume):
        write_config(folder, config, command)
    return folder


def _make(folder: Path, config: RunConfig) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ValueError(
            f"out={config.out}: folder {folder} cannot be made ({error.strerror}): give another out=<folder>, or a "
            f"shorter name=<name>"
        ) from error


def check_folder(folder: Path, config: RunConfig) -> None:
    """Refuse a folder that a run must not write into. Raises as `open_folder`."""
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file; give another name=<name> or out=<folder>")
    names = {path.name for path in folder.iterdir()} if folder.exists() else set()
    if not names or (LOCK in names and names <= AT_START):  # nothing yet, or a start that was refused
        return
    if not config.resume:
        raise FileExistsError(
            f"{folder} is not empty: this run was started before. Give resume=true to continue it, name=<name> for "
            "another folder, or remove it"
        )
    try:
        found = kind_of(stored_config(folder))
    except ValueError:
        if config.trains and any(folder.glob("checkpoints/step_*.pt")):  # which tell the settings too
            return
        raise
    if found is not type(config):
        what = "no run" if found is None else f"a {KINDS[found]}"
        raise FileExistsError(
            f"{folder} holds {what}: a {KINDS[type(config)]} does not go on there; give another name=<name>"
        )


def write_config(folder: Path, config: RunConfig, command: Command) -> None:
    """Write `config.yaml` and `overrides.yaml`; what has changed since the first part of the run is warned of."""
    try:
        changed = changes(folder, config)
    except ValueError as error:
        logger.warning("%s: it is written anew, with the settings of this command", error)
        changed = []
    for name, before, now in changed:
        logger.warning("continuing with %s=%s (was %s)", name, now, before)
    replace_file(folder / CONFIG, yaml.safe_dump(asdict(config), sort_keys=False))
    replace_file(folder / "overrides.yaml", yaml.safe_dump(list(command.overrides)))


def stored_config(folder: Path) -> dict[str, Any] | None:
    """Content of the folder's `config.yaml`, None where there is none.

    Raises:
        ValueError: it is damaged.
    """
    path = folder / CONFIG
    if not path.is_file():
        return None
    try:
        stored = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        stored = None
    if not isinstance(stored, dict):
        raise ValueError(f"{path} is damaged: put back a copy of it, or give another name=<name>")
    return stored


def kind_of(stored: Mapping[str, Any] | None) -> type[RunConfig] | None:
    """The kind of run that a stored configuration is of, None for one that this program did not write."""
    if stored is None or not {"system", "seed", "logging"} <= set(stored):
        return None
    return next((kind for mark, kind in MARKS.items() if mark in stored), None)


def folder_path(config: RunConfig, command: Command) -> Path:
    """Path of the run's folder; nothing is made."""
    return Path(config.out) / (config.name or run_name(config, command))


def changes(folder: Path, config: RunConfig) -> list[tuple[str, Any, Any]]:
    """The keys in which a run that goes on differs from its first part, each with both values.

    Raises:
        ValueError: the folder's `config.yaml` is damaged.
    """
    stored = stored_config(folder)
    if stored is None:
        return []
    before, now = flat(stored), flat(asdict(config))
    return [(name, before.get(name), now[name]) for name in now if name not in ONCE and before.get(name) != now[name]]


def refuse_changes(config: RunConfig, command: Command) -> None:
    """A run whose results are added to goes on as it was started: results of two settings are not to be mixed.

    Raises:
        ValueError: the folder holds a run with other settings, which are named, or a damaged `config.yaml`.
    """
    folder = folder_path(config, command)
    changed = other_settings(folder, config, config.may_change) if config.resume else []
    if changed:
        raise ValueError(f"{folder} was started with other settings: {', '.join(changed)}. Give another name=<name>")


def other_settings(folder: Path, config: RunConfig, may_change: Collection[str] = ()) -> list[str]:
    """The settings of a run that differ from those in its folder, in words; but for incidental ones and `may_change`.

    Raises:
        ValueError: the folder's `config.yaml` is damaged.
    """
    found, allowed = changes(folder, config), {*INCIDENTAL, *may_change}
    return [f"{name}={now} (was {before})" for name, before, now in found if not _among(name, allowed)]


def git_commit(folder: Path = Path(__file__).parent) -> str:
    """The commit of the source code, with `-dirty` where files differ from it; empty outside a git checkout."""
    command: Sequence[str] = ("git", "-C", str(folder), "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*")
    try:
        found = subprocess.run(command, capture_output=True, text=True, timeout=10, check=True)
    except (OSError, subprocess.SubprocessError):  # no git, or no checkout: an installed package
        return ""
    return found.stdout.strip()

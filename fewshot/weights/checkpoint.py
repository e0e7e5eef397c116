"""Checkpoints: one file of tensors and plain types, written to a temporary name and renamed, refused if damaged.

A file holds `format`, `system` (its name), `step`, `model` (state dict), `best_score`, `fingerprint` and `trained_on`
(benchmark, group and classes); the files that a run continues from hold `optimizer`, `scheduler`, `scaler`,
`validated`, `kept_gradients` and `teacher` as well. All of it loads with `torch.load(..., weights_only=True)`.
"""

from __future__ import annotations

import errno
import io
import logging
import os
import pickletools
import re
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, TypeGuard

import torch
from torch import Tensor

from episodes.whole_files import flush_to_disk

FORMAT = 1
FOLDER = "checkpoints"
BEST, TEACHER = "best.pt", "teacher.pt"
NEEDED = ("format", "system", "step", "model")
FULL_DISK = (errno.ENOSPC, errno.EDQUOT)

logger = logging.getLogger(__name__)


class CheckpointError(RuntimeError):
    """A checkpoint cannot be used; the message says why and what to do."""


def save_checkpoint(path: Path, state: dict[str, Any]) -> None:
    """Writes `state` so that `path` is either the old file or the whole new one, whatever happens meanwhile.

    Raises:
        OSError: the file cannot be written (disk full, no permission); the temporary file is removed.
    """
    buffer = io.BytesIO()  # torch hides the operating system's error when it writes to a full disk itself
    torch.save(state, buffer)
    part = path.with_name(path.name + ".part")
    try:
        with open(part, "wb") as file:
            file.write(buffer.getbuffer())
            file.flush()
            os.fsync(file.fileno())
        os.replace(part, path)
    except OSError as error:  # a full disk is reported without a name
        part.unlink(missing_ok=True)
        raise OSError(error.errno, error.strerror, str(path)) from error
    flush_to_disk(path.parent)


def load_checkpoint(path: Path) -> dict[str, Any]:
    """The content of a checkpoint, on the CPU.

    Raises:
        FileNotFoundError: there is no such file.
        CheckpointError: the file is half-written, damaged, or no checkpoint of this package.
    """
    if not path.is_file():
        raise FileNotFoundError(f"no checkpoint at {path}")
    try:
        with zipfile.ZipFile(path) as archive:
            damaged = archive.testzip()  # compares every record with its checksum; torch.load does not
        if damaged is not None:
            raise CheckpointError(f"{path} is damaged (record {damaged}): use an earlier checkpoint")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the readers make of half a file
        raise unreadable(path, error, "use an earlier one") from error
    missing = [key for key in NEEDED if key not in state] if isinstance(state, dict) else list(NEEDED)
    if missing:
        raise CheckpointError(f"{path} is no checkpoint of a training run: it lacks {', '.join(missing)}")
    if not is_state_dict(state["model"]):
        raise CheckpointError(f"{path} is damaged: its 'model' is no state dict; use an earlier checkpoint")
    if state["format"] != FORMAT:
        raise CheckpointError(f"{path} has checkpoint format {state['format']}, this version reads format {FORMAT}")
    return state


def is_state_dict(content: Any) -> TypeGuard[Mapping[str, Tensor]]:
    """Whether something read from a file is a dictionary of tensors by name."""
    return isinstance(content, Mapping) and all(
        isinstance(name, str) and isinstance(tensor, Tensor) for name, tensor in content.items()
    )


def unreadable(path: Path, error: Exception, advice: str) -> CheckpointError:
    """What to say of a file that torch does not read: whether it is damaged, or would run something when it is read.

    Torch's own words are left out, since they advise to read such a file without its safeguard.
    """
    found = re.search(r"Unsupported (?:global|class): (?:GLOBAL )?([\w.]+)", str(error))
    objects = [found[1]] if found else objects_in(path)
    if not objects:
        return CheckpointError(f"{path} is half-written or no checkpoint: {advice}")
    return CheckpointError(
        f"{path} holds objects that are not weights ({objects[0]}), and is not read, since that could run anything: "
        "give a file with nothing but tensors, from a source that you trust"
    )


def objects_in(path: Path) -> list[str]:
    """Names of the classes and functions that a plain pickle would call; none for anything else. Nothing is run."""
    names: list[str] = []
    strings: list[str] = []
    try:
        with path.open("rb") as file:
            for operation, argument, _ in pickletools.genops(file):
                if operation.name in ("GLOBAL", "INST"):
                    names.append(str(argument).replace(" ", "."))
                elif operation.name == "STACK_GLOBAL":
                    names.append(".".join(strings[-2:]))
                elif isinstance(argument, str):
                    strings.append(argument)
    except (ValueError, UnicodeDecodeError, KeyError, IndexError, OverflowError, MemoryError):  # no pickle
        return []
    return names


def check_system(state: dict[str, Any], name: str, path: Path) -> None:
    """Refuses a checkpoint of another system.

    Raises:
        CheckpointError: naming both systems.
    """
    if state["system"] != name:
        raise CheckpointError(
            f"{path} is a checkpoint of system {state['system']!r}, but the system here is {name!r}: give one of "
            f"{name}, or the settings of that system"
        )


def check_fingerprint(state: dict[str, Any], fingerprint: dict[str, Any], path: Path) -> None:
    """Refuses to go on with settings that would change the numbers.

    Raises:
        CheckpointError: naming every key that differs, with both values.
    """
    before = state.get("fingerprint", {})
    differing = [
        f"{key}: {before.get(key, 'absent')!r} in the checkpoint, {fingerprint.get(key, 'absent')!r} now"
        for key in sorted(before.keys() | fingerprint.keys())
        if key not in before or key not in fingerprint or before[key] != fingerprint[key]
    ]
    if differing:
        raise CheckpointError(
            f"cannot resume from {path}, these settings differ:\n  "
            + "\n  ".join(differing)
            + "\nrestore them, or start a new run"
        )


class CheckpointFolder:
    """The checkpoints of one run: the newest `keep` to continue from, and the best.

    Attributes:
        folder: `<run folder>/checkpoints`.
        best: path of the best checkpoint (the file may not exist yet).
    """

    def __init__(self, run_folder: Path, keep: int) -> None:
        self.folder = Path(run_folder) / FOLDER
        self.best = self.folder / BEST
        self.keep = keep

    def path(self, step: int) -> Path:
        """Path of the checkpoint of `step`."""
        return self.folder / f"step_{step:08d}.pt"

    def paths(self) -> list[Path]:
        """The checkpoints to continue from, newest first."""
        found = (p for p in self.folder.glob("step_*.pt") if re.fullmatch(r"step_\d+\.pt", p.name))
        return sorted(found, key=lambda p: int(p.stem.removeprefix("step_")), reverse=True)

    def save(self, state: dict[str, Any], *, must: bool = False) -> bool:
        """Writes the checkpoint of `state["step"]` and removes those that are too old.

        Returns False, after a warning, if the disk is full: the earlier checkpoints stay and training may go on.

        Raises:
            OSError: any other failure, and a full disk if it `must` succeed.
        """
        written = self._write(self.path(state["step"]), state, must)
        if written:
            for old in self.paths()[self.keep :]:
                old.unlink()
        return written

    def save_best(self, state: dict[str, Any], *, must: bool = False) -> bool:
        """Writes `best.pt`; otherwise as `save`."""
        return self._write(self.best, state, must)

    def save_teacher(self, state: dict[str, Any], *, must: bool = False) -> bool:
        """Writes `teacher.pt`, the moving average that belongs to `best.pt`; otherwise as `save`."""
        return self._write(self.folder / TEACHER, state, must)

    def clear_parts(self) -> None:
        """Removes what a kill in the middle of a write left behind."""
        for part in self.folder.glob("*.part"):
            part.unlink()

    def _write(self, path: Path, state: dict[str, Any], must: bool) -> bool:
        self.folder.mkdir(parents=True, exist_ok=True)
        try:
            save_checkpoint(path, state)
        except OSError as error:
            if must or error.errno not in FULL_DISK:
                raise
            logger.warning(
                "step %d: %s could not be written: %s. Training goes on; the last good checkpoint is %s. Free some "
                "space before the next one is due.",
                state["step"],
                path,
                os.strerror(error.errno),
                next(iter(self.paths()), "none"),
            )
            return False
        return True

    def newest(self) -> tuple[Path, dict[str, Any]] | None:
        """The newest checkpoint that can be read, and its content; None if the folder holds no checkpoint at all.

        Damaged files are passed over with a warning.

        Raises:
            CheckpointError: there are checkpoints and none can be read.
        """
        paths = self.paths()
        for path in paths:
            try:
                return path, load_checkpoint(path)
            except CheckpointError as error:
                logger.warning("%s", error)
        if paths:
            raise CheckpointError(f"none of the {len(paths)} checkpoints in {self.folder} can be read: start a new run")
        return None

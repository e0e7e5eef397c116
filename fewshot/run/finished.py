"""The mark of a finished run, so that a sweep that is started again does not repeat it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from fewshot.cli.program import Command
from fewshot.cli.runs import RunConfig
from fewshot.run.folder import folder_path, other_settings
from fewshot.run.logging.files import replace_file

FINISHED = "finished.json"  # in a run folder, written when everything else is


@dataclass(frozen=True)
class Finished:
    """The result of a finished run, in percent; None for a run that gives none."""

    folder: Path
    result: float | None

    def __str__(self) -> str:
        told = "" if self.result is None else f" with {self.result:.2f}"
        return f"{self.folder} was finished{told}: it is not run again, unless that folder is removed"


def finished_before(config: RunConfig, command: Command) -> Finished | None:
    """The result of this very run, where its folder holds it; None where it does not, or with other settings.

    Raises:
        ValueError: the folder's files are damaged.
    """
    folder = folder_path(config, command)
    if not (folder / FINISHED).is_file() or other_settings(folder, config):
        return None
    return finished_in(folder)


def finished_in(folder: Path) -> Finished | None:
    """The result of the finished run in `folder`, None where there is none.

    Raises:
        ValueError: the mark is damaged.
    """
    mark = folder / FINISHED
    if not mark.is_file():
        return None
    try:
        return Finished(folder, json.loads(mark.read_text(encoding="utf-8"))["optimized_metric"])
    except (ValueError, KeyError, TypeError) as error:
        raise ValueError(f"{mark} is damaged: remove it, and give resume=true") from error


def mark_finished(folder: Path, result: float | None) -> None:
    """Say that the run in `folder` is finished, with its result."""
    replace_file(folder / FINISHED, json.dumps({"optimized_metric": result}) + "\n")


def unmark(folder: Path) -> None:
    """Say that the run in `folder` goes on."""
    (folder / FINISHED).unlink(missing_ok=True)

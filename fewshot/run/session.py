"""A run under way: processes, folder, log and signals, for every kind of run."""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TypeVar

import torch
from torch import nn

from fewshot.cli.program import Command
from fewshot.cli.runs import RunConfig
from fewshot.run import processes
from fewshot.run.console import device_line, parameter_line, run_log, versions
from fewshot.run.finished import finished_before, mark_finished, unmark
from fewshot.run.folder import folder_path, git_commit, held_folder, write_config
from fewshot.run.logging import RunLogger
from fewshot.run.signals import Interrupted, SignalWatch, pass_on

logger = logging.getLogger(__name__)
PROBLEMS_SHOWN = 5
Result = TypeVar("Result", bound="float | None")


@dataclass(frozen=True)
class Session:
    """A run under way: its folder, its log, its device, and whether this is the process that writes.

    Attributes:
        record: writes what the run is into its folder: called by a training that goes on, once it is known to be the
            same one.
    """

    folder: Path
    log: RunLogger
    device: torch.device
    main: bool
    record: Callable[[], None]


def in_session(config: RunConfig, command: Command, work: Callable[[Session], Result]) -> Result | float | None:
    """The result of `work` in a session, which then is marked as finished.

    A run of a sweep that was finished before gives the result that it had, and nothing runs. A rehearsal (`dry_run`)
    has a folder that is gone with it. Raises as `session`.
    """
    if getattr(config, "dry_run", False):
        with TemporaryDirectory(prefix="fewshot-") as place, session(_in_passing(config, place), command) as here:
            return work(here)
    if command.sweeps and (before := finished_before(config, command)) is not None:
        print(before, flush=True)
        return before.result
    try:
        with session(config, command) as here:
            if here.main:
                unmark(here.folder)
            result = work(here)
            if here.main:
                mark_finished(here.folder, result)
            return result
    except Interrupted as stopped:
        pass_on(stopped.signal)
        raise


def _in_passing(config: RunConfig, place: str) -> RunConfig:
    """The same run in another folder, of which W&B hears nothing."""
    return replace(config, out=place, name="dry_run", resume=False, logging=replace(config.logging, mode="disabled"))


@contextmanager
def session(config: RunConfig, command: Command) -> Iterator[Session]:
    """Join the processes, make the folder, open the logs; everything is closed again, however the run ends.

    Signals end what runs inside with `Interrupted` (exit code 130 or 143); the training loop, which has to save first,
    takes them over while it runs.

    Raises:
        FileExistsError: the folder holds a run already and `resume` is false, another process writes into it, or it
            holds something that is no run of this kind.
        ValueError: the device does not exist.
    """
    if threads := config.threads or config.system.threads:
        torch.set_num_threads(threads)
    with processes.distributed():
        device = processes.choose_device(config.device)
        main = processes.is_main()
        own = held_folder(config, command) if main else nullcontext(folder_path(config, command))
        with own as folder, _logs(config, command, folder, main) as log, SignalWatch() as signals, signals.at_once():
            yield Session(folder, log, device, main, partial(write_config, folder, config, command))


@contextmanager
def _logs(config: RunConfig, command: Command, folder: Path, main: bool) -> Iterator[RunLogger]:
    """The logs of a run, once the first process has made its folder."""
    processes.barrier()
    with run_log(folder, main):
        logger.info("%s", versions())
        logger.info("folder: %s", folder)
        with open_logger(config, command, folder, main) as log:
            yield log


def open_logger(config: RunConfig, command: Command, folder: Path, writes: bool) -> RunLogger:
    """The log of a run; its configuration says what was typed and which commit ran."""
    settings = config.logging
    record = {**asdict(config), "command": " ".join(sys.argv), "commit": git_commit(), "versions": versions()}
    return RunLogger(
        folder,
        record,
        settings.mode,
        settings.project,
        entity=settings.entity,
        experiment=settings.experiment or config.experiment(command.options),
        job_type="train" if config.trains else "eval",
        tags=settings.tags,
        writes=writes,
    )


def tell_system(system: nn.Module, name: str, device: torch.device) -> None:
    """Log what runs, and where."""
    logger.info("system: %s, %s", name, parameter_line(system))
    logger.info("device: %s, %d process(es)", device_line(device), processes.world_size())


def tell_problems(problems: Sequence[str], folder: Path) -> None:
    """Log what is broken in the data: the first few, and all of them in `folder/problems.txt` if there are more."""
    for problem in problems[:PROBLEMS_SHOWN]:
        logger.warning("%s", problem)
    if len(problems) > PROBLEMS_SHOWN:
        path = folder / "problems.txt"
        path.write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")
        logger.warning("%d more problems in the data: %s", len(problems) - PROBLEMS_SHOWN, path)

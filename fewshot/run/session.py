"""What meta-training and meta-testing share: from a checked configuration to a folder, data and a system."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.run import processes
from fewshot.run.console import run_log, versions
from fewshot.run.folder import folder_path, git_commit, open_folder
from fewshot.run.logging import Tracker
from fewshot.run.signals import SignalWatch

logger = logging.getLogger(__name__)
Config = MetaTrainConfig | MetaTestConfig
PROBLEMS_SHOWN = 5


@dataclass(frozen=True)
class Session:
    """A run under way: its folder, its tracker, its device, and whether this is the process that writes."""

    folder: Path
    tracker: Tracker
    device: torch.device
    main: bool


@contextmanager
def session(config: Config, command: Command) -> Iterator[Session]:
    """Join the processes, make the folder, open log and tracker; everything is closed again, however the run ends.

    SIGINT and SIGTERM end what runs inside with `Interrupted` (exit code 130 or 143); the training loop, which has to
    save first, takes them over while it runs.

    Raises:
        FileExistsError: the folder holds a run already and `resume` is false.
        ValueError: the device does not exist.
    """
    if config.threads is not None:
        torch.set_num_threads(config.threads)
    with processes.distributed():
        device = processes.choose_device(config.device)
        main = processes.is_main()
        folder = open_folder(config, command) if main else folder_path(config, command)
        processes.barrier()
        with run_log(folder, main):
            logger.info("%s", versions())
            logger.info("folder: %s", folder)
            with open_tracker(config, command, folder, main) as tracker, SignalWatch() as signals, signals.at_once():
                yield Session(folder, tracker, device, main)


def open_tracker(config: Config, command: Command, folder: Path, writes: bool) -> Tracker:
    """The tracker of a run; its configuration says what was typed and which commit ran."""
    tracking = config.tracking
    record = {**asdict(config), "command": " ".join(sys.argv), "commit": git_commit(), "versions": versions()}
    return Tracker(
        folder,
        record,
        tracking.mode,
        tracking.project,
        entity=tracking.entity,
        experiment=tracking.experiment or experiment_name(config, command),
        job_type="train" if hasattr(config, "train") else "eval",
        tags=tracking.tags,
        writes=writes,
    )


def experiment_name(config: Config, command: Command) -> str:
    """The same for all folds and seeds of one set-up, so that W&B shows them together."""
    system = command.options.get("system", config.system.name)
    benchmark = command.options.get("benchmark", config.benchmark.name)
    return f"{system}-{benchmark}-{config.shots}shot"


def tell_problems(problems: Sequence[str], folder: Path) -> None:
    """Log what is broken in the data: the first few, and all of them in `folder/problems.txt` if there are more."""
    for problem in problems[:PROBLEMS_SHOWN]:
        logger.warning("%s", problem)
    if len(problems) > PROBLEMS_SHOWN:
        path = folder / "problems.txt"
        path.write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")
        logger.warning("%d more problems in the data: %s", len(problems) - PROBLEMS_SHOWN, path)

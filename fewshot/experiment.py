"""What meta-training and meta-testing share: from a checked configuration to a folder, data and a system."""

from __future__ import annotations

import logging
import sys
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path

import torch

from benchmarks.protocols import get_protocol
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.seeding import derive
from episodes.sources import open_source
from episodes.sources.base import Source
from fewshot.build import build_system
from fewshot.cli import Command
from fewshot.config import MetaTestConfig, MetaTrainConfig, SystemConfig
from fewshot.console import device_line, parameter_line, run_log, versions
from fewshot.folders import folder_path, git_commit, open_folder
from fewshot.kinds import kind_of
from fewshot.outcome import Origin, places
from fewshot.systems.base import System
from fewshot.tracking import Tracker
from fewshot.training import distribution
from fewshot.training.signals import SignalWatch

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
    with distribution.distributed():
        device = distribution.choose_device(config.device)
        main = distribution.is_main()
        folder = open_folder(config, command) if main else folder_path(config, command)
        distribution.barrier()
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


def open_data(config: Config, folder: Path) -> tuple[Source, Folds]:
    """The source and the folds of the benchmark; what is broken in the data is logged, a long list in `folder`.

    Generated data are written by the first process while the others wait.
    """
    source = open_benchmark(config) if distribution.is_main() else None
    distribution.barrier()
    source = source or open_benchmark(config)
    if distribution.is_main():
        tell_problems(source.problems(), folder)
    return source, source.folds


def tell_problems(problems: Sequence[str], folder: Path) -> None:
    """Log what is broken in the data: the first few, and all of them in `folder/problems.txt` if there are more."""
    for problem in problems[:PROBLEMS_SHOWN]:
        logger.warning("%s", problem)
    if len(problems) > PROBLEMS_SHOWN:
        path = folder / "problems.txt"
        path.write_text("".join(f"{problem}\n" for problem in problems), encoding="utf-8")
        logger.warning("%d more problems in the data: %s", len(problems) - PROBLEMS_SHOWN, path)


def open_benchmark(config: Config, official: bool = False) -> Source:
    """The data set; `official` reads it with the faults of the official code."""
    benchmark, data = config.benchmark, config.data
    return open_source(
        benchmark.name,
        data.root,
        data.cache,
        benchmark.world_seed,
        benchmark.world_videos,
        official=official,
        lists=data.lists,
    )


def make_system(config: SystemConfig, seed: int, recipe: str = "fixed") -> System:
    """A system with initial weights that depend on nothing but `seed`; torch's global generator stays as it was."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("weights", seed))
        return build_system(config, recipe)


def announce(config: Config, system: System, device: torch.device, origin: Origin) -> None:
    """Log what runs, where, and under which protocol it will be tested."""
    logger.info("system: %s, %s", system.name, parameter_line(system))
    logger.info("device: %s, %d process(es)", device_line(device), distribution.world_size())
    card = get_protocol(config.benchmark.protocol).card(
        benchmark=config.benchmark.name,
        size=kind_of(config).size_text,
        checkpoint=origin.checkpoint,
        shots=config.shots,
        seeds=range(config.seed, config.seed + config.test.seeds),
        start_weights=origin.start_weights,
        episodes=config.benchmark.test_episodes,
        **places(config),
    )
    logger.info("protocol of the test\n%s", textwrap.indent(card, "  "))


def count(split: str, specs: Sequence[EpisodeSpec]) -> None:
    """Log how many episodes, queries and classes a split has."""
    queries, classes = sum(len(spec.queries) for spec in specs), len({spec.class_id for spec in specs})
    logger.info("%s: %d episodes, %d queries, %d classes", split, len(specs), queries, classes)

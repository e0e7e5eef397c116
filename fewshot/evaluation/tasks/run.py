"""The test of `python -m fewshot.task_test`: everything answered, the masks written, the numbers computed."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

from benchmarks.masks.submission import check_submission, zip_folder
from episodes.sources.task_source import TaskSource
from episodes.sources.tasks import open_task_source
from episodes.task_items import RISItem
from fewshot.cli.program import Command
from fewshot.cli.runs import TaskTestConfig
from fewshot.evaluation.tasks.answers import Answerer
from fewshot.evaluation.tasks.build import check_system, make_answerer
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.measures import Measures
from fewshot.evaluation.tasks.record import Record
from fewshot.evaluation.tasks.report import draw, measure, tell_protocol, write_outcome
from fewshot.evaluation.tasks.units import Unit, answer_all, units_of
from fewshot.inference.chunks import evaluating
from fewshot.inference.loading import load_into, same_system, stored_system
from fewshot.run import processes
from fewshot.run.folder import refuse_changes
from fewshot.run.session import Session, session, tell_problems, tell_system
from fewshot.systems.base import System
from fewshot.systems.registry import make_system

logger = logging.getLogger(__name__)
MASKS = "masks"


def task_test(config: TaskTestConfig, command: Command) -> float | None:
    """Answer everything, write the masks, score them. Returns the headline number in percent, None without truth.

    Raises:
        ValueError: no weights, a system that the task is not for, broken data, or a run that goes on with other
            settings.
        FileNotFoundError: there are no data or weights.
    """
    config = with_system(config, command)
    source = open_task_source(
        config.task.benchmark, config.data.root, config.task.split, resolution=config.task.resolution
    )
    units = chosen(source, config.limit)
    system, report = tested_system(config)
    check_system(system, source.task)
    refuse_changes(config, command)
    with session(config, command) as here:
        if here.main:
            tell_problems(source.problems(), here.folder)
        logger.info("%s", report)
        tell_system(system.to(here.device), system.name, here.device)
        tell_protocol(config, source, units)
        answerer = answer(config, source, units, system, here)
        return finish(config, source, units, answerer, here) if here.main else None


def tested_system(config: TaskTestConfig) -> tuple[System, str]:
    """The system with its weights, and what is to be said of them.

    Raises what `load_trained` raises.
    """
    system = make_system(config.system, config.seed)
    if config.weights is None:
        return system, "no weights: the system is untrained"
    return system, str(load_into(system, config.system, Path(config.weights).expanduser()))


def with_system(config: TaskTestConfig, command: Command) -> TaskTestConfig:
    """The configuration with the system of its weights.

    Raises:
        ValueError: no weights, and an untrained system is not asked for; or a typed system that is not that of the
            weights.
        FileNotFoundError: there is nothing at the path of the weights.
    """
    if config.weights is None:
        if config.untrained:
            return config
        raise ValueError(
            "no weights: give weights=<run folder, converted folder or official checkpoint>; untrained=true tries the "
            "program out with a system as it is built"
        )
    stored = stored_system(Path(config.weights).expanduser())
    return (
        config
        if stored is None
        else replace(config, system=same_system(config.system, stored, command.typed, config.weights))
    )


def chosen(source: TaskSource, limit: int | None) -> list[Unit]:
    """The units of the first `limit` videos or images, of all of them for None.

    Raises ValueError if there is nothing to test, or what is asked is broken.
    """
    units = units_of(source.items())
    videos = list(dict.fromkeys(unit.video for unit in units))[:limit]
    if not videos:
        raise ValueError(f"{source.name} ({source.split}) in {source.root} has nothing to test")
    return [unit for unit in units if unit.video in set(videos)]


def answer(config: TaskTestConfig, source: TaskSource, units: list[Unit], system: System, here: Session) -> Answerer:
    """Answer what is not finished yet; each process takes its share of the units."""
    record = Record(here.folder, processes.rank())
    finished = record.finished()
    processes.barrier()  # every process has read what was finished before any goes on
    rest = [unit for unit in units if unit.name not in finished]
    if len(rest) < len(units):
        logger.info("%d of %d are finished already", len(units) - len(rest), len(units))
    reader = FrameReader(source, config.task.short, config.task.long, system.pad_multiple, here.device)
    answerer = make_answerer(config, source, system, reader, here.folder / MASKS)
    mine = rest[processes.rank() :: processes.world_size()]
    with evaluating(system):
        answer_all(mine, answerer.answer, record, progress=here.main)
    processes.barrier()
    return answerer


def finish(
    config: TaskTestConfig, source: TaskSource, units: list[Unit], answerer: Answerer, here: Session
) -> float | None:
    """Score, check, draw and pack what was written (process 0). Returns the headline number in percent."""
    entries = Record(here.folder).finished()
    rows = [row for unit in units for row in entries[unit.name]["rows"]]
    measures: Measures = measure(config, source, units, rows, here.folder / MASKS)
    write_outcome(config, source, units, entries, measures, here.folder)
    logger.info("\n%s\n", measures.table())
    for note in measures.notes:
        logger.warning("%s", note)
    here.log.summary({f"test/{name}": 100 * value for name, value in measures.values.items()})
    draw(config, source, units, answerer, here.folder)
    if source.task != "ris":
        items = [item for unit in units for item in unit.items if not isinstance(item, RISItem)]
        for problem in check_submission(source.name, here.folder / MASKS, items):
            logger.warning("%s", problem)
    if config.zip:
        logger.info("packed: %s", zip_folder(here.folder / MASKS))
    logger.info("folder: %s", here.folder)
    return 100 * next(iter(measures.values.values())) if measures.values else None

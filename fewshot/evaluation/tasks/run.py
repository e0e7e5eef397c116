"""The test of `python -m fewshot.task_test`: masks predicted, written and scored."""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

from benchmarks.masks.submission import check_submission, zip_folder
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.task_source import TaskSource
from episodes.sources.tasks import open_task_source
from episodes.task_items import RVOSItem, VOSItem
from fewshot.cli.checks import check
from fewshot.cli.program import Command
from fewshot.cli.recipes import expand
from fewshot.cli.runs import TaskTestConfig
from fewshot.evaluation.leak import task_leak
from fewshot.evaluation.record import past_of, task_record
from fewshot.evaluation.tasks.build import check_system, check_vocabulary, goes_its_own_way, make_predictor
from fewshot.evaluation.tasks.expressions import check_truth, shuffled
from fewshot.evaluation.tasks.frames import FrameReader
from fewshot.evaluation.tasks.measures import Measures
from fewshot.evaluation.tasks.predictors import Predictor
from fewshot.evaluation.tasks.record import Record
from fewshot.evaluation.tasks.report import card, draw, measure, tell_protocol, truth_of, write_outcome
from fewshot.evaluation.tasks.samples import Sample, predict_all, samples_of
from fewshot.inference.chunks import evaluating
from fewshot.inference.loading import load_into, same_system, stored_system
from fewshot.run import processes
from fewshot.run.folder import refuse_changes
from fewshot.run.session import Session, in_session, tell_problems, tell_system
from fewshot.systems.base import System
from fewshot.systems.registry import make_system, spec_of

logger = logging.getLogger(__name__)
MASKS, PROBES = "masks", "probes"


def task_test(config: TaskTestConfig, command: Command) -> float | None:
    """Predict all masks, write and score them. Returns the headline number in percent, None without truth.

    Raises:
        ValueError: no weights, a system that the task is not for, broken data, or a run that goes on with other
            settings.
        FileNotFoundError: there are no data or weights.
    """
    config = with_system(config, command)
    source = open_task_source(
        config.task.benchmark, config.data.root, config.task.split, resolution=config.task.resolution
    )
    config = with_score(config, source)
    samples = chosen(source, config.limit)
    truth_of(config, source, samples)  # what is missing is told before anything is predicted
    probed(config, source, samples)
    system, report = tested_system(config)
    check_system(system, spec_of(config.system), source.task)
    check_vocabulary(config, source, system)
    refuse_changes(config, command)

    def work(here: Session) -> float | None:
        if here.main:
            tell_problems(source.problems(), here.folder)
        logger.info("%s", report)
        tell_system(system.to(here.device), system.name, here.device)
        own_way = goes_its_own_way(system, spec_of(config.system), source.task)
        past = past_of(config)
        leak = task_leak(source, past, config.data.root)
        told = card(config, source, samples, own_way, leak)
        tell_protocol(told)
        predictor = predict(config, source, samples, system, here)
        if not here.main:
            return None
        record = task_record(config, source, system, past, leak)
        return finish(config, source, samples, predictor, here, told, record)

    return in_session(config, command, work)


def tested_system(config: TaskTestConfig) -> tuple[System, str]:
    """The system with its weights, and a line on them for the log.

    Raises what `load_trained` raises.
    """
    system = make_system(config.system, config.seed)
    if config.weights is None:
        return system, "no weights: the system is untrained"
    return system, str(load_into(system, config.system, Path(config.weights).expanduser()))


def with_system(config: TaskTestConfig, command: Command) -> TaskTestConfig:
    """The configuration with the system of its weights, and with what the recipe and this system say of the test.

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
    if stored is not None:
        config = replace(config, system=same_system(config.system, stored, command.typed, config.weights))
    config = deepcopy(config)  # `expand` writes into it
    expand(config, command.typed, trained=True)
    check(config)
    return config


def with_score(config: TaskTestConfig, source: TaskSource) -> TaskTestConfig:
    """The configuration with the score that the data allow, where it asks for what is there.

    Raises:
        ValueError: expressions are to be scored, and the truth of one is not there.
    """
    score = config.task.score
    if score == "if_there":
        score = "expressions" if isinstance(source, RefVideoSource) and source.has_truth() else "none"
    if score == "expressions":
        assert isinstance(source, RefVideoSource)  # `check_task`
        check_truth(source)
    return replace(config, task=replace(config.task, score=score))


def chosen(source: TaskSource, limit: int | None) -> list[Sample]:
    """The samples of the first `limit` videos or images, of all of them for None.

    Raises ValueError if there is nothing to test, or its annotations are broken.
    """
    samples = samples_of(source.items())
    videos = list(dict.fromkeys(sample.video for sample in samples))[:limit]
    if not videos:
        raise ValueError(f"{source.name} ({source.split}) in {source.root} has nothing to test")
    return [sample for sample in samples if sample.video in set(videos)]


def predict(
    config: TaskTestConfig, source: TaskSource, samples: list[Sample], system: System, here: Session
) -> Predictor:
    """Predict the samples that are not finished yet; each process takes its portion of them."""
    reader = FrameReader(source, config.input_rule().transform(), system.pad_multiple_of(source.name), here.device)
    predictor = make_predictor(config, source, system, reader, here.folder / MASKS)
    predict_rest(samples, predictor, system, here)
    for probe, changed in probed(config, source, samples).items():
        logger.info("probe %s", probe)
        folder = here.folder / PROBES / probe
        folder.mkdir(parents=True, exist_ok=True)
        other = make_predictor(config, source, system, reader, folder / MASKS)
        predict_rest(changed, other, system, replace(here, folder=folder))
    return predictor


def predict_rest(samples: list[Sample], predictor: Predictor, system: System, here: Session) -> None:
    """Predict the samples that are not finished yet."""
    record = Record(here.folder, processes.rank())
    finished = record.finished()
    processes.barrier()  # every process has read what was finished before any goes on
    rest = [sample for sample in samples if sample.name not in finished]
    if len(rest) < len(samples):
        logger.info("%d of %d are finished already", len(samples) - len(rest), len(samples))
    mine = rest[processes.rank() :: processes.world_size()]
    with evaluating(system):
        predict_all(mine, predictor.predict, record, progress=here.main)
    processes.barrier()


def probed(config: TaskTestConfig, source: TaskSource, samples: list[Sample]) -> dict[str, list[Sample]]:
    """The samples as each probe of the task changes them, by its name; the same words whatever the limit is.

    Raises ValueError where there is nothing to exchange.
    """
    if not config.task.probes:
        return {}
    assert isinstance(source, RefVideoSource)  # `check_task` leaves probes to expressions in videos
    names = {sample.name for sample in samples}
    changed = shuffled(source, samples_of(source.items()), config.seed)
    return {probe: [sample for sample in changed if sample.name in names] for probe in config.task.probes}


def finish(
    config: TaskTestConfig,
    source: TaskSource,
    samples: list[Sample],
    predictor: Predictor,
    here: Session,
    told: str,
    record: Mapping[str, Any],
) -> float | None:
    """Score, check, draw and pack what was written (process 0); `told` is the card, `record` says what was tested.

    Returns the headline number in percent.
    """
    entries = Record(here.folder).finished()
    rows = [row for sample in samples for row in entries[sample.name]["rows"]]
    for path in predictor.complete(rows):
        logger.info("written: %s", path)
    probes = {probe: here.folder / PROBES / probe / MASKS for probe in config.task.probes}
    measures: Measures = measure(config, source, samples, rows, here.folder / MASKS, probes)
    write_outcome(config, source, samples, entries, measures, here.folder, told, record)
    logger.info("\n%s\n", measures.table())
    for note in measures.notes:
        logger.warning("%s", note)
    here.log.summary(measures.logged)
    draw(config, source, samples, predictor, here.folder)
    items = [item for sample in samples for item in sample.items if isinstance(item, (VOSItem, RVOSItem))]
    if items:
        for problem in check_submission(source.name, here.folder / MASKS, items):
            logger.warning("%s", problem)
    if config.zip:
        logger.info("packed: %s", zip_folder(here.folder / MASKS))
    logger.info("folder: %s", here.folder)
    headline = next(iter(measures.values.values()), math.nan)
    return None if math.isnan(headline) else 100 * headline

"""Meta-training: learn from episodes of the training classes, choose a checkpoint, test it on the held-out classes."""

from __future__ import annotations

import logging
from dataclasses import asdict
from functools import partial
from typing import Any

from episodes.dataset import EpisodeDataset
from episodes.folds import Folds
from episodes.sources.base import Source
from episodes.transforms.clips import TrainTransform
from episodes.unbroken import Unbroken
from fewshot.adaptation.build import adapting, told
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTrainConfig
from fewshot.evaluation.benchmark import Benchmark, open_together, tell_count
from fewshot.evaluation.folds import run_test
from fewshot.evaluation.given_weights import check_classes, check_held_out
from fewshot.evaluation.meta import notes_elsewhere
from fewshot.evaluation.report import Origin, tell_protocol
from fewshot.evaluation.validation import Validation
from fewshot.run import processes
from fewshot.run.folder import folder_path
from fewshot.run.logging.curve import DrawnLog
from fewshot.run.session import Session, tell_system
from fewshot.systems.base import System
from fewshot.systems.registry import make_system, spec_of
from fewshot.training.loop import Trainer, TrainSettings
from fewshot.training.rehearsal import rehearse
from fewshot.training.settings import micro_batches
from fewshot.weights.checkpoint import load_checkpoint
from fewshot.weights.load import load_weights, start_training
from fewshot.weights.trained_on import TrainedOn, trainings_before

logger = logging.getLogger(__name__)

# What may change when a run is continued: it does not enter the training.
FREE = ("test_chunk", "test_episodes", "protocol")


def meta_train(config: MetaTrainConfig, command: Command, here: Session) -> float | None:
    """Train, then test the chosen checkpoint on the held-out classes, in an open session.

    Returns what a search may optimise, in percent: the score that chose the checkpoint, so that no setting is chosen
    on the held-out classes behind one's back. Without such a choice (`select_on=last`) it is J (or mIoU) of the test.
    A rehearsal (`dry_run`) returns None.

    Raises:
        DoesNotFit: a rehearsal found that memory or disk do not suffice.
        Interrupted: a signal stopped the training after a save; the program ends with 130 or 143.
    """
    benchmark = open_together(config, here.folder)
    trained_on = trainings(config, benchmark.folds)
    system = adapting(start_system(config), config.adaptation).to(here.device)
    tell_system(system, system.name, here.device)
    tell_protocol(benchmark)
    settings = settings_of(config, command, system)
    trainer = Trainer(
        system,
        Unbroken(training_episodes(benchmark)) if config.train.broken == "skip" else training_episodes(benchmark),
        settings,
        here.folder,
        log=DrawnLog(here.log, benchmark.headline, settings.prototype_steps),
        validate=validation(benchmark, config),
        fingerprint=fingerprint(config, benchmark.source),
        trained_on=trained_on,
        on_resume=here.record,
    )
    tell_count("test", benchmark.tests(config.group)[0])
    if config.dry_run:
        rehearse(trainer, folder_path(config, command))
        return None
    result = trainer.run(config.resume)
    system.load_state_dict(load_checkpoint(result.best)["model"])
    notes = [*told(config.adaptation), *notes_elsewhere(trained_on, config.group, benchmark.folds)]
    origin = Origin.of_training(config, trained_on, result.best)
    report = run_test(system, benchmark, config.group, here.folder, origin, here.log, notes)
    optimized = 100 * report.value(benchmark.headline) if result.best_score is None else result.best_score
    here.log.summary({"optimized_metric": optimized})
    logger.info("folder: %s", here.folder)
    return optimized


def start_system(config: MetaTrainConfig) -> System:
    """The system with its initial weights."""
    system = make_system(config.system, config.seed)
    if config.train.init_from is not None:
        load = partial(load_weights, system, config.train.init_from, spec_of(config.system).plan)
        logger.info("%s", start_training(system, load, system.starts_anew))
    return system


def trainings(config: MetaTrainConfig, folds: Folds) -> tuple[TrainedOn, ...]:
    """What the weights will have been trained on: this fold's training classes, and whatever the start has seen.

    Raises:
        ValueError: the start has seen the classes that are held out here.
    """
    start = config.train.init_from
    earlier = trainings_before(start)
    advice = "Start from other weights, or hold out the group that they held out"
    check_held_out(folds.name, config.group, earlier, f"train.init_from={start}", advice)
    check_classes(folds, config.group, earlier, f"train.init_from={start}", advice)
    classes = tuple(map(folds.class_name, folds.train_classes(config.group)))
    return (TrainedOn(folds.name, config.group, classes), *earlier)


def training_episodes(benchmark: Benchmark) -> EpisodeDataset:
    """The endless training episodes of the fold, loaded and augmented."""
    settings, specs = benchmark.settings, benchmark.training()
    members = len({video for pool in specs.pools.values() for video in pool})
    logger.info("training: %d classes, %d %s", len(specs.classes), members, benchmark.members)
    transform = TrainTransform(
        settings.train_sizes,
        settings.train_max_size,
        crop=settings.crop,
        flip=settings.flip,
        colour=settings.colour,
        whole_words=not settings.flip_inside_words,
        wrap_colours=settings.wrap_colours,
        visible_by_box=settings.boxes_alone_tell_visible,
        keep_object=benchmark.keeps_object,
    )
    return EpisodeDataset(
        benchmark.train_source,
        specs,
        transform,
        seed=benchmark.config.seed,
        hue=settings.episode_hue,
        absent_share=settings.absent_share,
    )


def validation(benchmark: Benchmark, config: MetaTrainConfig) -> Validation | None:
    """Validation that chooses the checkpoint; None where no episodes are kept apart for it."""
    specs = benchmark.validation(config.train.select_on)
    if not specs:
        return None
    tell_count("validation on held-out classes" if specs[0].split == "test" else "validation", specs)
    return Validation(benchmark, specs)


def settings_of(config: MetaTrainConfig, command: Command, system: System) -> TrainSettings:
    """The configuration as the training loop takes it.

    A prototype phase that nobody asked for is left out where the system has no head for it, and the log says so.
    """
    train = asdict(config.train)
    del train["init_from"], train["episodes_per_step"], train["broken"]
    train["accumulate"] = micro_batches(config.train, processes.world_size())
    if not system.has_warmup and not {"train.prototype_fraction", "train.prototype_weight"} & command.typed:
        if train["prototype_fraction"] or train["prototype_weight"]:
            logger.info("system %s has no warm-up losses: trained without the prototype phase", system.name)
        train |= {"prototype_fraction": 0.0, "prototype_weight": 0.0}
    train["prototype_steps"] = round(train.pop("prototype_fraction") * config.train.steps)
    return TrainSettings(
        **asdict(config.optim),
        **{name: value for name, value in train.items() if name != "select_on"},
        select=config.train.select_on,
        seed=config.seed,
        workers=config.data.workers,
        pad_multiple=config.benchmark.pad_multiple,
    )


def fingerprint(config: MetaTrainConfig, source: Source) -> dict[str, Any]:
    """Settings that must be the same to continue a run, beside those of the training loop."""
    system = asdict(config.system)
    system.pop("activation_checkpointing", None)
    benchmark = {name: value for name, value in asdict(config.benchmark).items() if name not in FREE}
    adaptation = {} if config.adaptation.name == "none" else {"adaptation": asdict(config.adaptation)}
    return {
        **adaptation,
        "group": config.group,
        "shots": config.shots,
        "seed": config.seed,
        "init_from": config.train.init_from,
        "system": system,
        "benchmark": benchmark,
        "data": source.fingerprint(),
    }

"""Meta-training: learn from episodes of the training classes, choose a checkpoint, test it on the held-out classes."""

from __future__ import annotations

import logging
from dataclasses import asdict
from typing import Any

import torch

from episodes.dataset import EpisodeDataset
from episodes.folds import Folds
from episodes.sampling.cma_official import OfficialTrainEpisodes
from episodes.sources.base import Source
from episodes.sources.images import ImageSource
from episodes.transforms.clips import TrainTransform
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTrainConfig
from fewshot.evaluation.benchmark import count, kind_of, open_benchmark, open_data, test_specs, validation_specs
from fewshot.evaluation.folds import run_test
from fewshot.evaluation.report import Origin, announce
from fewshot.evaluation.validation import Validation
from fewshot.run.logging.curve import draw_learning_curve
from fewshot.run.session import session
from fewshot.systems.base import System
from fewshot.systems.registry import make_system
from fewshot.training.loop import Trainer, TrainSettings
from fewshot.weights.checkpoint import load_checkpoint
from fewshot.weights.load import load_weights

logger = logging.getLogger(__name__)

# What may change when a run is continued: it does not enter the training.
FREE = ("test_chunk", "test_episodes", "protocol")


def meta_train(config: MetaTrainConfig, command: Command) -> float:
    """Train, then test the chosen checkpoint on the held-out classes.

    Returns what a search may optimise, in percent: the score that chose the checkpoint, so that no setting is chosen
    on the held-out classes behind one's back. Without such a choice (`select_on=last`) it is J (or mIoU) of the test.

    Raises:
        Interrupted: a signal stopped the training after a save; the program ends with 130 or 143.
    """
    with session(config, command) as here:
        source, folds = open_data(config, here.folder)
        system = start_system(config, here.device)
        announce(config, system, here.device, Origin.of_training(config))
        trainer = Trainer(
            system,
            training_episodes(config, source, folds),
            settings_of(config),
            here.folder,
            log=here.tracker,
            validate=validation(config, source, folds, here.device),
            fingerprint=fingerprint(config, source),
        )
        count("test", test_specs(config, source, folds, config.group)[0])
        result = trainer.run(config.resume)
        if here.main:
            draw_learning_curve(here.folder / "learning_curve.png", here.tracker.rows(), kind_of(config).headline)
        system.load_state_dict(load_checkpoint(result.best)["model"])
        report = run_test(system, config, source, folds, config.group, here.folder, here.tracker)
        optimized = 100 * report.value(kind_of(config).headline) if result.best_score is None else result.best_score
        here.tracker.summary({"optimized_metric": optimized})
        logger.info("folder: %s", here.folder)
        return optimized


def start_system(config: MetaTrainConfig, device: torch.device) -> System:
    """The system with its initial weights, on `device`."""
    system = make_system(config.system, config.seed, config.recipe)
    if config.train.init_from is not None:
        logger.info("%s", load_weights(system, config.train.init_from))
    return system.to(device)


def training_episodes(config: MetaTrainConfig, source: Source, folds: Folds) -> EpisodeDataset:
    """The endless training episodes of the fold, loaded and augmented."""
    benchmark, official = config.benchmark, config.recipe == "official"
    kind = kind_of(config)
    if official:
        frames = {"query_frames": benchmark.query_frames, "support_frames": benchmark.support_frames}
        source = open_benchmark(config, official=True)
        specs = OfficialTrainEpisodes(source, folds, config.group, seed=config.seed, **frames)
    else:
        specs = kind.training(source, folds)
    members = len({video for pool in specs.pools.values() for video in pool})
    logger.info("training: %d classes, %d %s", len(specs.classes), members, kind.members)
    transform = TrainTransform(
        benchmark.train_sizes,
        benchmark.train_max_size,
        crop=benchmark.crop,
        flip=benchmark.flip,
        colour=benchmark.colour,
        official=official,
        keep_object=isinstance(source, ImageSource),
    )
    return EpisodeDataset(source, specs, transform, seed=config.seed, hue=benchmark.episode_hue)


def validation(config: MetaTrainConfig, source: Source, folds: Folds, device: torch.device) -> Validation | None:
    """What chooses the checkpoint; None where no episodes are kept apart for it."""
    specs = validation_specs(config, source, folds)
    if not specs:
        return None
    count("validation on held-out classes" if specs[0].split == "test" else "validation", specs)
    benchmark = config.benchmark
    return Validation(
        source,
        specs,
        kind=kind_of(config),
        chunk=benchmark.test_chunk,
        device=device,
        protocol=benchmark.protocol,
    )


def settings_of(config: MetaTrainConfig) -> TrainSettings:
    """The configuration as the training loop takes it."""
    train = asdict(config.train)
    del train["init_from"]
    train["warmup_steps"] = round(train.pop("warmup_portion") * config.train.steps)
    return TrainSettings(
        **asdict(config.optim),
        **{name: value for name, value in train.items() if name != "select_on"},
        select=config.train.select_on,
        seed=config.seed,
        workers=config.data.workers,
        pad_multiple=config.benchmark.pad_multiple,
        recipe=config.recipe,
    )


def fingerprint(config: MetaTrainConfig, source: Source) -> dict[str, Any]:
    """What a run may not be continued without, beside the settings of the training loop."""
    system = asdict(config.system)
    system.pop("activation_checkpointing")
    benchmark = {name: value for name, value in asdict(config.benchmark).items() if name not in FREE}
    return {
        "group": config.group,
        "shots": config.shots,
        "seed": config.seed,
        "init_from": config.train.init_from,
        "system": system,
        "benchmark": benchmark,
        "data": source.fingerprint(),
    }

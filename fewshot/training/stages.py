"""Training on a mixture of tasks, as in the stages of UniRef++: each batch holds one task on one data set."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

from episodes.dataset import EpisodeDataset
from episodes.sampling.images import ImageEpisodes
from episodes.sampling.mixture import Mixture, MixturePart
from episodes.sampling.objects import ObjectClipEpisodes
from episodes.sampling.referred import ClipEpisodes, SentenceClipEpisodes
from episodes.sampling.tasks import (
    DetectionEpisodes,
    PseudoVideoEpisodes,
    RISEpisodes,
    RVOSEpisodes,
    TaskEpisodes,
    VOSEpisodes,
)
from episodes.sources import ImageSource, open_source
from episodes.sources.instances import InstanceSource
from episodes.sources.sentences import SentenceSource
from episodes.sources.task_source import TaskSource
from episodes.sources.tasks import open_task_source
from episodes.transforms.clips import TrainTransform
from episodes.transforms.motion import Drift
from episodes.unbroken import Unbroken
from fewshot.cli.runs import StageConfig, parts_in_use
from fewshot.config.task_sections import PartConfig
from fewshot.run import processes
from fewshot.run.session import Session, tell_system
from fewshot.systems.registry import make_system, spec_of
from fewshot.training.loop import Trainer, TrainSettings
from fewshot.training.rehearsal import rehearse
from fewshot.training.settings import micro_batches
from fewshot.weights.load import start_from, start_training
from fewshot.weights.trained_on import TrainedOn, trainings_before

logger = logging.getLogger(__name__)

ALIKE = ("vos", "rvos")  # support and query are frames of one video: one size, one flip


def train_stage(config: StageConfig, here: Session) -> None:
    """Train to the end of the stage; its last checkpoint is what the next stage starts from.

    Raises:
        Interrupted: a signal stopped the training after a save; the program ends with 130 or 143.
    """
    system = make_system(config.system, config.seed)
    if config.train.init_from is not None:
        path = Path(config.train.init_from).expanduser()
        load = partial(start_from, system, path, spec_of(config.system).plan)
        logger.info("%s", start_training(system, load, system.starts_anew))
    system.to(here.device)
    tell_system(system, system.name, here.device)
    datasets = {name: dataset_of(part, config, system.num_classes) for name, part in parts_in_use(config).items()}
    mixture = mixture_of(config, datasets)
    settings = settings_of(config, datasets)
    record = fingerprint(config, datasets)
    trainer = Trainer(
        system,
        mixture,
        settings,
        here.folder,
        log=here.log,
        fingerprint=record,
        trained_on=trainings(config, datasets),
        on_resume=here.record,
    )
    if config.dry_run:
        rehearse(trainer, Path(config.out))
        return
    result = trainer.run(config.resume)
    logger.info("trained: %s", result.best)


# --------------------------------------------------------------------------------------------------------------- data


def mixture_of(config: StageConfig, datasets: dict[str, EpisodeDataset]) -> Mixture:
    """The endless episodes of all parts, batch by batch."""
    skips = config.train.broken == "skip"
    parts = [
        MixturePart(name, Unbroken(dataset) if skips else dataset, ratio_of(config, name, dataset))
        for name, dataset in datasets.items()
    ]
    total = sum(part.ratio for part in parts)
    for part in parts:
        kind = config.parts[part.name].kind
        logger.info("part %s: %s, %.1f %% of the batches", part.name, kind, 100 * part.ratio / total)
    return Mixture(parts, batch=config.train.batch, seed=config.seed)


def ratio_of(config: StageConfig, name: str, dataset: EpisodeDataset) -> float:
    """Ratio of a part: what is set, or the number of its samples."""
    ratio = config.parts[name].ratio
    return samples_of(dataset, f"parts.{name}.ratio=null") if ratio is None else ratio


def samples_of(dataset: EpisodeDataset, key: str) -> int:
    """Samples of a round of a part.

    Raises ValueError, naming the key that asks for it, where there are no rounds.
    """
    if not isinstance(dataset.specs, (ClipEpisodes, SentenceClipEpisodes)):
        raise ValueError(
            f"{key}: {dataset.source.name} is drawn without end; rounds have parts of the kind clips alone"
        )
    return len(dataset.specs)


def steps_of(config: StageConfig, datasets: dict[str, EpisodeDataset]) -> int:
    """Steps of the stage: `train.steps`, or as many as its epochs take.

    Raises ValueError for epochs of parts that have no rounds.
    """
    if config.epochs is None:
        return config.train.steps
    samples = sum(samples_of(dataset, f"epochs={config.epochs:g}") for dataset in datasets.values())
    world = processes.world_size()
    step = config.train.batch * micro_batches(config.train, world) * world
    steps = math.ceil(config.epochs * samples / step)
    logger.info("%g epochs of %d samples, %d a step: %d steps", config.epochs, samples, step, steps)
    return steps


def dataset_of(part: PartConfig, config: StageConfig, num_classes: int) -> EpisodeDataset:
    """The loaded and augmented episodes of a part."""
    transform = TrainTransform(
        part.sizes,
        part.max_size,
        crop=part.crop,
        colour=part.colour,
        wrap_colours=part.wrap_colours,
        whole_words=not part.flip_inside_words,
        crop_sizes=part.crop_sizes,
        crop_range=(part.crop_range[0], part.crop_range[1]),
        visible_by_box=part.crop_anywhere,
        keep_object=not part.crop_anywhere,
        keep_order=not part.crop_anywhere,
        cropped_sizes=part.cropped_sizes,
        cropped_max_size=part.cropped_max_size,
        gentle_colours=part.gentle_colours,
        alike=part.one_distortion,
        resize_first=part.resize_first,
        drift=Drift(part.still_turn, part.still_shift, part.still_zoom),
    )
    specs = specs_of(part, config, num_classes)
    return EpisodeDataset(specs.source, specs, transform, seed=config.seed, one_draw=part.kind in ALIKE)


def specs_of(part: PartConfig, config: StageConfig, num_classes: int) -> TaskEpisodes | ImageEpisodes:
    """The endless episodes of a part, by name; of few-shot images those of the first group's training classes."""
    if part.kind == "fss":
        source = open_source(part.benchmark, part.root)
        if not isinstance(source, ImageSource):
            raise ValueError(f"benchmark {part.benchmark} holds videos: a part of kind fss needs images")
        group = source.folds.groups[0]
        return ImageEpisodes(source, source.folds, group, "train", shots=1, seed=config.seed)
    kinds: dict[str, Callable[[TaskSource], TaskEpisodes]] = {
        "ris": lambda source: RISEpisodes(source, seed=config.seed),
        "vos": lambda source: VOSEpisodes(source, seed=config.seed),
        "rvos": lambda source: RVOSEpisodes(
            source, seed=config.seed, batch=config.train.batch, mask_fraction=part.mask_fraction
        ),
        "clips": lambda source: clips_of(source, part, config.seed),
        "objects": lambda source: ObjectClipEpisodes(
            source, seed=config.seed, frames=part.frames, reach=part.reach, again=part.frames_again
        ),
        "still_vos": lambda source: PseudoVideoEpisodes(source, seed=config.seed),
        "detection": lambda source: DetectionEpisodes(source, seed=config.seed),
    }
    return kinds[part.kind](source_of(part, num_classes))


def clips_of(source: TaskSource, part: PartConfig, seed: int) -> TaskEpisodes:
    """Clips with expressions; where sentences are about single frames, around these."""
    if isinstance(source, SentenceSource):
        return SentenceClipEpisodes(source, seed=seed, frames=part.frames, repeat=part.repeat_frames)
    return ClipEpisodes(
        source,
        seed=seed,
        frames=part.frames,
        expressions=part.expressions,
        reverse=part.reverse,
        repeat=part.repeat_frames,
    )


def source_of(part: PartConfig, num_classes: int) -> TaskSource:
    """The data set of a part without classes.

    Raises:
        ValueError: the system has a score head for another number of classes than the data set.
    """
    if part.kind not in ("still_vos", "detection"):
        return open_task_source(part.benchmark, part.root, part.split)
    root = Path(part.root or "").expanduser()
    files = (root / (part.annotations or ""), root / (part.images or ""))
    source = InstanceSource(part.benchmark, *files, part.split, boxes_only=part.boxes_only, one_class=part.one_class)
    if source.num_classes > num_classes:
        raise ValueError(
            f"{source.root} has {source.num_classes} classes and the system scores {num_classes}: give "
            f"system.num_classes={source.num_classes}, or one_class=true for this part"
        )
    return source


# --------------------------------------------------------------------------------------------------- start and settings


def trainings(config: StageConfig, datasets: dict[str, EpisodeDataset]) -> tuple[TrainedOn, ...]:
    """What the weights will have been trained on: the data sets of the parts, and whatever the start has seen."""
    own = []
    for name, part in parts_in_use(config).items():
        specs = datasets[name].specs
        if isinstance(specs, ImageEpisodes):
            classes = tuple(map(specs.folds.class_name, specs.folds.train_classes(specs.group)))
            own.append(TrainedOn(part.benchmark, specs.group, classes))
        else:
            source = datasets[name].source
            assert isinstance(source, TaskSource)  # all kinds of parts but `fss`
            own.append(TrainedOn(part.benchmark, None, source.label_names(), source.split))
    return (*dict.fromkeys(own), *trainings_before(config.train.init_from))


def settings_of(config: StageConfig, datasets: dict[str, EpisodeDataset]) -> TrainSettings:
    """The configuration as the training loop takes it: there is no validation, the last checkpoint counts."""
    train = asdict(config.train)
    for name in ("init_from", "select_on", "prototype_fraction", "prototype_weight", "episodes_per_step", "broken"):
        del train[name]
    train["accumulate"] = micro_batches(config.train, processes.world_size())
    return TrainSettings(
        **asdict(config.optim),
        **{**train, "steps": steps_of(config, datasets)},
        select="last",
        seed=config.seed,
        workers=config.workers,
    )


def fingerprint(config: StageConfig, datasets: dict[str, EpisodeDataset]) -> dict[str, Any]:
    """Settings that must be the same to continue a run, beside those of the training loop."""
    system = asdict(config.system)
    system.pop("activation_checkpointing", None)
    parts = {name: asdict(part) for name, part in parts_in_use(config).items()}
    for name, part in parts.items():
        del part["root"]
        part["data"] = datasets[name].source.fingerprint()
    return {"seed": config.seed, "init_from": config.train.init_from, "system": system, "parts": parts}

"""TODO-DOC"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional, Union

from omegaconf import MISSING

from fewshot.config.keys import key
from fewshot.config.sections import (
    PROTOCOLS,
    BenchmarkConfig,
    DataConfig,
    OptimConfig,
    PartConfig,
    TaskConfig,
    TaskDataConfig,
    TestConfig,
    TrackingConfig,
    TrainConfig,
)
from fewshot.systems.config import SystemConfig


@dataclass
class MetaTrainConfig:
    """`python -m fewshot.meta_train`"""

    group: int = key(
        1,
        "evaluation fold: its classes are held out of training and tested; 1 to 4, images 0 to 3",
        minimum=0,
    )
    shots: int = key(1, "support clips per episode", minimum=1)
    seed: int = key(0, "fixes initial weights, episodes and augmentation", minimum=0)
    protocol: Optional[str] = key(None, "protocol of the numbers; null: the benchmark's own", choices=PROTOCOLS)
    recipe: str = key(
        "fixed",
        "official: all of the official training behaviour at once, its faults included (experiments/recipe)",
        choices=("fixed", "official"),
    )
    system: SystemConfig = field(default_factory=SystemConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    test: TestConfig = field(default_factory=TestConfig)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "continue the run of this name where it stopped")


@dataclass
class MetaTestConfig:
    """`python -m fewshot.meta_test`"""

    group: Union[int, str] = key(
        1, "evaluation fold whose classes are tested: 1 to 4 (images 0 to 3) or `all`", minimum=0
    )
    shots: int = key(1, "support clips per episode", minimum=1)
    seed: int = key(0, "fixes the episodes; with test.seeds=n also seed+1 .. seed+n-1", minimum=0)
    weights: Optional[str] = key(
        None, "run folder, converted folder or official checkpoint; `{group}` is filled in; null: untrained"
    )
    protocol: Optional[str] = key(None, "protocol of the numbers; null: the benchmark's own", choices=PROTOCOLS)
    manifest: Optional[str] = key(None, "episode list written by episodes.freeze; null: drawn by the seed")
    system: SystemConfig = field(default_factory=SystemConfig)
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    data: DataConfig = field(default_factory=DataConfig)
    test: TestConfig = field(default_factory=TestConfig)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "write into the folder of this name although it is not empty")


@dataclass
class StageConfig:
    """`python -m fewshot.train_stage`"""

    stage: str = key(MISSING, "name of the stage (experiments/stage)")
    seed: int = key(0, "fixes initial weights, episodes and augmentation", minimum=0)
    parts: dict[str, PartConfig] = key({}, "the mixture: a task on a data set each, parts.<name>.<key>")
    system: SystemConfig = field(default_factory=SystemConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    workers: int = key(0, "processes that load episodes; 0: the main one. No effect on the numbers", minimum=0)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "continue the run of this name where it stopped")


def parts_in_use(config: StageConfig) -> dict[str, PartConfig]:
    """The parts with a ratio above 0."""
    return {name: part for name, part in config.parts.items() if part.ratio > 0}


@dataclass
class TaskTestConfig:
    """`python -m fewshot.task_test`"""

    weights: Optional[str] = key(None, "run folder, converted folder or official checkpoint")
    untrained: bool = key(False, "true: without weights, as the system is built (to try things out)")
    seed: int = key(0, "fixes the weights of an untrained system", minimum=0)
    limit: Optional[int] = key(None, "videos or images that are tested, from the first on; null: all", minimum=1)
    pictures: int = key(4, "videos or images drawn as overlay pictures", minimum=0)
    zip: bool = key(False, "pack the result folder, as servers want it")
    processes: int = key(1, "processes that compute J and F. No effect on the numbers", minimum=1)
    task: TaskConfig = field(default_factory=TaskConfig)
    system: SystemConfig = field(default_factory=SystemConfig)
    data: TaskDataConfig = field(default_factory=TaskDataConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "go on where the run of this name stopped: what is finished is kept")

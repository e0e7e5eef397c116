"""The configuration of each kind of run, on one base; the YAML files under `experiments/` fill them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Optional, Union

from omegaconf import MISSING

from benchmarks.protocols import PROTOCOLS, get_protocol
from benchmarks.protocols.images import ImageProtocol
from episodes.catalogue import data_set
from episodes.transforms.input_rule import LONG_FRACTION, InputRule
from fewshot.config.keys import key
from fewshot.config.limits import LARGEST_SEED, MOST_EPISODES, MOST_PROCESSES, MOST_THREADS
from fewshot.config.sections import (
    AdaptationConfig,
    BenchmarkConfig,
    DataConfig,
    LoggingConfig,
    OptimConfig,
    TestConfig,
    TrainConfig,
)
from fewshot.config.task_sections import PartConfig, TaskConfig, TaskDataConfig
from fewshot.systems.config import SystemConfig

RECIPES = ("corrected", "official")


@dataclass
class RunConfig:
    """Configuration of any run: a system, a seed, a device, a folder and a log.

    Attributes:
        told: keys that the title tells of.
        may_change: keys that may change when a run goes on, beside those of `fewshot.run.folder.INCIDENTAL`.
        trains: whether weights are learnt.
    """

    told: ClassVar[tuple[str, ...]] = ("seed", "system")
    may_change: ClassVar[tuple[str, ...]] = ()
    trains: ClassVar[bool] = False

    seed: int = key(0, "fixes initial weights, episodes and augmentation", minimum=0, maximum=LARGEST_SEED)
    recipe: str = key(
        "corrected",
        "official: all switches of the system at once that bring back its released training code, faults included",
        choices=RECIPES,
    )
    system: SystemConfig = field(default_factory=SystemConfig)
    logging: LoggingConfig = field(default_factory=LoggingConfig)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(
        None, "CPU threads; null: 1 for the tiny backbone, else as torch chooses", minimum=1, maximum=MOST_THREADS
    )
    out: str = key("runs", "folder of the run folders", place=True)
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "continue the run of this name where it stopped")

    def title(self, options: Mapping[str, str]) -> list[str]:
        """Words of the run folder's name; `options` says which option of each group of settings is in use."""
        raise NotImplementedError

    def experiment(self, options: Mapping[str, str]) -> str:
        """A name that the runs of one set-up share, whatever their fold and seed."""
        raise NotImplementedError

    def system_name(self, options: Mapping[str, str]) -> str:
        """The system as the user chose it."""
        return options.get("system", self.system.name).replace(":", ".")


@dataclass
class EpisodeRunConfig(RunConfig):
    """A run on episodes of a benchmark with folds."""

    told: ClassVar[tuple[str, ...]] = (
        "group",
        "shots",
        "seed",
        "system",
        "benchmark",
        "benchmark.protocol",
        "protocol",
        "adaptation",
    )

    group: Union[int, str] = key(1, "evaluation fold: 1 to 4, images 0 to 3", minimum=0, maximum=1000)
    shots: int = key(1, "support clips per episode", minimum=1, maximum=1000)
    protocol: Optional[str] = key(None, "protocol of the numbers; null: the benchmark's own", choices=tuple(PROTOCOLS))
    benchmark: BenchmarkConfig = field(default_factory=BenchmarkConfig)
    adaptation: AdaptationConfig = field(default_factory=AdaptationConfig)
    data: DataConfig = field(default_factory=DataConfig)
    test: TestConfig = field(default_factory=TestConfig)

    def title(self, options: Mapping[str, str]) -> list[str]:
        """`<system>[-<adaptation>]-<benchmark>-<protocol>-<shots>shot-g<group>-s<seed>`."""
        name = options.get("benchmark", self.benchmark.name)
        shots, fold, seed = f"{self.shots}shot", f"g{self.group}", f"s{self.seed}"
        return [self.adapted_name(options), name, self.benchmark.protocol, shots, fold, seed]

    def adapted_name(self, options: Mapping[str, str]) -> str:
        """The system as the user chose it, with its adaptation where it has one."""
        name = self.system_name(options)
        return name if self.adaptation.name == "none" else f"{name}-{self.adaptation.name}"

    def input_rule(self) -> InputRule:
        """Input rule of the tests of this run: the protocol's, at the configured size or its own."""
        protocol, size = get_protocol(self.benchmark.protocol), self.benchmark.test_size
        if not isinstance(protocol, ImageProtocol):
            assert size is not None  # of videos: `check_protocol`
            return InputRule("short", size)
        size = protocol.size(self.benchmark.name) if size is None else size
        limit = round(LONG_FRACTION * size) if protocol.input_rule == "short" else None
        return InputRule(protocol.input_rule, size, limit)

    def experiment(self, options: Mapping[str, str]) -> str:
        """`<system>[-<adaptation>]-<benchmark>-<shots>shot`."""
        return f"{self.adapted_name(options)}-{options.get('benchmark', self.benchmark.name)}-{self.shots}shot"


@dataclass
class MetaTrainConfig(EpisodeRunConfig):
    """Meta-training on the training classes of a fold, and the test on the held-out ones."""

    trains: ClassVar[bool] = True

    group: int = key(
        1,
        "evaluation fold: its classes are held out of training and tested; 1 to 4, images 0 to 3",
        minimum=0,
        maximum=1000,
    )
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    dry_run: bool = key(False, "true: measure a few steps and say what the training will need; nothing is written")


@dataclass
class MetaTestConfig(EpisodeRunConfig):
    """A test on the held-out classes of a fold, or of all folds."""

    group: Union[int, str] = key(
        1, "evaluation fold whose classes are tested: 1 to 4 (images 0 to 3) or `all`", minimum=0, maximum=1000
    )
    seed: int = key(0, "fixes the episodes; with test.seeds=n also seed+1 .. seed+n-1", minimum=0, maximum=LARGEST_SEED)
    weights: Optional[str] = key(
        None,
        "run folder, converted folder or official checkpoint; `{group}` is filled in; null: untrained",
        place=True,
    )
    manifest: Optional[str] = key(None, "episode list written by fewshot.freeze; null: drawn by the seed", place=True)
    resume: bool = key(False, "write into the folder of this name although it is not empty")

    def title(self, options: Mapping[str, str]) -> list[str]:
        """As of a training, with `test` before it."""
        return ["test", *super().title(options)]


@dataclass
class TaskTestConfig(RunConfig):
    """A test of referring or mask-guided segmentation, without held-out classes."""

    told: ClassVar[tuple[str, ...]] = (
        "task",
        "task.split",
        "untrained",
        "zip",
        "limit",
        "pictures",
        "processes",
        "system",
    )
    may_change: ClassVar[tuple[str, ...]] = ("limit", "pictures", "zip", "processes")

    seed: int = key(0, "fixes the weights of an untrained system", minimum=0, maximum=LARGEST_SEED)
    weights: Optional[str] = key(None, "run folder, converted folder or official checkpoint", place=True)
    untrained: bool = key(False, "true: without weights, as the system is built (to try things out)")
    limit: Optional[int] = key(
        None, "videos or images that are tested, from the first on; null: all", minimum=1, maximum=MOST_EPISODES
    )
    pictures: int = key(4, "videos or images drawn as overlay pictures", minimum=0, maximum=1000)
    zip: bool = key(False, "pack the result folder, as servers want it")
    processes: int = key(
        1, "processes that compute J and F. No effect on the numbers", minimum=1, maximum=MOST_PROCESSES
    )
    task: TaskConfig = field(default_factory=TaskConfig)
    data: TaskDataConfig = field(default_factory=TaskDataConfig)
    resume: bool = key(False, "go on where the run of this name stopped: what is finished is kept")

    def input_rule(self) -> InputRule:
        """How frames become network input; without a short side the long side alone counts."""
        return InputRule(self.task.rule, self.task.short or self.task.long, self.task.long)

    def title(self, options: Mapping[str, str]) -> list[str]:
        """`<task>-<split>-<name of the weights, or the untrained system>`."""
        split = self.task.split or data_set(self.task.benchmark).splits[0]
        weights = f"untrained-{self.system_name(options)}" if self.weights is None else Path(self.weights).stem
        return [options.get("task", self.task.benchmark), split, weights]

    def experiment(self, options: Mapping[str, str]) -> str:
        """`<system>-<task>`."""
        return f"{self.system.name}-{options.get('task', self.task.benchmark)}"


@dataclass
class StageConfig(RunConfig):
    """A training stage: a mixture of tasks and data sets that a system learns at once."""

    told: ClassVar[tuple[str, ...]] = ("stage", "workers", "seed", "system")
    trains: ClassVar[bool] = True

    stage: str = key(MISSING, "name of the stage (experiments/stage)")
    epochs: Optional[float] = key(
        None,
        "length in rounds of the samples of all parts (kind clips); null, or where train.steps is typed: train.steps",
        minimum=0.001,
        maximum=100_000,
    )
    parts: dict[str, PartConfig] = key({}, "the mixture: a task on a data set each, parts.<name>.<key>")
    optim: OptimConfig = field(default_factory=OptimConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    workers: int = key(
        0, "processes that load episodes; 0: the main one. No effect on the numbers", minimum=0, maximum=MOST_PROCESSES
    )
    dry_run: bool = key(False, "true: measure a few steps and say what the training will need; nothing is written")

    def title(self, options: Mapping[str, str]) -> list[str]:
        """`<stage>-<system>-s<seed>`."""
        return [self.stage, self.system_name(options), f"s{self.seed}"]

    def experiment(self, options: Mapping[str, str]) -> str:
        """`<system>-<stage>`."""
        return f"{self.system_name(options)}-{self.stage}"


def parts_in_use(config: StageConfig) -> dict[str, PartConfig]:
    """The parts with a ratio above 0."""
    return {name: part for name, part in config.parts.items() if part.ratio is None or part.ratio > 0}

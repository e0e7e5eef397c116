"""The two kinds of benchmark: videos with expressions (J and F) and images of a class (mIoU and FB-IoU).

They differ in how episodes are drawn, how frames are resized, and what a segmented query is scored as. Everything
else, from the training loop to the report, is the same code; it asks the kind.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import torch

from benchmarks.protocols import get_protocol
from benchmarks.protocols.images import ImageProtocol
from benchmarks.scores.scores import ImageScore, QueryScore
from episodes.clip import Clip
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sampling.lists import read_lists
from episodes.sampling.manifest import read_manifest
from episodes.sampling.pools import NotFeasible
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import open_source
from episodes.sources.base import Source
from episodes.sources.images import ImageSource
from episodes.transforms.clips import PadTransform, ShortLongTransform, SquareTransform, TestTransform
from episodes.transforms.input_rule import LONG_SHARE
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.evaluation.evaluate import QueryResult
from fewshot.evaluation.scoring import clip_scoring, image_score
from fewshot.run import processes
from fewshot.run.session import tell_problems

logger = logging.getLogger(__name__)
Config = MetaTrainConfig | MetaTestConfig
Score = QueryScore | ImageScore
Transform = Callable[[Clip, torch.Generator], Clip]


class Kind(ABC):
    """What depends on the kind of benchmark. `headline` is the measure that chooses checkpoints, `members` what a class
    has many of."""

    headline: str
    members: str

    def __init__(self, config: Config) -> None:
        self.config, self.benchmark = config, config.benchmark

    @abstractmethod
    def training(self, source: Source, folds: Folds, split: str = "train") -> TrainEpisodes | ImageEpisodes:
        """Endless episodes of the training classes, `split` train or val. Raises ValueError if there are none."""

    @abstractmethod
    def test(self, source: Source, folds: Folds, group: int, seed: int, limit: int | None) -> list[EpisodeSpec]:
        """The test episodes of a fold for one seed. Raises NotFeasible or ValueError."""

    @abstractmethod
    def test_transform(self) -> Transform:
        """From frames as read to network input; masks keep their resolution."""

    @abstractmethod
    def work(self, result: QueryResult) -> Callable[[], Score]:
        """The scoring of a segmented query, as something that another process can run."""

    def probes(self) -> list[str]:
        """The sanity probes that were asked for, '' (none) first, less those that take away what is not there."""
        return ["", *dict.fromkeys(self.config.test.probes)]

    @property
    def votes(self) -> bool:
        """Whether several supports are given one by one and their masks vote."""
        return False

    @property
    def size_text(self) -> str:
        """The network resolution in words, for the protocol card."""
        return f"short side {self.benchmark.test_size}"


class VideoKind(Kind):
    """Few-shot referring video segmentation, as CMA samples and tests it (Li et al., ICCV 2023)."""

    headline, members = "J", "videos"

    def training(self, source: Source, folds: Folds, split: str = "train") -> TrainEpisodes:
        config = self.config
        return TrainEpisodes(
            source,
            folds,
            int(config.group),
            split,
            shots=config.shots,
            seed=config.seed,
            query_frames=self.benchmark.query_frames,
            support_frames=self.benchmark.support_frames,
        )

    def test(self, source: Source, folds: Folds, group: int, seed: int, limit: int | None) -> list[EpisodeSpec]:
        frames = self.benchmark.support_frames
        return test_episodes(
            source, folds, group, shots=self.config.shots, seed=seed, support_frames=frames, limit=limit
        )

    def test_transform(self) -> Transform:
        return TestTransform(self.benchmark.test_size)

    def work(self, result: QueryResult) -> Callable[[], QueryScore]:
        return clip_scoring(result)


class ImageKind(Kind):
    """Few-shot segmentation of images, by one of the field's named protocols."""

    headline, members = "mIoU", "images"

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        protocol = get_protocol(self.benchmark.protocol)
        assert isinstance(protocol, ImageProtocol)
        self.protocol = protocol

    def training(self, source: Source, folds: Folds, split: str = "train") -> ImageEpisodes:
        config = self.config
        assert isinstance(source, ImageSource)
        return ImageEpisodes(
            source,
            folds,
            int(config.group),
            split,
            shots=config.shots,
            seed=config.seed,
            min_area=self.protocol.min_area,
            drop_novel=self.protocol.drop_novel,
            lists=self.lists(source, int(config.group), "train"),
        )

    def test(self, source: Source, folds: Folds, group: int, seed: int, limit: int | None) -> list[EpisodeSpec]:
        assert isinstance(source, ImageSource)
        rule = self.protocol.rule(self.benchmark.name)
        return image_test_episodes(
            source,
            folds,
            group,
            shots=self.config.shots,
            seed=seed,
            count=rule.count,
            limit=limit,
            queries=rule.queries,
            min_area=self.protocol.min_area,
            images=self.lists(source, group, "test"),
        )

    def lists(self, source: ImageSource, group: int, split: str) -> Mapping[int, Sequence[str]] | None:
        """The images of each class from the list files of `data.lists`; None: from the masks."""
        folder = self.config.data.lists
        return None if folder is None else read_lists(folder, self.benchmark.name, group, split, source)

    def test_transform(self) -> Transform:
        size = self.benchmark.test_size
        builders: dict[str, Callable[[], Transform]] = {
            "square": lambda: SquareTransform(size),
            "pad": lambda: PadTransform(size),
            "short": lambda: ShortLongTransform(size, round(LONG_SHARE * size)),
        }
        return builders[self.protocol.input_rule]()

    def work(self, result: QueryResult) -> Callable[[], ImageScore]:
        return partial(_same, image_score(result, self.protocol))

    def probes(self) -> list[str]:
        return [probe for probe in super().probes() if probe != "shuffled_text"]  # images have no words

    @property
    def votes(self) -> bool:
        return self.protocol.k_shot == "votes"

    @property
    def size_text(self) -> str:
        size = self.benchmark.test_size
        words = {"square": f"{size}x{size}", "pad": f"long side {size}", "short": f"short side {size}"}
        return words[self.protocol.input_rule]


def _same(score: ImageScore) -> ImageScore:
    """Counting pixels is too little work to be sent to another process."""
    return score


def is_image_benchmark(config: Config) -> bool:
    """Whether the protocol counts pixels of images."""
    return isinstance(get_protocol(config.benchmark.protocol), ImageProtocol)


def kind_of(config: Config) -> Kind:
    """The kind of the configured benchmark."""
    return ImageKind(config) if is_image_benchmark(config) else VideoKind(config)


def open_data(config: Config, folder: Path) -> tuple[Source, Folds]:
    """The source and the folds of the benchmark; what is broken in the data is logged, a long list in `folder`.

    Generated data are written by the first process while the others wait.
    """
    source = open_benchmark(config) if processes.is_main() else None
    processes.barrier()
    source = source or open_benchmark(config)
    if processes.is_main():
        tell_problems(source.problems(), folder)
    return source, source.folds


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


def count(split: str, specs: Sequence[EpisodeSpec]) -> None:
    """Log how many episodes, queries and classes a split has."""
    queries, classes = sum(len(spec.queries) for spec in specs), len({spec.class_id for spec in specs})
    logger.info("%s: %d episodes, %d queries, %d classes", split, len(specs), queries, classes)


def validation_specs(config: MetaTrainConfig, source: Source, folds: Folds) -> list[EpisodeSpec]:
    """The episodes that choose the checkpoint: of the training classes, videos kept apart, or (`select_on=test`) of
    the held-out classes. None where nothing is kept apart (`select_on=last` with the official recipe, or with too few
    videos).

    Raises:
        NotFeasible: too few videos, and the checkpoint is to be chosen on some of them.
    """
    kind, count = kind_of(config), config.benchmark.val_episodes
    if config.train.select_on == "test":
        return kind.test(source, folds, config.group, config.seed, count)
    if config.recipe == "official":
        return []
    try:
        episodes = kind.training(source, folds, "val")
    except NotFeasible as error:
        if config.train.select_on == "val":
            raise NotFeasible(f"{error}; or train without validation: train.select_on=last") from error
        logger.warning("training goes without validation: %s", error)
        return []
    return [episodes[i] for i in range(count)]


def test_specs(config: Config, source: Source, folds: Folds, group: int) -> list[list[EpisodeSpec]]:
    """The episodes of a fold, one list per seed: from the manifest if there is one, else drawn.

    Raises:
        ValueError: the manifest has no episode of the group or another number of shots, or episodes cannot be drawn.
    """
    manifest = getattr(config, "manifest", None)
    if manifest is None:
        kind, limit = kind_of(config), config.benchmark.test_episodes
        seeds = range(config.seed, config.seed + config.test.seeds)
        return [kind.test(source, folds, group, seed, limit) for seed in seeds]
    manifest = manifest.replace("{group}", str(group))
    specs = [spec for spec in read_manifest(manifest, source) if spec.group == group]
    if not specs:
        raise ValueError(f"manifest={manifest} has no episode of group {group}: give the group that it was frozen for")
    frozen = specs[0].shots
    if frozen != config.shots:
        raise ValueError(
            f"manifest={manifest} has {frozen} supports per episode, not {config.shots}: give shots={frozen}"
        )
    return [[spec for spec in specs if spec.seed == seed] for seed in sorted({spec.seed for spec in specs})]

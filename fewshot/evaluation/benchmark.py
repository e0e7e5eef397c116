"""`Benchmark`: a data set with folds, opened once, with the protocol and the input rule of its numbers.

Videos with expressions (J and F) and images of a class (mIoU and FB-IoU) differ in how episodes are drawn, how frames
are resized, and what a segmented query is scored as. Everything else, from the training loop to the report, is the same
code and asks the benchmark.
"""

from __future__ import annotations

import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cached_property, partial
from pathlib import Path
from typing import Any

from benchmarks.protocols import PROTOCOLS, get_protocol
from benchmarks.protocols.images import ImageProtocol
from benchmarks.protocols.protocol import BaseProtocol
from benchmarks.protocols.videos import Protocol as VideoProtocol
from benchmarks.report import Report
from benchmarks.scores.scores import ImageScore, QueryScore
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.cma_official import TEST_LISTS, CMATrainEpisodes
from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sampling.lists import LISTED, read_lists
from episodes.sampling.pools import NotFeasible
from episodes.sampling.probes import NAME_ONLY
from episodes.sampling.videos import TrainEpisodes
from episodes.sources import open_source
from episodes.sources.base import Source
from episodes.sources.images import ImageSource
from episodes.transforms.clips import ResizeTransform
from episodes.transforms.input_rule import InputRule
from fewshot.cli.runs import EpisodeRunConfig
from fewshot.evaluation.frozen import frozen_tests
from fewshot.evaluation.query import QueryResult
from fewshot.evaluation.scoring import clip_scoring, image_score, query_score
from fewshot.run import processes
from fewshot.run.session import tell_problems

logger = logging.getLogger(__name__)
Score = QueryScore | ImageScore


class Benchmark(ABC):
    """A data set with folds, opened once. `open_benchmark` makes one from the configuration of a run.

    Attributes:
        source: reads the data.
        folds: its classes in groups.
        protocol: of the headline numbers.
        rule: how frames become network input in a test.
        headline: the measure that chooses checkpoints.
        members: word for the samples of a class: videos or images.
    """

    headline: str
    members: str
    # sanity probes that cannot change these episodes
    impossible_probes: frozenset[str] = frozenset()
    # whether a training crop always shows some of the object
    keeps_object: bool = False

    def __init__(self, source: Source, protocol: BaseProtocol, rule: InputRule, config: EpisodeRunConfig) -> None:
        self.source, self.protocol, self.rule = source, protocol, rule
        self.folds = folds_in(source)
        self.config, self.settings = config, config.benchmark
        self.transform: ResizeTransform = rule.transform()

    @property
    def name(self) -> str:
        """Name of the data set."""
        return self.settings.name

    @cached_property
    def train_source(self) -> Source:
        """The data set as training reads it: with the switches of released code, if any is on."""
        settings = self.settings
        if not (settings.class_of_last_expression or settings.exchange_box_limits):
            return self.source
        return open_data(self.config, for_training=True)

    @property
    def chunk(self) -> int:
        """Frames of one forward pass in a test."""
        return self.settings.test_chunk

    @property
    def votes(self) -> bool:
        """Whether several supports are given one by one and their masks vote."""
        return False

    @property
    def seeds(self) -> tuple[int, ...]:
        """The seeds of the draws of a test: from the configured one upwards, or the protocol's own (official lists)."""
        first, number = self.config.seed, self.config.test.seeds
        own = number is None or self.settings.draws == "official"
        if own and isinstance(self.protocol, ImageProtocol):
            return self.protocol.seeds
        return tuple(range(first, first + (number or 1)))

    @property
    def limit(self) -> int | None:
        """Most test episodes of a fold, where the user gives fewer than the protocol; a frozen list is tested whole."""
        return self.settings.test_episodes if getattr(self.config, "manifest", None) is None else None

    @abstractmethod
    def training(self, split: str = "train") -> TrainEpisodes | ImageEpisodes | CMATrainEpisodes:
        """Endless episodes of the training classes of the configured fold, `split` train or val.

        Raises:
            NotFeasible: there are too few videos or images.
        """

    @abstractmethod
    def drawn(self, group: int, seed: int, limit: int | None) -> list[EpisodeSpec]:
        """The test episodes of a fold for one seed. Raises NotFeasible or ValueError."""

    def trains_on(self, classes: Sequence[int]) -> frozenset[str]:
        """The videos or images that a training on `classes` may show."""
        return frozenset(video for c in classes for video in self.source.videos(c))

    @abstractmethod
    def scoring(self, result: QueryResult) -> Callable[[], Any]:
        """The scoring of a chunk of a segmented query, as something that another process can run."""

    @abstractmethod
    def score(self, spec: EpisodeSpec, n: int, probe: str, parts: Sequence[Any]) -> Score:
        """The score of query `n` of an episode from what `scoring` gave for its chunks, in their order."""

    def probes(self, accepts: Collection[str]) -> list[str]:
        """Sanity probes of the configuration, '' (none) first, without those that cannot change these episodes.

        `accepts` is what a reference of the system may hold: one that reads no words is not asked by words alone.
        """
        impossible = self.impossible_probes | (frozenset() if "expression" in accepts else {NAME_ONLY})
        return [probe for probe in ["", *dict.fromkeys(self.config.test.probes)] if probe not in impossible]

    def tests(self, group: int) -> list[list[EpisodeSpec]]:
        """The test episodes of a fold, one list per seed: from the manifest if there is one, else drawn.

        Raises:
            NotFeasible: no class has enough videos or images.
            ValueError: the manifest has no episode of the group, or another number of shots.
        """
        manifest = getattr(self.config, "manifest", None)
        if manifest is None:
            return [self.drawn(group, seed, self.limit) for seed in self.seeds]
        return frozen_tests(manifest, group, self.config.shots, self.source, self.folds)

    def validation(self, select_on: str) -> list[EpisodeSpec]:
        """The episodes that choose the checkpoint: of the training classes, videos kept apart, or (`test`) of the
        held-out classes. None where nothing is kept apart (every video is trained on, or there are too few).

        Raises:
            NotFeasible: too few videos, and the checkpoint is to be chosen on some of them.
        """
        count = self.settings.val_episodes
        if select_on == "test":
            return self.drawn(int(self.config.group), self.config.seed, count)
        if self.settings.sampling == "blocks":
            return []
        try:
            episodes = self.training("val")
        except NotFeasible as error:
            if select_on == "val":
                raise NotFeasible(f"{error}; or train without validation: train.select_on=last") from error
            logger.warning("training goes without validation: %s", error)
            return []
        return [episodes[i] for i in range(count)]

    def bridges(self, shots: int) -> list[ImageProtocol]:
        """The other protocols that can count the same predictions; none where the scores serve them all."""
        return []

    def report(
        self,
        scores: Sequence[Score],
        card: str = "",
        bootstrap: int = 0,
        record: Mapping[str, Any] | None = None,
        bridge: Mapping[str, Sequence[Score]] | None = None,
    ) -> Report:
        """The report of scores under the protocol; `record` says what was tested, `bridge` as of `Report`."""
        return Report(
            tuple(scores),
            protocol=self.protocol.name,
            card=card,
            bootstrap=bootstrap,
            record=dict(record or {}),
            bridge=dict(bridge or {}),
        )

    def card(self, **lines: Any) -> str:
        """The protocol card; `lines` as `BaseProtocol.card` takes them."""
        return self.protocol.card(benchmark=self.name, size=str(self.rule), **lines)


class VideoBenchmark(Benchmark):
    """Few-shot referring video segmentation, as CMA samples and tests it (Li et al., ICCV 2023)."""

    headline, members = "J", "videos"
    protocol: VideoProtocol

    def training(self, split: str = "train") -> TrainEpisodes | CMATrainEpisodes:
        """Training episodes of videos; with `sampling=blocks` as the released code of CMA draws them."""
        config, group = self.config, int(self.config.group)
        frames = {"query_frames": self.settings.query_frames, "support_frames": self.settings.support_frames}
        if split == "train" and self.settings.sampling == "blocks":
            return CMATrainEpisodes(self.train_source, self.folds, group, seed=config.seed, **frames)
        if split == "val":
            return TrainEpisodes(self.source, self.folds, group, split, shots=config.shots, seed=config.seed, **frames)
        return TrainEpisodes(
            self.train_source,
            self.folds,
            group,
            split,
            shots=config.shots,
            seed=config.seed,
            expressions=self.settings.query_expressions,
            twin_share=self.settings.twin_share,
            **frames,
        )

    def drawn(self, group: int, seed: int, limit: int | None) -> list[EpisodeSpec]:
        """Test episodes of videos, by the protocol's list: each video of the held-out classes is a query."""
        frames, shots = self.settings.support_frames, self.config.shots
        draw = TEST_LISTS[self.protocol.drawn]
        return draw(self.source, self.folds, group, shots=shots, seed=seed, support_frames=frames, limit=limit)

    def scoring(self, result: QueryResult) -> Callable[[], Any]:
        """J and F of the frames of a chunk under both definitions."""
        return clip_scoring(result)

    def score(self, spec: EpisodeSpec, n: int, probe: str, parts: Sequence[Any]) -> QueryScore:
        """J and F of a query video under both definitions."""
        query = spec.queries[n]
        return query_score(spec, n, probe, parts, twin=bool(self.source.twins(query.video, query.object_id)))


class ImageBenchmark(Benchmark):
    """Few-shot segmentation of images, by one of the field's named protocols."""

    headline, members = "mIoU", "images"
    impossible_probes = frozenset({"shuffled_text"})  # images have no words to exchange
    keeps_object = True
    source: ImageSource
    protocol: ImageProtocol

    def training(self, split: str = "train") -> ImageEpisodes:
        """Training episodes of images, under the protocol's rules for areas and held-out classes."""
        config, group = self.config, int(self.config.group)
        return ImageEpisodes(
            self.source,
            self.folds,
            group,
            split,
            shots=config.shots,
            seed=config.seed,
            min_area=self._min_area(),
            drop_novel=self.protocol.drop_novel,
            sampling=self.settings.sampling if split == "train" else "balanced",
            lists=self._lists(group, "train"),
        )

    def drawn(self, group: int, seed: int, limit: int | None) -> list[EpisodeSpec]:
        """Test episodes of images, as many as the protocol says; an official list has a seed of its own."""
        rule = self.protocol.rule(self.name)
        seed = self.protocol.seeds[0] if self.settings.draws == "official" else seed
        return image_test_episodes(
            self.source,
            self.folds,
            group,
            shots=self.config.shots,
            seed=seed,
            count=rule.count,
            limit=limit,
            queries=rule.queries,
            supports=self.protocol.supports,
            draws=self.settings.draws,
            min_area=self._min_area(),
            images=self._lists(group, "test"),
        )

    def bridges(self, shots: int) -> list[ImageProtocol]:
        """The other protocols of images that can count the same predictions."""
        others = (other for other in PROTOCOLS.values() if isinstance(other, ImageProtocol) and other != self.protocol)
        return [other for other in others if self.protocol.predicts_for(other, shots)]

    def trains_on(self, classes: Sequence[int]) -> frozenset[str]:
        """The images of the training split."""
        return frozenset(image for c in classes for image in self.source.images_of(c, "train"))

    def _min_area(self) -> int:
        """Least pixels of a class in an image, where the masks and not list files say what an image is listed for."""
        listed = self.config.data.lists is not None and self.name in LISTED
        return 0 if listed else self.protocol.rule(self.name).min_area

    def _lists(self, group: int, split: str) -> Mapping[int, Sequence[str]] | None:
        """The images of each class from the list files of `data.lists`; None: from the masks."""
        folder = self.config.data.lists
        return None if folder is None else read_lists(folder, self.name, group, split, self.source)

    def scoring(self, result: QueryResult) -> Callable[[], ImageScore]:
        """Intersections and unions of a query image, in pixels."""
        return partial(_same, image_score(result, self.protocol, self.rule.size))

    def score(self, spec: EpisodeSpec, n: int, probe: str, parts: Sequence[Any]) -> ImageScore:
        """That of its one frame."""
        (score,) = parts
        return score

    @property
    def votes(self) -> bool:
        """Whether several supports are given one by one and their masks vote, as the protocol says."""
        return self.protocol.k_shot == "votes"


def _same(score: ImageScore) -> ImageScore:
    """Counting pixels is too little work to be sent to another process."""
    return score


def open_benchmark(config: EpisodeRunConfig, source: Source | None = None) -> Benchmark:
    """The benchmark of a run; its data set is opened, unless `source` has been already.

    Raises:
        ValueError, FileNotFoundError: the data set cannot be opened.
    """
    source = source or open_data(config)
    protocol = get_protocol(config.benchmark.protocol)
    benchmark = ImageBenchmark if isinstance(protocol, ImageProtocol) else VideoBenchmark
    return benchmark(source, protocol, config.input_rule(), config)


def folds_in(source: Source) -> Folds:
    """The classes of a data set in groups.

    Raises:
        ValueError: its reader has none.
    """
    folds = getattr(source, "folds", None)
    if not isinstance(folds, Folds):
        raise ValueError(f"benchmark {source.name}: {type(source).__name__} has no `folds`, an episodes.folds.Folds")
    return folds


def open_data(config: EpisodeRunConfig, for_training: bool = False) -> Source:
    """The data set of a run; `for_training` reads it as its switches say."""
    benchmark, data = config.benchmark, config.data
    return open_source(
        benchmark.name,
        data.root,
        data.cache,
        benchmark.world_seed,
        benchmark.world_videos,
        class_of_last_expression=for_training and benchmark.class_of_last_expression,
        exchange_box_limits=for_training and benchmark.exchange_box_limits,
        lists=data.lists,
    )


def open_together(config: EpisodeRunConfig, folder: Path) -> Benchmark:
    """The benchmark in every process; what is broken in the data is logged, a long list in `folder`.

    Generated data are written by the first process while the others wait.
    """
    benchmark = open_benchmark(config) if processes.is_main() else None
    processes.barrier()
    benchmark = benchmark or open_benchmark(config)
    if processes.is_main():
        tell_problems(benchmark.source.problems(), folder)
    return benchmark


def tell_count(split: str, specs: Sequence[EpisodeSpec]) -> None:
    """Log how many episodes, queries and classes a split has."""
    queries, classes = sum(len(spec.queries) for spec in specs), len({spec.class_id for spec in specs})
    logger.info("%s: %d episodes, %d queries, %d classes", split, len(specs), queries, classes)

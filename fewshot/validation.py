"""Validation during training: the same episodes every time, with the right supports and with those of a wrong class."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from benchmarks.protocols import get_protocol
from benchmarks.report import Report
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.pools import NotFeasible
from episodes.sources.base import Source
from fewshot.config import MetaTrainConfig
from fewshot.evaluation import evaluate
from fewshot.kinds import Kind, Score, kind_of
from fewshot.systems.base import System

logger = logging.getLogger(__name__)


class Validation:
    """`validation(system, step)` gives the measures in percent, for the log and for the choice of the best checkpoint.

    Args:
        source: where the episodes are read.
        specs: the episodes, at least one.
        kind: of the benchmark: how frames are resized and queries scored.
        chunk: frames of one forward pass.
        device: where the system lies.
        protocol: of the averages.
    """

    def __init__(
        self,
        source: Source,
        specs: Sequence[EpisodeSpec],
        *,
        kind: Kind,
        chunk: int,
        device: torch.device,
        protocol: str,
    ) -> None:
        self.source, self.specs = source, list(specs)
        self.kind, self.chunk, self.device, self.protocol = kind, chunk, device, protocol
        # Supports of a wrong class can be had only where there is another class.
        self.probes = ("", "wrong_support") if len({spec.class_id for spec in specs}) > 1 else ("",)

    def __call__(self, system: System, step: int) -> dict[str, float]:
        """Two measures (`J` and `F`, or `mIoU` and `FB-IoU`) and `score` (the first of them) with the right supports,
        `J_wrong_support` or `mIoU_wrong_support` with those of a wrong class."""
        report = Report(
            tuple(score for probe in self.probes for score in self._scores(system, probe)), self.protocol, bootstrap=0
        )
        headline = self.kind.headline
        row = {measure: 100 * report.value(measure) for measure in get_protocol(self.protocol).measures[:2]}
        row["score"] = row[headline]
        if "wrong_support" in self.probes:
            row[f"{headline}_wrong_support"] = 100 * report.value(headline, "wrong_support")
        return row

    def _scores(self, system: System, probe: str) -> list[Score]:
        return evaluate(
            system,
            self.source,
            self.specs,
            transform=self.kind.test_transform(),
            chunk=self.chunk,
            device=self.device,
            work=self.kind.work,
            vote=self.kind.votes,
            probe=probe,
            progress=False,
        )


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

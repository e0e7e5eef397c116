"""Validation during training: the same episodes every time, with the right supports and with those of a wrong class."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from benchmarks.report import Report
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.sampler import TrainEpisodes, test_episodes
from episodes.sources.base import Source
from episodes.transforms import TestTransform
from fewshot.config import MetaTrainConfig
from fewshot.evaluation import evaluate
from fewshot.systems.base import System


class Validation:
    """`validation(system, step)` gives J and F in percent, for the log and for the choice of the best checkpoint.

    Args:
        source: where the episodes are read.
        specs: the episodes, at least one.
        size: short side of the frames, in pixels.
        chunk: frames of one forward pass.
        device: where the system lies.
        protocol: of the averages.
    """

    def __init__(
        self,
        source: Source,
        specs: Sequence[EpisodeSpec],
        *,
        size: int,
        chunk: int,
        device: torch.device,
        protocol: str,
    ) -> None:
        self.source, self.specs = source, list(specs)
        self.transform, self.chunk, self.device, self.protocol = TestTransform(size), chunk, device, protocol
        # Supports of a wrong class can be had only where there is another class.
        self.probes = ("", "wrong_support") if len({spec.class_id for spec in specs}) > 1 else ("",)

    def __call__(self, system: System, step: int) -> dict[str, float]:
        """`J`, `F` and `score` (which is J) with the right supports, `J_wrong_support` with those of a wrong class."""
        report = Report(
            tuple(score for probe in self.probes for score in self._scores(system, probe)), self.protocol, bootstrap=0
        )
        row = {"J": 100 * report.value("J"), "F": 100 * report.value("F"), "score": 100 * report.value("J")}
        if "wrong_support" in self.probes:
            row["J_wrong_support"] = 100 * report.value("J", "wrong_support")
        return row

    def _scores(self, system: System, probe: str) -> list:
        return evaluate(
            system,
            self.source,
            self.specs,
            transform=self.transform,
            chunk=self.chunk,
            device=self.device,
            probe=probe,
            progress=False,
        )


def validation_specs(config: MetaTrainConfig, source: Source, folds: Folds) -> list[EpisodeSpec]:
    """The episodes that choose the checkpoint: of the training classes, videos kept apart, or (`select_on=test`) of
    the held-out classes. None where nothing is kept apart (the official recipe with `select_on=last`)."""
    benchmark, count = config.benchmark, config.benchmark.val_episodes
    options = {"shots": config.shots, "seed": config.seed, "support_frames": benchmark.support_frames}
    if config.train.select_on == "test":
        return test_episodes(source, folds, config.group, limit=count, **options)
    if config.recipe == "official":
        return []
    episodes = TrainEpisodes(source, folds, config.group, "val", query_frames=benchmark.query_frames, **options)
    return [episodes[i] for i in range(count)]

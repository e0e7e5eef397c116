"""Validation during training: the same episodes every time, with the right supports and with those of a wrong class."""

from __future__ import annotations

import logging
from collections.abc import Sequence

import torch

from benchmarks.protocols import get_protocol
from benchmarks.report import Report
from episodes.episode import EpisodeSpec
from episodes.sources.base import Source
from fewshot.evaluation.benchmark import Kind, Score
from fewshot.evaluation.evaluate import evaluate
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

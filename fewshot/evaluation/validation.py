"""Validation during training: the same episodes every time, with the right supports and with those of a wrong class."""

from __future__ import annotations

from collections.abc import Sequence

from episodes.episode import EpisodeSpec
from fewshot.evaluation.benchmark import Benchmark, Score
from fewshot.evaluation.evaluate import evaluate
from fewshot.evaluation.folds import impossible
from fewshot.systems.base import System


class Validation:
    """`validation(system, step)` gives the measures in percent, for the log and for the choice of the best checkpoint.

    Args:
        benchmark: reads and scores the episodes.
        specs: the episodes, at least one.
    """

    def __init__(self, benchmark: Benchmark, specs: Sequence[EpisodeSpec]) -> None:
        self.benchmark, self.specs = benchmark, list(specs)
        # Supports of a wrong class can be had only where there is another class, apart from the one that is asked for.
        self.probes = ("",) if impossible(specs, "wrong_support", benchmark.source) else ("", "wrong_support")

    def __call__(self, system: System, step: int) -> dict[str, float]:
        """Two measures (`J` and `F`, or `mIoU` and `FB-IoU`) and `score` (the first of them) with the right supports,
        `J_wrong_support` or `mIoU_wrong_support` with those of a wrong class."""
        report = self.benchmark.report([score for probe in self.probes for score in self._scores(system, probe)])
        headline = self.benchmark.headline
        row = {measure: 100 * report.value(measure) for measure in self.benchmark.protocol.measures[:2]}
        row["score"] = row[headline]
        if "wrong_support" in self.probes:
            row[f"{headline}_wrong_support"] = 100 * report.value(headline, "wrong_support")
        return row

    def _scores(self, system: System, probe: str) -> list[Score]:
        return evaluate(system, self.benchmark, self.specs, probe=probe, progress=False)

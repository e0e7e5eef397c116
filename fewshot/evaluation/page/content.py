"""Content of a run folder: results, settings, measurements, and the curves made of these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.scores.scores import read_report
from fewshot.run.folder import KINDS, kind_of, stored_config
from fewshot.run.logging.curve import series
from fewshot.run.logging.files import read_rows

RESULTS = "results.json"
LOSS, VALIDATION = "train/loss", "val/"
Numbers = Mapping[str, Mapping[str, Any]]  # measure -> its value in 0..1 and its intervals


@dataclass(frozen=True)
class Curve:
    """A measurement over the steps of a training: name -> (steps, values), and the top of the vertical axis."""

    title: str
    lines: Mapping[str, tuple[Sequence[int], Sequence[float]]]
    top: float


@dataclass(frozen=True)
class Content:
    """What the folder of a run holds.

    Attributes:
        folder: of the run.
        kind: of the run, in words.
        settings: its `config.yaml`.
        results: its `results.json`; empty where nothing was tested, as in a training stage.
        rows: its measurements, `metrics.jsonl`.
    """

    folder: Path
    kind: str
    settings: Mapping[str, Any]
    results: Mapping[str, Any]
    rows: Sequence[Mapping[str, Any]]

    @property
    def record(self) -> Mapping[str, Any]:
        """What was tested, as the results say it; empty where they do not."""
        return self.results.get("run") or {}

    @property
    def of_episodes(self) -> bool:
        """Whether the results are those of a test on episodes."""
        return "folds" in self.results

    @property
    def card(self) -> list[tuple[str, str]]:
        """Lines of the protocol card: name and text."""
        lines = [str(line).partition(":") for line in self.results.get("card", ())]
        return [(name.strip(), text.strip()) for name, _, text in lines]

    def fold(self, group: int | None = None, probe: str = "") -> Mapping[str, Any]:
        """The numbers of a fold (None: the mean over the folds) under a probe."""
        folds = self.results["folds"]
        return next(fold for fold in folds if (fold["group"], fold["probe"]) == (group, probe))

    def numbers(self, group: int | None = None, probe: str = "") -> Numbers:
        """Measures of a fold under the protocol of the headline, or those of a test of a task."""
        if not self.of_episodes:
            return {name: {"value": value} for name, value in self.results.get("measures", {}).items()}
        found: Numbers = self.fold(group, probe)["estimates"][self.results["protocol"]]
        return found

    @property
    def headline(self) -> str:
        """The first measure; empty where nothing was measured."""
        return next(iter(self.numbers()), "")

    def curves(self) -> list[Curve]:
        """Validation and loss over the steps of the training; none for a test."""
        names = dict.fromkeys(name for row in self.rows for name in row if name.startswith(VALIDATION))
        lines = {_words(name): series(self.rows, name) for name in names if self._is_shown(name)}
        loss = series(self.rows, LOSS)
        return [
            *([Curve("Validation episodes, percent", lines, 100.0)] if lines else []),
            *([Curve("Training loss", {"loss": loss}, max(loss[1]))] if loss[1] else []),
        ]

    def _is_shown(self, name: str) -> bool:
        """The measure of the headline, also under probes; of a run without results all but `score`, which is one."""
        measure = name.removeprefix(VALIDATION).partition("_")[0]
        return measure == self.headline if self.headline else measure != "score"


def _words(name: str) -> str:
    """`val/J_wrong_support` -> `J, wrong support`."""
    measure, _, probe = name.removeprefix(VALIDATION).partition("_")
    return f"{measure}, {probe.replace('_', ' ')}" if probe else measure


def read_content(folder: Path) -> Content:
    """Read a run folder; nothing is written.

    Raises:
        ValueError: it is not the folder of a run, it holds neither results nor measurements, or a file is damaged.
    """
    settings = stored_config(folder)
    kind = kind_of(settings)
    if settings is None or kind is None:
        raise ValueError(f"{folder} is no folder of a run: give one, such as runs/NAME")
    results = read_report(folder / RESULTS) if (folder / RESULTS).is_file() else {}
    content = Content(folder, KINDS[kind], settings, results, read_rows(folder))
    if not results and not content.rows:
        raise ValueError(f"{folder} holds no results and no measurements yet: nothing can be reported")
    return content

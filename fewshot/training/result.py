"""What a training is given and gives: its log, its validation, its result, and the error of infinite numbers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from fewshot.systems.base import System

Validate = Callable[[System, int], dict[str, float]]


class Log(Protocol):
    """Receiver of the rows of the log. Only process 0 uses it."""

    def log(self, row: dict[str, float | int | str], step: int) -> None:
        """Takes one row of the finished step `step`."""

    def rewind(self, step: int, validated: int) -> None:
        """Forgets the rows of steps after `step` and of validations after `validated`, which are to be repeated."""


class NonFiniteLoss(RuntimeError):
    """The loss or its gradient is NaN or infinite; the message names the step and its episodes."""


@dataclass(frozen=True)
class TrainResult:
    """Result of a training: its checkpoints and its best score.

    Attributes:
        best: the checkpoint to test: best by validation, or the last one for `select=last`.
        last: the checkpoint of the last step.
        steps: finished steps.
        best_score: validation score of `best`; None for `select=last`.
    """

    best: Path
    last: Path
    steps: int
    best_score: float | None

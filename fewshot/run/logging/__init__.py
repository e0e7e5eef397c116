"""`RunLogger`: measurements into the run folder, always, and to Weights & Biases where that is wanted."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from fewshot.run.logging.files import MetricFiles, replace_file, sheet
from fewshot.run.logging.weights_and_biases import Mode, WandbRun, resolve_mode


class RunLogger:
    """Writes `metrics.jsonl` and `metrics.csv`, and the same numbers to W&B.

    Args:
        folder: the run folder; W&B's own files lie in `folder/wandb`.
        config: what W&B shows as the configuration; plain types.
        mode: `auto`, `online`, `offline` or `disabled` (W&B is not imported).
        project, entity, experiment, tags: W&B's project, team, run group and tags.
        job_type: `train` or `eval`.
        writes: False in every process but the first: nothing is written or sent.
    """

    def __init__(
        self,
        folder: Path,
        config: Mapping[str, Any],
        mode: str = "auto",
        project: str = "fewshot",
        *,
        entity: str | None = None,
        experiment: str | None = None,
        job_type: str = "train",
        tags: Sequence[str] = (),
        writes: bool = True,
    ) -> None:
        self.folder, self.writes = folder, writes
        self._mode: Mode = resolve_mode(mode) if writes else "disabled"
        self._files: MetricFiles | None = None
        self._wandb: WandbRun | None = None
        if not writes:
            return
        folder.mkdir(parents=True, exist_ok=True)
        self._files = MetricFiles(folder)
        if self.mode != "disabled":
            self._wandb = WandbRun(
                folder,
                config,
                mode=self.mode,
                project=project,
                entity=entity,
                group=experiment,
                job_type=job_type,
                tags=tags,
            )

    @property
    def mode(self) -> Mode:
        """How W&B records: `online`, `offline`, or `disabled`, which it also is once it has failed."""
        return self._mode if self._wandb is None else self._wandb.mode

    def log(self, row: Mapping[str, float | int | str], step: int) -> None:
        """Record one row of measurements made after `step` optimiser steps."""
        full = {"step": step, **row}
        if self._files is not None:
            self._files.append(full)
        if self._wandb is not None:
            self._wandb.log(full)

    def rows(self) -> list[dict[str, Any]]:
        """The rows recorded so far; empty in a process that does not write."""
        return [] if self._files is None else self._files.rows()

    def rewind(self, step: int, validated: int) -> None:
        """Forget the rows after `step`, and validations after `validated`, before a run continues there.

        W&B keeps them beside the repeated ones.
        """
        if self._files is not None:
            self._files.rewind(step, validated)

    def summary(self, values: Mapping[str, float | int | str]) -> None:
        """The final numbers of the run, as W&B's table of runs shows them."""
        if self._wandb is not None:
            self._wandb.summary(values)

    def table(self, name: str, columns: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
        """A table, written to `<name>.csv`; a cell may be the path of a picture, which W&B shows."""
        if not self.writes:
            return
        text = sheet(columns, (dict(zip(columns, row, strict=True)) for row in rows))
        replace_file(self.folder / f"{re.sub(r'[^A-Za-z0-9_.-]', '_', name)}.csv", text)
        if self._wandb is not None:
            self._wandb.table(name, columns, rows)

    def close(self, exit_code: int = 0) -> None:
        """Send what is not sent yet. May be called twice."""
        run, self._wandb = self._wandb, None
        if run is not None:
            run.close(exit_code)
            self._mode = run.mode

    def __enter__(self) -> RunLogger:
        return self

    def __exit__(self, error_type: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close(exit_code=0 if error is None else 1)

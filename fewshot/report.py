"""`python -m fewshot.report runs/NAME`: the report of a run as one HTML page."""

from __future__ import annotations

import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Optional

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key


@dataclass
class ReportDataConfig:
    """Places of the data, where they are others than when the run was tested."""

    root: Optional[str] = key(None, "folder of the data set; null: as the run has it", place=True)
    cache: Optional[str] = key(None, "folder for generated data; null: as the run has it", place=True)
    lists: Optional[str] = key(None, "folder of the list files; null: as the run has it", place=True)


@dataclass
class ReportConfig:
    """Runs, and what their pages show."""

    runs: list[str] = key([], "run folders", place=True)
    out: Optional[str] = key(None, "file of the page, of one run; null: report.html in its folder", place=True)
    episodes: int = key(6, "number of the best episodes that are drawn, and of the worst", minimum=0, maximum=100)
    megabytes: float = key(
        8.0, "most size of the pictures; episodes that do not fit are left out", minimum=0.1, maximum=1000
    )
    weights: Optional[str] = key(None, "weights that were tested; null: as the run has them", place=True)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    data: ReportDataConfig = field(default_factory=ReportDataConfig)


def run(config: ReportConfig, command: Command) -> None:
    """Write the page of each run."""
    if not config.runs:
        raise ValueError("no run was named: give run folders, such as runs/NAME")
    if config.out is not None and len(config.runs) > 1:
        raise ValueError(f"out={config.out} is for one run, and {len(config.runs)} were named: leave it out")
    from fewshot.evaluation.page.drawn import Places  # here, so that help does not wait for torch
    from fewshot.evaluation.page.page import Wishes, told, write_page

    data, out = config.data, None if config.out is None else Path(config.out).expanduser()
    places = Places(config.weights, data.root, data.cache, data.lists)
    wishes = Wishes(config.episodes, config.megabytes, config.device, places)
    failed: list[ValueError] = []
    for folder in config.runs:
        try:
            print(told(write_page(Path(folder).expanduser(), out, wishes)), flush=True)
        except ValueError as error:  # of runs/* some may be none
            failed.append(error)
    if failed and len(failed) == len(config.runs):
        raise failed[0]
    for reason in failed:
        print(f"left out: {reason}", file=sys.stderr)


PROGRAM = Program(
    name="report",
    schema=ReportConfig,
    about=(
        "Write the report of a run as one HTML page that needs no server and no network: protocol card, tables, "
        "curves, and the best and the worst episodes with supports, query, truth and prediction, which are drawn "
        "again from the data and the weights of the run."
    ),
    examples=(
        ("runs/NAME", "report.html in the run folder"),
        ("runs/NAME out=page.html episodes=12 data.root=/data/VOCdevkit", "elsewhere, and more episodes"),
    ),
    run=run,
    words="runs",
    quoted=("weights",),
)

main = PROGRAM.main

if __name__ == "__main__":
    main()

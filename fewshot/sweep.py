"""`python -m fewshot.sweep experiments/sweeps/folds.yaml`: the runs of a W&B sweep, without a server."""

from __future__ import annotations

import sys
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Optional

from omegaconf import MISSING

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key
from fewshot.config.limits import LARGEST_SEED, MOST_PROCESSES


@dataclass
class SweepConfig:
    """A file of a sweep, and where and how its runs go."""

    file: str = key(MISSING, "the YAML file of the sweep, as `wandb sweep` reads it", place=True)
    workers: int = key(1, "runs at a time, beside those of other workers", minimum=1, maximum=MOST_PROCESSES)
    runs: Optional[int] = key(
        None, "runs of a search; null: run_cap of the file, of a grid all", minimum=1, maximum=100_000
    )
    set: list[str] = key([], "key=value for every run; again for each")
    seed: int = key(0, "of what random and bayes draw", minimum=0, maximum=LARGEST_SEED)
    out: str = key("runs", "folder of the folder of the study", place=True)
    name: Optional[str] = key(None, "name of the study and its folder; null: that of the file")
    storage: Optional[str] = key(
        None,
        "where the workers meet: a journal file, or the URL of a database; null: a journal in the folder of the study",
        place=True,
    )
    retry: bool = key(False, "true: runs that failed are tried again")
    format: str = key("text", "form of the table", choices=("text", "markdown", "latex", "csv"))


def run(config: SweepConfig, command: Command) -> None:
    """Run what waits, and print what the sweep has come to. Ends with 1 where runs failed."""
    if find_spec("optuna") is None:
        raise ValueError("a sweep needs Optuna: pip install 'fewshot-segmentation[sweep]' (or pip install optuna)")
    from fewshot.sweeps.run import run_sweep  # here, so that help does not wait for Optuna

    failed = run_sweep(
        Path(config.file),
        Path(config.out),
        name=config.name,
        storage=config.storage,
        words=config.set,
        workers=config.workers,
        runs=config.runs,
        seed=config.seed,
        retry=config.retry,
        form=config.format,
    )
    if failed:
        print(f"{len(failed)} run(s) failed:", *failed, sep="\n  ", file=sys.stderr)
        raise SystemExit(1)


PROGRAM = Program(
    name="sweep",
    schema=SweepConfig,
    about=(
        "Run the runs of a W&B sweep on Optuna, without a server: folds, seeds or a search. Typed on any number of "
        "machines that share the folder, the runs are shared; typed again, what is finished is not repeated."
    ),
    examples=(
        ("experiments/sweeps/folds.yaml workers=2", "the four folds, two at a time"),
        ("experiments/sweeps/search.yaml runs=40 set=train.steps=300", "a search with shorter runs"),
        ("experiments/sweeps/folds.yaml retry=true", "what failed, once more"),
    ),
    run=run,
    words="file",
)

main = PROGRAM.main

if __name__ == "__main__":
    main()

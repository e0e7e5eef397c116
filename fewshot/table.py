"""`python -m fewshot.table runs/*`: one table of many runs, over folds, shots and seeds."""

from __future__ import annotations

import sys
from dataclasses import dataclass

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key


@dataclass
class TableConfig:
    """Runs, and the table that is made of them."""

    runs: list[str] = key([], "run folders, or the results.json of runs", place=True)
    measure: str = key("", "of the protocols of the runs; empty: the first of each (J, mIoU)")
    probe: str = key("", "a probe in place of the real numbers")
    format: str = key(
        "text", "form of the table; latex needs the package booktabs", choices=("text", "markdown", "latex", "csv")
    )


def run(config: TableConfig, command: Command) -> None:
    """Read the runs, and print the table."""
    from benchmarks.overview import overview  # here, so that help does not wait for the numbers' libraries

    table, remarks = overview(config.runs, config.measure, config.probe, config.format)
    print(table)
    print(*remarks, sep="\n", end="\n" if remarks else "", file=sys.stderr)


PROGRAM = Program(
    name="table",
    schema=TableConfig,
    about=(
        "Put the results of runs of meta_train and meta_test into one table: a row for each system, training, "
        "benchmark, protocol and number of shots, a column for each fold, mean and standard deviation over seeds in "
        "percent. Runs of the same fold and seed have a row each, with their names."
    ),
    examples=(
        ("runs/*", "all runs of a folder"),
        ("runs/* format=latex measure=F", "another measure, for a paper"),
    ),
    run=run,
    words="runs",
)

main = PROGRAM.main

if __name__ == "__main__":
    main()

"""`python -m fewshot.compare A B ...`: paired comparison of runs on the same episodes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from string import ascii_uppercase

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key
from fewshot.config.limits import LARGEST_SEED, MOST_DRAWS

RESULTS = "results.json"


@dataclass
class CompareConfig:
    """Reports of the same episodes, and the bootstrap."""

    reports: list[str] = key(
        [], "JSON or CSV reports, or run folders, of runs that tested the same episodes; the first is A", place=True
    )
    episodes: str = key(
        "same",
        "same: runs of other episodes are refused; shared: the queries that both have are compared, with any supports",
        choices=("same", "shared"),
    )
    protocol: str = key("", "of the averages; empty: the one that the reports name, else the first of their kind")
    probe: str = key("", "compare a probe in place of the real numbers")
    bootstrap: int = key(2000, "bootstrap samples", minimum=1, maximum=MOST_DRAWS)
    seed: int = key(0, "of the bootstrap", minimum=0, maximum=LARGEST_SEED)


def run(config: CompareConfig, command: Command) -> None:
    """Compare, and print the table."""
    from benchmarks.compare import compare_with_first  # here, so that help does not wait for the numbers' libraries

    reports = [Path(report).expanduser() for report in config.reports]
    reports = [report / RESULTS if report.is_dir() else report for report in reports]
    comparisons = compare_with_first(
        reports,
        protocol=config.protocol,
        probe=config.probe,
        bootstrap=config.bootstrap,
        random_seed=config.seed,
        same_episodes=config.episodes == "same",
    )
    if len(reports) > 2:
        print(*(f"{letter}: {report}" for letter, report in zip(ascii_uppercase, reports, strict=False)), sep="\n")
    print(*(comparison.table() for comparison in comparisons), sep="\n\n")


PROGRAM = Program(
    name="compare",
    schema=CompareConfig,
    about=(
        "Compare runs with the first one on the same episodes (the same manifest, or the same benchmark, groups, shots "
        "and seeds) by a paired bootstrap: each fold, their mean, and a verdict in words."
    ),
    examples=(
        ("runs/A runs/B", "the difference of every measure, with its interval and a verdict"),
        ("runs/A runs/B runs/C protocol=davis", "B and C with A, counted by another protocol"),
    ),
    run=run,
    words="reports",
)

main = PROGRAM.main

if __name__ == "__main__":
    main()

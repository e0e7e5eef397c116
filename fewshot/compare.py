"""`python -m fewshot.compare A B`: paired comparison of two runs on the same episodes."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.cli.program import Command, Program
from fewshot.config.keys import key
from fewshot.config.limits import LARGEST_SEED, MOST_DRAWS


@dataclass
class CompareConfig:
    """Two reports of the same episodes, and the bootstrap."""

    reports: list[str] = key([], "the JSON or CSV reports of two runs that tested the same episodes", place=True)
    protocol: str = key("", "of the averages; empty: the one that the reports name, else the first of their kind")
    probe: str = key("", "compare a probe in place of the real numbers")
    bootstrap: int = key(2000, "bootstrap samples", minimum=1, maximum=MOST_DRAWS)
    seed: int = key(0, "of the bootstrap", minimum=0, maximum=LARGEST_SEED)


def run(config: CompareConfig, command: Command) -> None:
    """Compare, and print the table."""
    from benchmarks.compare import compare_reports  # here, so that help does not wait for the numbers' libraries

    if len(config.reports) != 2:
        raise ValueError(f"two reports are needed, got {len(config.reports)}: python -m fewshot.compare A B")
    one, other = config.reports
    comparison = compare_reports(
        one,
        other,
        protocol=config.protocol,
        probe=config.probe,
        bootstrap=config.bootstrap,
        random_seed=config.seed,
    )
    print(comparison.table())


PROGRAM = Program(
    name="compare",
    schema=CompareConfig,
    about=(
        "Compare two runs on the same episodes (the same manifest, or the same benchmark, groups, shots and seeds) by "
        "a paired bootstrap."
    ),
    examples=(("runs/A/results.json runs/B/results.json", "the difference of every measure, with its interval"),),
    run=run,
    words="reports",
)

main = PROGRAM.main

if __name__ == "__main__":
    main()

"""python -m fewshot.compare A B: paired comparison of two runs on the same episodes."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from benchmarks.compare import Comparison, compare_reports
from fewshot.cli.words import asks_for_help, filled, whole_number

USAGE = """
python -m fewshot.compare A B [key=value ...]

  A, B        the JSON or CSV reports of two runs that tested the same episodes (the same manifest, or the same
              benchmark, groups, shots and seeds)
  protocol    default: the one that the reports name, else cma (videos) or hsnet (images)
  probe       compare a probe instead of the real numbers (default: the real numbers)
  bootstrap   number of bootstrap samples (default 2000)
  seed        of the bootstrap (default 0)

Example:
  python -m fewshot.compare runs/A/results.json runs/B/results.json
"""
DEFAULTS = {"protocol": "", "probe": "", "bootstrap": "2000", "seed": "0"}


def run(words: Sequence[str]) -> Comparison:
    """The comparison that the command line asks for.

    Raises:
        ValueError: a wrong word, or reports that cannot be compared.
    """
    reports = [word for word in words if "=" not in word]
    values = filled([word for word in words if "=" in word], DEFAULTS)
    if len(reports) != 2:
        raise ValueError(f"two reports are needed, got {len(reports)}: python -m fewshot.compare A B")
    return compare_reports(
        *reports,
        protocol=values["protocol"],
        probe=values["probe"],
        bootstrap=whole_number("bootstrap", values["bootstrap"]),
        random_seed=whole_number("seed", values["seed"], least=0),
    )


def main() -> None:
    """Entry point."""
    words = sys.argv[1:]
    if asks_for_help(words):
        print(USAGE.strip())
        return
    from fewshot.cli.program import short_errors  # not at the top: the help needs nothing of it

    with short_errors():
        print(run(words).table())


if __name__ == "__main__":
    main()

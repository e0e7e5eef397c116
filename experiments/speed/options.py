"""Options of the timings: `key=value` words whose values are whole numbers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from fewshot.cli.words import asks_for_help, filled, whole_number


def options(words: Sequence[str], defaults: Mapping[str, int], usage: str, least: int = 1) -> list[int]:
    """The values of `defaults`, as given or by default, in their order; `--help` prints `usage` and ends the program.

    Raises:
        SystemExit: 0 after `--help`, 1 for a word that is not valid.
    """
    if asks_for_help(words):
        print(usage.strip())
        raise SystemExit(0)
    try:
        values = filled(words, {key: str(number) for key, number in defaults.items()})
        return [whole_number(key, text, least) for key, text in values.items()]
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error

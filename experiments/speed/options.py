"""Options of the timings: `key=value` words whose values are whole numbers."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

from fewshot.cli.arguments import key_values


def options(words: Sequence[str], defaults: Mapping[str, int], usage: str, least: int = 1) -> list[int]:
    """The values of `defaults`, as given or by default, in their order; `--help` prints `usage` and ends the program.

    Raises:
        SystemExit: 0 after `--help`, 1 for a word that is not valid.
    """
    if any(word in ("-h", "--help") for word in words):
        print(usage.strip())
        raise SystemExit(0)
    try:
        given = {key: whole_number(key, text, least) for key, (text,) in key_values(words, defaults).items()}
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    return list({**defaults, **given}.values())


def whole_number(key: str, text: str, least: int) -> int:
    """The number that `text` says.

    Raises:
        ValueError: it is none, or below `least`.
    """
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key}={text}: give a whole number of at least {least}")
    return int(text)

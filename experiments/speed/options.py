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
    if {"-h", "--help"} & set(words):
        print(usage.strip())
        raise SystemExit(0)
    try:
        typed = {key: whole_number(key, text, least) for key, (text,) in key_values(words, defaults).items()}
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        raise SystemExit(1) from error
    return [typed.get(key, number) for key, number in defaults.items()]


def whole_number(key: str, text: str, least: int) -> int:
    """The number in `text`. Raises ValueError for anything but a whole number of at least `least`."""
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key} must be a whole number of at least {least}, got {text!r}")
    return int(text)

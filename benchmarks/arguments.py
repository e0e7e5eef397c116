"""`key=value` command lines of the small tools in this room."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from difflib import get_close_matches


def parse(argv: Sequence[str], keys: Mapping[str, str | None], usage: str) -> tuple[list[str], dict[str, str]]:
    """Split a command line into plain arguments and the values of `keys`.

    Args:
        keys: default of each key; None means that it must be given.
        usage: printed for `--help`, and below an error.

    Raises:
        SystemExit: 0 after `--help`, 2 for an unknown or missing key.
    """
    if "--help" in argv or "-h" in argv:
        print(usage.strip())
        raise SystemExit(0)
    plain = [argument for argument in argv if "=" not in argument]
    given = dict(argument.split("=", 1) for argument in argv if "=" in argument)
    for key in given.keys() - keys.keys():
        close = get_close_matches(key, keys, n=1)
        hint = f"Did you mean {close[0]!r}?" if close else f"Valid: {', '.join(keys)}"
        fail(f"unknown key {key!r}. {hint}", usage)
    if missing := [key for key, default in keys.items() if default is None and key not in given]:
        fail(f"missing: {', '.join(f'{key}=...' for key in missing)}", usage)
    return plain, {key: given.get(key, default or "") for key, default in keys.items()}


def flag(value: str, key: str) -> bool:
    """`true` or `false`; anything else raises ValueError."""
    if value not in ("true", "false"):
        raise ValueError(f"{key} must be true or false, got {value!r}")
    return value == "true"


def count(value: str, key: str, least: int = 1) -> int:
    """A whole number of at least `least`; anything else raises ValueError."""
    if not value.isdecimal() or int(value) < least:
        raise ValueError(f"{key} must be a whole number of at least {least}, got {value!r}")
    return int(value)


def fail(message: str, usage: str = "") -> None:
    """Print an error and leave with status 2."""
    print("\n\n".join(part for part in (f"error: {message}", usage.strip()) if part), file=sys.stderr)
    raise SystemExit(2)

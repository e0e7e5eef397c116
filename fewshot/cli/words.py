"""Values of `key=value` words, for commands without a configuration file."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence

from episodes.cli import key_values, refuse_missing


def asks_for_help(words: Sequence[str]) -> bool:
    """True if one of the words is `--help` or `-h`."""
    return bool({"-h", "--help"} & set(words))


def filled(words: Sequence[str], defaults: Mapping[str, str], needed: Collection[str] = ()) -> dict[str, str]:
    """The value of every key: as given, else its default.

    Args:
        words: `key=value` each.
        needed: keys without a default.

    Raises:
        ValueError: a word that is no `key=value`, an unknown, empty or repeated key, or one of `needed` is missing.
    """
    given = {key: value for key, (value,) in key_values(words, [*needed, *defaults]).items()}
    refuse_missing(needed, given)
    return {**defaults, **given}


def flag(key: str, text: str) -> bool:
    """Value of `true` or `false`. Raises ValueError for anything else."""
    if text not in ("true", "false"):
        raise ValueError(f"{key}={text}: give true or false")
    return text == "true"


def whole_number(key: str, text: str, least: int = 1) -> int:
    """Value of a whole number of at least `least`. Raises ValueError for anything else."""
    if not text.isdecimal() or int(text) < least:
        raise ValueError(f"{key}={text}: give a whole number of at least {least}")
    return int(text)

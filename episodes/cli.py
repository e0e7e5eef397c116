"""Parts that the command lines share."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from difflib import get_close_matches


def did_you_mean(key: str, valid: Iterable[str]) -> str:
    """` Did you mean 'x'?` for the closest of `valid`, or an empty string when nothing is close."""
    close = get_close_matches(key, list(valid), n=1, cutoff=0.6)
    return f" Did you mean {close[0]!r}?" if close else ""


def key_values(words: Sequence[str], keys: Collection[str], repeated: Collection[str] = ()) -> dict[str, list[str]]:
    """`key=value` words as a table: one value for each key, several for those of `repeated`.

    Raises:
        ValueError: a word that is no `key=value`, an unknown key, an empty value, or a key that is given twice.
    """
    values: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals:
            raise ValueError(f"expected key=value, got {word!r}; --help lists the keys")
        if key not in keys:
            raise ValueError(f"unknown key {key!r}.{did_you_mean(key, keys)} --help lists the keys")
        if not value:
            raise ValueError(f"{key} is empty: give a value, or leave the key out")
        if key in values and key not in repeated:
            raise ValueError(f"{key} is given twice: {values[key][0]} and {value}")
        values.setdefault(key, []).append(value)
    return values


def refuse_missing(needed: Iterable[str], given: Collection[str]) -> None:
    """Raises ValueError that names every key of `needed` that is not `given`."""
    missing = [key for key in needed if key not in given]
    if missing:
        raise ValueError(f"missing: {', '.join(f'{key}=…' for key in missing)}; --help lists the keys")

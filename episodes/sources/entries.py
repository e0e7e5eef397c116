"""Entries of JSON lists, taken as they are written: no key and no id twice, ids as whole numbers, words as words."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Hashable, Iterable
from pathlib import Path
from typing import Any

from episodes.plain_files import UnsuitableFile, read_text


def load_entries(path: Path) -> Any:
    """Content of a JSON file.

    Raises ValueError for other text; UnsuitableFile, which says what to do, for a table that has a key twice and for
    what `read_text` refuses.
    """

    def table(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
        found = dict(pairs)
        if len(found) < len(pairs):
            key = twice(key for key, _ in pairs)[0]
            raise UnsuitableFile(f"{path} has the key {key!r} twice in one table: remove one of them")
        return found

    return json.loads(read_text(path), object_pairs_hook=table)


def load_json(path: Path) -> Any:
    """As `load_entries`; other text is refused with the way out. Raises UnsuitableFile or ValueError."""
    try:
        return load_entries(path)
    except UnsuitableFile:
        raise
    except ValueError as error:
        raise ValueError(f"{path} is not a JSON file ({error}): download it again") from error


def twice(values: Iterable[Hashable]) -> list[Any]:
    """The values that occur more than once, in their order."""
    return [value for value, count in Counter(values).items() if count > 1]


def refuse_twice(values: Iterable[Hashable], path: Path, what: str) -> None:
    """Raise UnsuitableFile for entries of a list that share an id."""
    if found := twice(values):
        shown = ", ".join(map(str, found[:5]))
        raise UnsuitableFile(f"{path} lists {what} {shown} twice: remove one of the entries, or correct its id")


def whole(value: Any) -> int:
    """An id that is written as a whole number or as the digits of one. Raises ValueError for 1.7, true and the like."""
    if isinstance(value, bool) or not isinstance(value, (int, str)):
        raise ValueError(f"{value!r} is no whole number")
    return int(value)


def words(value: Any) -> str:
    """An expression. Raises TypeError for what is no text."""
    if not isinstance(value, str):
        raise TypeError(f"the expression {value!r} is no text")
    return value

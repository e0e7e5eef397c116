"""The keys of a configuration schema by their dotted names, with what `key` says of each."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass, field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Key:
    """One key: its dotted name, what it means, its valid values (if they are few) and its smallest value."""

    name: str
    meaning: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    place: bool = False


def schema_keys(schema: type, prefix: str = "") -> Iterator[Key]:
    """The keys of a dataclass and of the dataclasses inside it, in the order of declaration."""
    types = get_type_hints(schema)
    for entry in fields(schema):
        name = prefix + entry.name
        if is_dataclass(types[entry.name]):
            yield from schema_keys(types[entry.name], f"{name}.")
        else:
            yield Key(name, **entry.metadata)


def sections(schema: type) -> dict[str, type]:
    """The dataclasses directly inside a dataclass, by field name."""
    types = get_type_hints(schema)
    return {entry.name: types[entry.name] for entry in fields(schema) if is_dataclass(types[entry.name])}


def tables(schema: type) -> dict[str, type]:
    """The fields of a dataclass that are dictionaries of dataclasses, with these: their keys are free."""
    types = get_type_hints(schema).items()
    return {name: get_args(kind)[1] for name, kind in types if get_origin(kind) is dict}


def value_of(config: Any, name: str) -> Any:
    """The value of the key with the dotted `name` in an instance of the schema."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def key(
    default: Any,
    meaning: str,
    *,
    choices: Iterable[str] = (),
    minimum: float | None = None,
    place: bool = False,
) -> Any:
    """A dataclass field with what `--help` shows of it and what is checked before a run.

    Args:
        default: its value where nothing else is said.
        meaning: one line for `--help`.
        choices: valid values, where there are few.
        minimum: smallest valid value.
        place: a file or folder, which may lie elsewhere on another machine.
    """
    metadata = {"meaning": meaning, "choices": tuple(choices), "minimum": minimum, "place": place}
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)

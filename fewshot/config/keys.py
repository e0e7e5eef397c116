"""Keys of a configuration: declared as dataclass fields with `key`, read back by their dotted names."""

from __future__ import annotations

import copy
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from typing import Any, get_args, get_origin, get_type_hints


@dataclass(frozen=True)
class Key:
    """One key: its dotted name, what it means, its valid values (if they are few), its smallest and its largest value.

    `place` marks a file or folder, which may lie elsewhere on another machine.
    """

    name: str
    meaning: str
    choices: tuple[str, ...] = ()
    minimum: float | None = None
    maximum: float | None = None
    place: bool = False


def key(
    default: Any,
    meaning: str,
    *,
    choices: Iterable[str] = (),
    minimum: float | None = None,
    maximum: float | None = None,
    place: bool = False,
) -> Any:
    """A dataclass field with what `--help` shows of it and what is checked before a run.

    Args:
        default: its value where nothing else is said.
        meaning: one line for `--help`.
        choices: valid values, where there are few.
        minimum: smallest valid value.
        maximum: largest valid value.
        place: a file or folder, which may lie elsewhere on another machine.
    """
    metadata = {
        "meaning": meaning,
        "choices": tuple(choices),
        "minimum": minimum,
        "maximum": maximum,
        "place": place,
    }
    if isinstance(default, (list, dict)):
        return field(default_factory=lambda: copy.copy(default), metadata=metadata)
    return field(default=default, metadata=metadata)


def in_words(number: float) -> str:
    """A limit of a key as people write it: `0.5`, `1`, `100,000`."""
    return f"{number:,.0f}" if number == int(number) else f"{number:g}"


def schema_keys(schema: type, prefix: str = "", types: Mapping[str, type] | None = None) -> Iterator[Key]:
    """The keys of a dataclass and of the dataclasses inside it, those of its own before those of its bases.

    Args:
        schema: the dataclass.
        prefix: put before the names.
        types: dataclasses in the place of the declared ones, by field name: a system's own settings, say.
    """
    declared = {**get_type_hints(schema), **(types or {})}
    for entry in _own_first(schema):
        name = prefix + entry.name
        if is_dataclass(declared[entry.name]):
            yield from schema_keys(declared[entry.name], f"{name}.")
        else:
            yield Key(name, **(entry.metadata or {"meaning": ""}))


def _own_first(schema: type) -> list[Field[Any]]:
    """The fields of a dataclass: `name` first, then its own, then those of its bases."""
    depth: dict[str, int] = {}
    for at, base in enumerate(schema.__mro__):
        for name in base.__dict__.get("__annotations__", {}):
            depth.setdefault(name, at)
    return sorted(fields(schema), key=lambda entry: (entry.name != "name", depth[entry.name]))


def sections(schema: type, types: Mapping[str, type] | None = None) -> dict[str, type]:
    """The dataclasses directly inside a dataclass, by field name; `types` as in `schema_keys`."""
    declared = {**get_type_hints(schema), **(types or {})}
    return {entry.name: declared[entry.name] for entry in _own_first(schema) if is_dataclass(declared[entry.name])}


def tables(schema: type) -> dict[str, type]:
    """The fields of a dataclass that are dictionaries of dataclasses, with these: their keys are free."""
    types = get_type_hints(schema).items()
    return {name: get_args(declared)[1] for name, declared in types if get_origin(declared) is dict}


def keys_of(config: Any) -> Iterator[Key]:
    """The keys of an instance, with those of the settings that are truly in it."""
    inside = {entry.name: type(getattr(config, entry.name)) for entry in fields(config)}
    return schema_keys(
        type(config), types={name: declared for name, declared in inside.items() if is_dataclass(declared)}
    )


def type_of(schema: type, name: str) -> Any:
    """The declared type of the key with the dotted `name`."""
    declared: Any = schema
    for part in name.split("."):
        declared = get_type_hints(declared)[part]
    return declared


def value_of(config: Any, name: str) -> Any:
    """The value of the key with the dotted `name` in an instance of the schema."""
    for part in name.split("."):
        config = getattr(config, part)
    return config


def set_value(config: Any, name: str, value: Any) -> None:
    """Give the key with the dotted `name` a value."""
    *path, last = name.split(".")
    for part in path:
        config = getattr(config, part)
    setattr(config, last, copy.copy(value))

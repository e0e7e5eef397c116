"""Words of the command line: `key=value`, with unknown keys refused and the meant one named."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args

from episodes.hints import did_you_mean
from fewshot.config.keys import Key, in_words, schema_keys, sections, tables
from fewshot.systems.registry import systems

FORMS = {bool: "true or false", int: "a whole number", float: "a number"}
HYDRA = ("hydra", "settings")  # parts of the configuration that are Hydra's own business


def key_values(
    words: Sequence[str], keys: Collection[str], repeated: Collection[str] = (), plain: str | None = None
) -> dict[str, list[str]]:
    """`key=value` words as a table: one value for each key, several for those of `repeated`.

    Args:
        words: of the command line.
        keys: the valid ones.
        repeated: keys that may be given several times.
        plain: key that takes words without `=`; None: these are refused.

    Raises:
        ValueError: a word that is none, an unknown key, an empty value, or a key that is given twice.
    """
    values: dict[str, list[str]] = {}
    for word in words:
        key, equals, value = word.partition("=")
        if not equals and plain is not None:
            key, value = plain, word
        elif not equals:
            raise ValueError(f"expected key=value, got {word!r}; --help lists the keys")
        if key not in keys:
            raise ValueError(f"unknown key {key!r}.{did_you_mean(key, keys)} --help lists the keys")
        if not value:
            raise ValueError(f"{key} is empty: give a value, or leave the key out")
        if key in values and key not in repeated:
            raise ValueError(f"{key} is given twice: {values[key][0]} and {value}")
        values.setdefault(key, []).append(value)
    return values


def form_of(kind: Any, key: Key) -> str:
    """A value of a key in words: `a whole number from 1 to 8`. `kind` is the type of the key."""
    kinds = (kind, *get_args(kind))  # Optional[int] is int, or None
    word = next((word for known, word in FORMS.items() if known in kinds), "another value")
    return " ".join([word, *limits(key)])


def limits(key: Key) -> list[str]:
    """The limits of a key in words, if it has any."""
    low, high = (None if limit is None else in_words(limit) for limit in (key.minimum, key.maximum))
    if low is not None and high is not None:
        return [f"from {low} to {high}"]
    return [f"{words} {limit}" for words, limit in (("of at least", low), ("of at most", high)) if limit is not None]


def refuse_missing(needed: Iterable[str], given: Collection[str]) -> None:
    """Raises ValueError that names every key of `needed` that is not `given`."""
    missing = [key for key in needed if key not in given]
    if missing:
        raise ValueError(f"missing: {', '.join(f'{key}=…' for key in missing)}; --help lists the keys")


def systems_with(name: str) -> list[str]:
    """The systems that have the key `system.x`; none for other keys."""
    section, _, key = name.partition(".")
    if section != "system":
        return []
    return [other for other, spec in systems().items() if key in {entry.name for entry in fields(spec.config)}]


def refuse_unknown_keys(arguments: Sequence[str], schema: type, types: Mapping[str, type] | None = None) -> None:
    """Refuse keys of a run that are not there. Hydra does as well, but does not say which key was meant.

    Args:
        arguments: of the command line.
        schema: dataclass of the run.
        types: see `schema_keys`.

    Raises:
        ValueError: an argument `key=value` with a key that the schema does not know.
    """
    known = [key.name for key in schema_keys(schema, types=types)]
    valid = {*known, *sections(schema)}
    rows = {name: {key.name for key in schema_keys(row)} for name, row in tables(schema).items()}
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        name = name.lstrip("+~")
        if argument.startswith("~"):
            raise ValueError(f"{argument}: a key cannot be taken out; give it a value, {name}=<value>")
        if equals and name.startswith("--") and name[2:] in valid:
            raise ValueError(f"{argument}: write {argument[2:]}, without dashes")
        if not equals or name.startswith("-") or name.split("@")[0].split("/")[0].split(".")[0] in HYDRA:
            continue
        table, *inside = name.split(".")
        if table in rows and len(inside) == 2:  # the name of a row is free, its keys are not
            if inside[1] not in rows[table]:
                raise ValueError(f"unknown key {name!r}.{did_you_mean(inside[1], rows[table])} --help lists every key.")
            continue
        if name.split("@")[0] not in valid:
            if others := systems_with(name):
                raise ValueError(f"unknown key {name!r}: it is one of system {' and '.join(others)}; choose system=...")
            short = {key.rsplit(".", 1)[-1]: key for key in reversed(known)}
            hint = f" Did you mean {short[name]!r}?" if name in short else did_you_mean(name, valid)
            raise ValueError(f"unknown key {name!r}.{hint} --help lists every key.")

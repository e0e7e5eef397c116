"""The one place where a recipe becomes values of keys: `recipe=official` turns all switches of a system on at once."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from fewshot.cli.runs import RunConfig, StageConfig, parts_in_use
from fewshot.config.keys import keys_of, set_value
from fewshot.systems.registry import spec_of

CORRECTED, OFFICIAL = "corrected", "official"
WORDS_ALONE = {"ris", "clips"}  # kinds of parts that give an expression and nothing else


def expand_recipe(config: RunConfig, typed: Collection[str]) -> list[str]:
    """Give keys the values of the recipe, but for those that were `typed`; the changes as `key=value`, for the log.

    Raises:
        ValueError: the system has no released code that could be repeated.
    """
    if config.recipe == CORRECTED:
        return []
    spec = spec_of(config.system)
    if not spec.official:
        raise ValueError(f"recipe=official: system {spec.name} has no released code to repeat; take recipe=corrected")
    return _set(config, spec.official, typed)


def expand_words_alone(config: StageConfig, typed: Collection[str]) -> list[str]:
    """Make the system of a stage whose tasks give expressions alone do without supports; the changes as `key=value`."""
    kinds = {part.kind for part in parts_in_use(config).values()}
    return _set(config, spec_of(config.system).words_alone, typed) if kinds and kinds <= WORDS_ALONE else []


def _set(config: RunConfig, values: Mapping[str, Any], typed: Collection[str]) -> list[str]:
    """Give those keys that there are their values, but for those that were typed; the changes as `key=value`."""
    known = {key.name for key in keys_of(config)}
    chosen = {name: value for name, value in values.items() if name in known and name not in typed}
    for name, value in chosen.items():
        set_value(config, name, value)
    return [f"{name}={value}" for name, value in chosen.items()]

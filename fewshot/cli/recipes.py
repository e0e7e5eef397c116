"""The one place where a recipe becomes values of keys: `recipe=official` turns all switches of a system on at once."""

from __future__ import annotations

from collections.abc import Collection

from fewshot.cli.runs import RunConfig
from fewshot.config.keys import keys_of, set_value
from fewshot.systems.registry import spec_of

CORRECTED, OFFICIAL = "corrected", "official"


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
    known = {key.name for key in keys_of(config)}
    values = {name: value for name, value in spec.official.items() if name in known and name not in typed}
    for name, value in values.items():
        set_value(config, name, value)
    return [f"{name}={value}" for name, value in values.items()]

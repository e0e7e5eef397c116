"""The one place where what a system says of itself becomes values of keys, but for those that are typed.

`recipe=official` turns all switches of a system on at once; a test takes the settings of the system's own tests.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from typing import Any

from episodes.catalogue import data_set
from fewshot.cli.runs import RunConfig, StageConfig, TaskTestConfig, parts_in_use
from fewshot.config.keys import keys_of, set_value, value_of
from fewshot.systems.registry import spec_of

CORRECTED, OFFICIAL = "corrected", "official"
EVERY_PART = "parts.*."  # before a key of every part of a stage
WORDS_ALONE = {"ris", "clips", "rvos", "rfs"}  # tests that give an expression and nothing else
PARTS = WORDS_ALONE - {"rvos"}  # and parts of a stage: of the kind rvos some have a mask too


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
    if not isinstance(config, StageConfig):
        return _set(config, spec.official, typed)
    # what a benchmark sets for few-shot training, the parts set in a stage
    of_parts = {name.replace("benchmark.", EVERY_PART): value for name, value in spec.official.items()}
    values = {**of_parts, **spec.stages.get(config.stage, {})}
    return [*_set(config, values, typed), *_set_in_parts(config, values, typed)]


def expand_words_alone(config: StageConfig, typed: Collection[str]) -> list[str]:
    """Make the system of a stage whose tasks give expressions alone do without supports; the changes as `key=value`."""
    kinds = {part.kind for part in parts_in_use(config).values()}
    return _set(config, spec_of(config.system).words_alone, typed) if kinds and kinds <= PARTS else []


def expand_tests(config: TaskTestConfig, typed: Collection[str]) -> list[str]:
    """Give a test the settings of the system's own test on the data set; the changes as `key=value`."""
    spec, task = spec_of(config.system), config.task.benchmark
    values = tests_of(config)
    if config.weights is None and data_set(task).kind in WORDS_ALONE:  # a system of weights is as it was trained
        values |= spec.words_alone
    return _set(config, values, typed)


def tests_of(config: TaskTestConfig) -> dict[str, Any]:
    """Keys and values of the system's own test on the data set."""
    spec, task = spec_of(config.system), config.task.benchmark
    faults = spec.official_tests.get(task, {}) if config.recipe == OFFICIAL else {}
    return {**spec.tests.get(task, {}), **faults}


def settings_of_tests(config: TaskTestConfig) -> list[str]:
    """The settings of the system's own test on the data set that are in use, as `key=value`."""
    own = tests_of(config)
    return [f"{name}={in_yaml(value)}" for name, value in own.items() if value_of(config, name) == value]


def in_yaml(value: Any) -> str:
    """A single value as it is typed: `true`, `null`, `360`, `short`."""
    return value if isinstance(value, str) else json.dumps(value)


def expand(config: RunConfig, typed: Collection[str], trained: bool = False) -> None:
    """Give keys the values that the recipe and the system say, but for those that were `typed`.

    Args:
        trained: the system has its weights, and its own settings stay as they were in training.

    Raises:
        ValueError: the recipe has no meaning for the system.
    """
    if trained:
        typed = {*typed, *(key.name for key in keys_of(config) if key.name.startswith("system."))}
    expand_recipe(config, typed)
    if isinstance(config, StageConfig):
        expand_words_alone(config, typed)
        if "train.steps" in typed and "epochs" not in typed:
            config.epochs = None
    if isinstance(config, TaskTestConfig):
        expand_tests(config, typed)


def _set(config: RunConfig, values: Mapping[str, Any], typed: Collection[str]) -> list[str]:
    """Give those keys that there are their values, but for those that were typed; the changes as `key=value`."""
    known = {key.name for key in keys_of(config)}
    chosen = {name: value for name, value in values.items() if name in known and name not in typed}
    for name, value in chosen.items():
        set_value(config, name, value)
    return [f"{name}={value}" for name, value in chosen.items()]


def _set_in_parts(config: StageConfig, values: Mapping[str, Any], typed: Collection[str]) -> list[str]:
    """The same for the keys `parts.*.x` of every part that is used."""
    told = []
    for name, part in parts_in_use(config).items():
        own = {key.name for key in keys_of(part)}
        for key, value in values.items():
            inside = key.removeprefix(EVERY_PART)
            if key.startswith(EVERY_PART) and inside in own and f"parts.{name}.{inside}" not in typed:
                set_value(part, inside, value)
                told.append(f"parts.{name}.{inside}={value}")
    return told

"""The systems that there are: one folder each below this one, and those of other packages.

A folder says what it holds in `SPECS`. A package outside announces its own under the entry-point group
`fewshot.systems`; without that, `system.name=package.module:Class` names a `System` with a settings class, or a
`SystemSpec`, by its place.
"""

from __future__ import annotations

import pkgutil
from functools import cache
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any, cast

import fewshot.systems
from episodes.seeding import derive
from fewshot.systems.config import SystemConfig
from fewshot.systems.spec import SystemSpec

if TYPE_CHECKING:
    from fewshot.systems.base import System

GROUP = "fewshot.systems"  # of the entry points


@cache
def systems() -> dict[str, SystemSpec]:
    """The registered systems by name: those of this package, then those of installed packages.

    Raises:
        ValueError: two systems have one name, or an entry point names something else.
    """
    found: dict[str, SystemSpec] = {}
    for folder in pkgutil.iter_modules(fewshot.systems.__path__):
        if folder.ispkg:
            for spec in import_module(f"{fewshot.systems.__name__}.{folder.name}").SPECS:
                found[spec.name] = spec
    for point in entry_points(group=GROUP):
        spec = as_spec(point.load(), f"entry point {point.name!r}")
        if spec.name in found:
            raise ValueError(f"entry point {point.name!r} ({point.value}): there is a system {spec.name!r} already")
        found[spec.name] = spec
    return found


def find_system(name: str) -> SystemSpec:
    """The system of a name, or at a place `package.module:Class`.

    Raises:
        ValueError: there is none; the message names those that there are.
    """
    if name in systems():
        return systems()[name]
    if ":" not in name:
        raise ValueError(
            f"unknown system {name!r}: choose one of {', '.join(sorted(systems()))}, or name one of your own as "
            "package.module:Class"
        )
    module, _, attribute = name.partition(":")
    try:
        found = getattr(import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise ValueError(f"no system at {name}: {error}; name it as package.module:Class") from error
    return as_spec(found, name)


def as_spec(found: Any, place: str) -> SystemSpec:
    """A `SystemSpec` as it is, or that of a `System` class with its settings.

    Raises:
        ValueError: `found`, which lies at `place`, is neither.
    """
    if isinstance(found, SystemSpec):
        return found
    settings = getattr(found, "settings", None)
    if not isinstance(found, type) or not isinstance(settings, type) or not issubclass(settings, SystemConfig):
        raise ValueError(
            f"{place} is neither a SystemSpec nor a System with a class of settings: give the class an attribute "
            "`settings`, a dataclass derived from fewshot.systems.config.SystemConfig"
        )
    system = cast("type[System]", found)
    rule = getattr(system, "input_rule", SystemSpec.input_rule)
    needs_training = getattr(system, "needs_training", True)
    return SystemSpec(
        system.name,
        settings,
        system.from_settings,
        needs=system.needs,
        needs_training=needs_training,
        input_rule=rule,
    )


def spec_of(config: SystemConfig) -> SystemSpec:
    """The system that settings belong to. Raises ValueError as `find_system`."""
    return find_system(config.name)


def build_system(config: SystemConfig) -> System:
    """The system that `config` names, with random weights except those of the files that it names.

    Raises:
        ValueError: for an unknown name, or sizes that do not fit together.
        FileNotFoundError: for missing weights or tokenizer files.
    """
    spec = spec_of(config)
    if not isinstance(config, spec.config):
        raise ValueError(f"system {spec.name!r} is built from {spec.config.__name__}, got {type(config).__name__}")
    config.check()
    return spec.build(config)


def make_system(config: SystemConfig, seed: int) -> System:
    """A system with initial weights that depend on nothing but `seed`; torch's global generator stays as it was."""
    import torch

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive("weights", seed))
        return build_system(config)

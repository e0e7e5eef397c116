"""Settings of a system from words of the command line, for commands that are no run."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from omegaconf import OmegaConf

from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.checks import check_value
from fewshot.cli.composition import composed, register_schemas, system_of, with_named_system
from fewshot.cli.runs import MetaTestConfig
from fewshot.config.keys import schema_keys
from fewshot.systems.config import SystemConfig

RUN = "meta_test"  # whose systems, and whose words for them, these are


def system_settings(words: Sequence[str]) -> SystemConfig:
    """The settings that `system=<name>` and `system.<key>=<value>` give.

    Raises:
        ValueError: an unknown system or key, or a value that is not valid.
    """
    register_schemas()
    arguments = with_named_system(words)
    kind = system_of(RUN, arguments)
    refuse_unknown_keys(arguments, MetaTestConfig, {"system": kind})
    settings: Any = OmegaConf.to_object(composed(RUN, arguments).system)
    for key in schema_keys(kind, "system."):
        check_value(key, getattr(settings, key.name.partition(".")[2]))
    settings.check()
    return settings

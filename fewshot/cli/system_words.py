"""Settings of a system and of its adaptation from words of the command line, for commands that are no run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from omegaconf import OmegaConf

from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.checks import check_adaptation, check_adaptation_reads, check_value, check_values
from fewshot.cli.composition import composed, register_schemas, system_of, with_named_system
from fewshot.cli.runs import MetaTestConfig
from fewshot.config.keys import schema_keys
from fewshot.config.sections import AdaptationConfig
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


def adaptation_settings(words: Sequence[str], stored: AdaptationConfig | None = None) -> AdaptationConfig:
    """The settings that `adaptation=<name>` and `adaptation.<key>=<value>` give, the keys alone on top of `stored`.

    Raises:
        ValueError: an unknown name or key, a value that is not valid, or keys alone where nothing is stored.
    """
    register_schemas()
    refuse_unknown_keys(words, MetaTestConfig)
    found: AdaptationConfig = OmegaConf.to_object(composed(RUN, list(words)).adaptation)  # type: ignore[assignment]
    typed = [word.partition("=")[0].partition(".")[2] for word in words]
    if "" not in typed:
        if stored is None:
            raise ValueError(f"{words[0]}: the weights were trained without an adaptation; add adaptation=<name>")
        found = replace(stored, **{name: getattr(found, name) for name in typed})
    check_values(found)
    check_adaptation(found)
    check_adaptation_reads(found, (word.partition("=")[0] for word in words))
    return found

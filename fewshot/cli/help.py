"""`--help`: what the program does, three examples, and every key with its meaning and its value in this run."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

from hydra import compose, initialize_config_module
from omegaconf import DictConfig, OmegaConf

from fewshot.config.keys import Key, schema_keys, sections, tables

WIDTH = 110
COLUMN = 34  # where the meanings start


def help_text(program: str, about: str, examples: Sequence[tuple[str, str]], schema: type, config: DictConfig) -> str:
    """The whole text. `program` is what is typed after `python -m`, `examples` are (arguments, what they do)."""
    lines = [*textwrap.wrap(about, WIDTH), "", f"Usage: python -m {program} [key=value ...]", "", "Examples"]
    for arguments, what in examples:
        typed = textwrap.wrap(f"python -m {program} {arguments}", WIDTH - 4, subsequent_indent="    ")
        lines += [*textwrap.indent(" \\\n".join(typed), "  ").splitlines(), f"      {what}"]
    lines += ["", "Groups of settings (name=option)"]
    lines += [f"  {name}={' | '.join(options)}" for name, options in option_groups(config).items()]
    lines += ["", "Keys, with the values of this command line"]
    lines += key_lines([key for key in schema_keys(schema) if "." not in key.name], config)
    for name, section in sections(schema).items():
        lines += ["", f"  {(section.__doc__ or '').strip().splitlines()[0]}"]
        lines += key_lines(list(schema_keys(section, f"{name}.")), config)
    for name, row in tables(schema).items():
        defaults = OmegaConf.create({name: {"<name>": OmegaConf.structured(row)}})
        lines += ["", f"  {(row.__doc__ or '').strip().splitlines()[0]} With its defaults:"]
        lines += key_lines(list(schema_keys(row, f"{name}.<name>.")), defaults)
    lines += ["", *MORE]
    return "\n".join(lines)


MORE = (
    "Also",
    "  -m key=a,b            one run after the other for every value",
    "  --cfg job             print the composed configuration and stop",
    "  --info defaults-tree  print which files it is composed of and stop",
    "  --hydra-help          everything else that Hydra's command line can do",
    "  FEWSHOT_TRACEBACK=1   (environment) show the full trace of an error",
)


def key_lines(keys: Sequence[Key], config: DictConfig) -> list[str]:
    """`name=value   meaning (valid values)`, wrapped into two columns."""
    lines = []
    for key in keys:
        left = f"  {key.name}={shown(OmegaConf.select(config, key.name, throw_on_missing=False))}"
        meaning = textwrap.wrap(describe(key), WIDTH - COLUMN)
        if len(left) >= COLUMN - 1:
            lines.append(left)
            left = ""
        lines += [f"{left if row == 0 else '':<{COLUMN}}{text}" for row, text in enumerate(meaning)]
    return lines


def describe(key: Key) -> str:
    """The meaning, then the valid values or the smallest one."""
    if key.choices:
        return f"{key.meaning} ({' | '.join(key.choices)})"
    return key.meaning if key.minimum in (None, 0) else f"{key.meaning} (at least {key.minimum:g})"


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(map(shown, value)) + "]" if not isinstance(value, (str, int, float)) else str(value)


def option_groups(config: DictConfig) -> dict[str, list[str]]:
    """The YAML files of each group of settings that this configuration draws from."""
    found = {}
    for folder in sorted(files("experiments").iterdir(), key=lambda entry: entry.name):
        if folder.name in config and folder.is_dir():
            names = (entry.name for entry in folder.iterdir())
            found[folder.name] = sorted(name.removesuffix(".yaml") for name in names if name.endswith(".yaml"))
    return found


def composed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that these overrides give; nothing runs."""
    with initialize_config_module("experiments", version_base="1.3"):
        return compose(config_name, overrides=list(overrides))

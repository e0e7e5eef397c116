"""`--help`: what the program does, three examples, and every key with its meaning and its value in this run."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from omegaconf import DictConfig, OmegaConf

from fewshot.cli.arguments import limits
from fewshot.cli.composition import groups
from fewshot.cli.runs import RunConfig
from fewshot.config.keys import Key, schema_keys, sections, tables

WIDTH = 110
COLUMN = 34  # where the meanings start


@dataclass(frozen=True)
class Description:
    """Content of a command's `--help`.

    Attributes:
        name: of the command, its module in `fewshot` and, for a run, its file `experiments/<name>.yaml`.
        schema: dataclass of its keys. A `RunConfig` is composed by Hydra; others have just the keys that are typed.
        about: what it does.
        examples: (arguments, what they do).
        words: key that takes words without `=`, a list; None: there are none.
    """

    name: str
    schema: type
    about: str
    examples: tuple[tuple[str, str], ...]
    words: str | None = field(default=None, kw_only=True)


def help_text(program: Description, config: DictConfig, types: Mapping[str, type] | None = None) -> str:
    """The whole text.

    Args:
        program: the command.
        config: values of its keys on this command line.
        types: see `schema_keys`.
    """
    is_run = issubclass(program.schema, RunConfig)
    module = f"fewshot.{program.name}"
    words = f"{program.words.upper()}... " if program.words else ""
    lines = [*textwrap.wrap(program.about, WIDTH), "", f"Usage: python -m {module} {words}[key=value ...]"]
    lines += [f"       fewshot {program.name} {words}[key=value ...]", "", "Examples"]
    for arguments, what in program.examples:
        typed = textwrap.wrap(f"python -m {module} {arguments}", WIDTH - 4, subsequent_indent="    ")
        lines += [*textwrap.indent(" \\\n".join(typed), "  ").splitlines(), f"      {what}"]
    if is_run:
        lines += ["", "Groups of settings (name=option)"]
        lines += [f"  {name}={' | '.join(options)}" for name, options in option_groups(config).items()]
    lines += ["", "Keys, with the values of this command line"]
    lines += key_lines([key for key in schema_keys(program.schema, types=types) if "." not in key.name], config)
    for name, section in sections(program.schema, types).items():
        lines += ["", f"  {(section.__doc__ or '').strip().splitlines()[0]}"]
        lines += key_lines(list(schema_keys(section, f"{name}.")), config)
    for name, row in tables(program.schema).items():
        defaults = OmegaConf.create({name: {"<name>": OmegaConf.structured(row)}})
        lines += ["", f"  {(row.__doc__ or '').strip().splitlines()[0]} With its defaults:"]
        lines += key_lines(list(schema_keys(row, f"{name}.<name>.")), defaults)
    return "\n".join([*lines, "", *(MORE if is_run else MORE_OF_ALL)])


MORE = (
    "Also",
    "  -m key=a,b            one run after the other for every value; a finished one is not repeated, one that",
    "                        was stopped goes on with resume=true, one that fails does not end the others",
    "  --cfg job             print the composed configuration and stop",
    "  --info defaults-tree  print which files it is composed of and stop",
    "  --hydra-help          everything else that Hydra's command line can do",
    "  FEWSHOT_TRACEBACK=1   (environment) show the full trace of an error",
)
MORE_OF_ALL = (MORE[0], MORE[-1])


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
    """The meaning, then the valid values or the limits."""
    valid = " | ".join(key.choices) or " ".join(limits(key))
    return f"{key.meaning} ({valid})" if valid else key.meaning


def shown(value: Any) -> str:
    """A value as it is typed on the command line."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    return "[" + ",".join(map(shown, value)) + "]" if not isinstance(value, (str, int, float)) else str(value)


def option_groups(config: DictConfig) -> dict[str, list[str]]:
    """The YAML files of each group of settings that this configuration draws from, and systems without a file."""
    return {name: options for name, options in groups().items() if name in config}

"""`Program`: the skeleton of every command. A checked configuration from the command line, and short messages."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING, Any, Generic, TypeVar

from omegaconf import MISSING, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException, ValidationError

from fewshot.cli.arguments import form_of, key_values, refuse_missing, refuse_unknown_keys
from fewshot.cli.checks import check, check_values
from fewshot.cli.composition import (
    composed,
    refuse_dangling,
    refuse_unknown_options,
    register_schemas,
    run_composed,
    system_of,
    with_named_system,
)
from fewshot.cli.errors import short_errors, tell
from fewshot.cli.failed import Failed
from fewshot.cli.help import Description, help_text
from fewshot.cli.memory import keep_freed_memory
from fewshot.cli.recipes import expand
from fewshot.cli.runs import EpisodeRunConfig, MetaTestConfig, RunConfig, TaskTestConfig
from fewshot.cli.threads import wait_patiently
from fewshot.config.keys import schema_keys, sections, type_of

if TYPE_CHECKING:
    from omegaconf import DictConfig

Config = TypeVar("Config")


@dataclass(frozen=True)
class Command:
    """The typed overrides, and which option of each group of settings is in use (`system` -> `cma_tiny`).

    `sweeps` says whether the run is one of several, those of `-m`.
    """

    overrides: tuple[str, ...]
    options: dict[str, str]
    sweeps: bool = False

    @property
    def typed(self) -> set[str]:
        """Names of the keys and groups that were typed."""
        return {override.partition("=")[0].lstrip("+~") for override in self.overrides}


@dataclass(frozen=True)
class Program(Description, Generic[Config]):
    """A command: `python -m fewshot.<name>`, or `fewshot <name>`.

    Attributes:
        run: the work; it is given the checked configuration and what was typed.
        quoted: keys whose values may hold braces, which Hydra wants in quotes.
        left: sections whose words `<section>.<key>=<value>` are left to `run`, of a command that is no run.
    """

    schema: type[Config]
    run: Callable[[Config, Command], Any]
    quoted: tuple[str, ...] = field(default=(), kw_only=True)
    left: tuple[str, ...] = field(default=(), kw_only=True)

    def main(self) -> None:
        """Read the command line, check everything, run. User errors end the program with 1 and one line."""
        wait_patiently()
        keep_freed_memory()
        with short_errors():
            arguments = [self._quoted(argument) for argument in sys.argv[1:]]
            wants_help = any(argument in ("-h", "--help") for argument in arguments)
            if wants_help:
                arguments = [argument for argument in arguments if not argument.startswith("-")]
            if issubclass(self.schema, RunConfig):
                self._main_of_run([_plain_letters(argument) for argument in arguments], wants_help)
            elif wants_help:
                print(help_text(self, OmegaConf.structured(self.schema)))
            else:
                own = [word for word in arguments if not word.startswith(tuple(f"{name}." for name in self.left))]
                self.run(self.parsed(own), Command(tuple(arguments), {}))

    def _main_of_run(self, arguments: list[str], wants_help: bool) -> None:
        register_schemas()
        refuse_unknown_options(arguments)
        arguments = with_named_system(arguments)
        types = {"system": system_of(self.name, arguments)}
        refuse_unknown_keys(arguments, self.schema, types)
        if wants_help:
            print(help_text(self, composed(self.name, arguments), types))
            return
        if not any(argument.startswith("-") for argument in arguments):
            composed(self.name, arguments)  # tells a wrong value in one line; Hydra itself takes several
        sys.argv[1:] = arguments
        Failed.told.clear()
        run_composed(self.name, partial(self._job, tuple(arguments)))
        if Failed.told:
            print(f"{len(Failed.told)} run(s) failed:", *Failed.told, sep="\n  ", file=sys.stderr)
            raise SystemExit(1)

    def _job(
        self, typed: Sequence[str], config: DictConfig, overrides: Sequence[str], choices: dict[str, str], sweeps: bool
    ) -> Any:
        """One run. Of several a run that fails does not end the others: its result is `Failed`."""
        options = {k: choices[k].removesuffix("_schema") for k in sections(self.schema) if k in choices}
        command = Command(tuple(overrides), options, sweeps)
        if not sweeps:
            with short_errors():
                return self.run(checked(config, command), command)
        try:
            return self.run(checked(config, command), command)
        except Exception as error:
            shared = {word.lower() for word in typed}  # Hydra writes true as True
            own = [word for word in overrides if word.lower() not in shared] or overrides  # what tells it from others
            return Failed(f"{' '.join(own)}: {tell(error)}")

    def parsed(self, arguments: Sequence[str]) -> Config:
        """The keys of a command that is no run.

        Raises:
            ValueError: an unknown or missing key, or a value that is not valid.
        """
        keys = {key.name: key for key in schema_keys(self.schema)}
        empty = OmegaConf.structured(self.schema)
        lists = {name for name in keys if OmegaConf.is_list(_value(empty, name))}
        given = key_values(arguments, keys, lists, self.words)
        for name, values in given.items():
            try:
                value = values if name in lists else None if values[0] == "null" else values[0]
                if type_of(self.schema, name) is bool and value not in ("true", "false"):  # not yes, on or 1
                    raise ValidationError
                OmegaConf.update(empty, name, value)
            except OmegaConfBaseException as error:
                wanted = form_of(type_of(self.schema, name), keys[name])
                wanted += f", and {name}=... again for another" if name in lists else ""
                raise ValueError(f"{name}={values[0]}: give {wanted}") from error
        refuse_dangling(empty)
        refuse_missing((name for name in keys if _value(empty, name) == MISSING), given)
        config: Any = OmegaConf.to_object(empty)
        check_values(config)
        return config

    def _quoted(self, argument: str) -> str:
        """`weights=runs/g{group}` as Hydra reads it: a value with braces stands in quotes."""
        key, equals, value = argument.partition("=")
        plain = key in self.quoted and "{" in value and not value.startswith(("'", '"'))
        return f"{key}{equals}'{value}'" if plain else argument


def _plain_letters(argument: str) -> str:
    """`data.root=/home/jörg` as Hydra reads it: letters beyond ASCII stand in quotes. Lists and calls stay."""
    key, equals, value = argument.partition("=")
    if value.isascii() or not key.isascii() or value.startswith(("'", '"')) or set(value) & set(",[]{}()$"):
        return argument
    quote = '"' if "'" in value else "'"
    return f"{key}{equals}{quote}{value}{quote}"


def _value(config: DictConfig, name: str) -> Any:
    """The value of a dotted key, `MISSING` where it has none."""
    *path, last = name.split(".")
    for part in path:
        config = config[part]
    return MISSING if OmegaConf.is_missing(config, last) else config[last]


def checked(config: DictConfig, command: Command = Command((), {})) -> Any:
    """The configuration as dataclasses, complete and valid, with its recipe expanded.

    Raises:
        ValueError: a mandatory value is missing or a value is not valid.
    """
    refuse_dangling(config)
    try:
        built: Any = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        name = error.full_key or "a mandatory key"
        raise ValueError(f"{name} has no value: give {name}=<value>") from error
    if not (isinstance(built, TaskTestConfig) and built.weights is not None):  # which bring their system
        expand(built, command.typed)
    if isinstance(built, EpisodeRunConfig) and built.protocol is not None:
        built.benchmark.protocol = built.protocol
    check(built, complete=not (isinstance(built, MetaTestConfig) and built.weights is not None))
    return built

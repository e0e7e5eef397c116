"""What the entry points share: a checked configuration from the command line, and short messages for user errors."""

from __future__ import annotations

import errno
import os
import sys
import traceback
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue

from episodes.cli import did_you_mean
from fewshot.cli.checks import check
from fewshot.cli.help import composed, help_text
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, StageConfig, TaskTestConfig
from fewshot.config.keys import schema_keys, sections, tables

Config = TypeVar("Config", MetaTrainConfig, MetaTestConfig, TaskTestConfig, StageConfig)
PACKAGES = ("fewshot", "episodes", "benchmarks")
FREE_SPACE = (
    "free some space, or give another out=<folder> (data.cache=<folder> for the generated world); "
    "resume=true goes on with what the run has written"
)
OTHER_FOLDER = "check that path; runs are written to out=<folder>, the generated world to data.cache=<folder>"
DISK_ADVICE = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EROFS: OTHER_FOLDER,
    errno.EACCES: OTHER_FOLDER,
    errno.ENOTDIR: OTHER_FOLDER,
}
HYDRA = ("hydra", "settings")  # parts of the configuration that are Hydra's own business


@dataclass(frozen=True)
class Command:
    """What was typed: the overrides, and which option of each group of settings is in use (`system` -> `cma_tiny`)."""

    overrides: tuple[str, ...]
    options: dict[str, str]


@dataclass(frozen=True)
class Program(Generic[Config]):
    """An entry point: `python -m <module>`, filled by `experiments/<config_name>.yaml`, doing `run`."""

    module: str
    config_name: str
    schema: type[Config]
    about: str
    examples: tuple[tuple[str, str], ...]
    run: Callable[[Config, Command], float | None]

    def main(self) -> None:
        """Read the command line, compose and check the configuration, run. Ends the program with 1 on user errors."""
        register_schemas()
        arguments = sys.argv[1:]
        with short_errors():
            refuse_unknown_keys(arguments, self.schema)
        if any(argument in ("-h", "--help") for argument in arguments):
            with short_errors():
                self.help([argument for argument in arguments if not argument.startswith("-")])
            return
        decorated = hydra.main(version_base="1.3", config_path="pkg://experiments", config_name=self.config_name)
        decorated(self._job)()

    def help(self, overrides: Sequence[str]) -> None:
        """Print the help text with the values that `overrides` give. Raises ValueError if they cannot be composed."""
        try:
            config = composed(self.config_name, overrides)
        except HydraException as error:
            raise ValueError(f"{error} {error.__cause__ or ''}".strip()) from error
        print(help_text(self.module, self.about, self.examples, self.schema, config))

    def _job(self, composed_config: DictConfig) -> float | None:
        with short_errors():
            config = checked(composed_config)
            choices = HydraConfig.get().runtime.choices
            options = {name: choices[name] for name in sections(self.schema) if name in choices}
            return self.run(config, Command(tuple(HydraConfig.get().overrides.task), options))


def register_schemas() -> None:
    """Make the dataclasses known to Hydra, which then refuses wrong types and unknown keys."""
    store = ConfigStore.instance()
    store.store(name="meta_train_schema", node=MetaTrainConfig)
    store.store(name="meta_test_schema", node=MetaTestConfig)
    store.store(name="task_test_schema", node=TaskTestConfig)
    store.store(name="train_stage_schema", node=StageConfig)


def checked(config: DictConfig) -> Any:
    """The configuration as dataclasses, complete and valid.

    Raises:
        ValueError: a mandatory value is missing or a value is not valid.
    """
    try:
        built = OmegaConf.to_object(config)
    except MissingMandatoryValue as error:
        name = error.full_key or "a mandatory key"
        raise ValueError(f"{name} has no value: give {name}=<value>") from error
    if getattr(built, "protocol", None) is not None:
        built.benchmark.protocol = built.protocol
    check(built, complete=not (isinstance(built, MetaTestConfig) and built.weights is not None))
    return built


def refuse_unknown_keys(arguments: Sequence[str], schema: type) -> None:
    """Hydra refuses unknown keys as well, but does not say which key was meant.

    Raises:
        ValueError: an argument `key=value` with a key that the schema does not know.
    """
    known = [key.name for key in schema_keys(schema)]
    valid = {*known, *sections(schema)}
    rows = {name: {key.name for key in schema_keys(row)} for name, row in tables(schema).items()}
    for argument in arguments:
        name, equals, _ = argument.partition("=")
        name = name.lstrip("+~")
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
            short = {key.rsplit(".", 1)[-1]: key for key in reversed(known)}
            hint = f" Did you mean {short[name]!r}?" if name in short else did_you_mean(name, valid)
            raise ValueError(f"unknown key {name!r}.{hint} --help lists every key.")


def advice(error: Exception) -> str:
    """What to do about a full disk or a folder that cannot be written; empty for all other errors."""
    return f": {DISK_ADVICE[error.errno]}" if isinstance(error, OSError) and error.errno in DISK_ADVICE else ""


@contextmanager
def short_errors() -> Iterator[None]:
    """User errors end the program with exit code 1 and their message; other errors keep their trace.

    FEWSHOT_TRACEBACK=1 or HYDRA_FULL_ERROR=1 shows the trace of every error (`is_user_error` tells them apart).
    """
    try:
        yield
    except Exception as error:
        full = any(os.environ.get(name, "0") not in ("", "0") for name in ("FEWSHOT_TRACEBACK", "HYDRA_FULL_ERROR"))
        if full or not is_user_error(error):
            traceback.print_exc()
        else:
            print(f"error: {error}{advice(error)}", file=sys.stderr)
        raise SystemExit(1) from None


def is_user_error(error: Exception) -> bool:
    """Whether a user can cause it: an error class of this project, a full or closed disk, or what its lines refuse."""
    if type(error).__module__.split(".")[0] in PACKAGES or advice(error):
        return True
    return isinstance(error, (ValueError, OSError)) and raised_in(error).split(".")[0] in PACKAGES


def raised_in(error: Exception) -> str:
    """Name of the module whose line raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    names = trace.tb_frame.f_globals
    spec = names.get("__spec__")  # `python -m` calls the module __main__, its spec keeps the name
    return spec.name if spec is not None else names.get("__name__", "")

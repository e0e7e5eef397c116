"""Configurations of runs by Hydra: schemas of the runs and of the systems, and the YAML files beside this package."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, get_origin

from hydra import compose, initialize_config_dir
from hydra.core.config_store import ConfigStore
from hydra.errors import HydraException, MissingConfigException
from omegaconf import OmegaConf
from omegaconf.errors import ConfigTypeError, OmegaConfBaseException, ValidationError

from episodes.hints import did_you_mean
from fewshot._origin import config_folder
from fewshot.cli.arguments import form_of
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, RunConfig, StageConfig, TaskTestConfig
from fewshot.config.keys import schema_keys, type_of
from fewshot.systems.registry import find_system, systems

if TYPE_CHECKING:
    from omegaconf import DictConfig

RUNS: dict[str, type[RunConfig]] = {
    "meta_train": MetaTrainConfig,
    "meta_test": MetaTestConfig,
    "task_test": TaskTestConfig,
    "train_stage": StageConfig,
}
OTHERS = ("settings", "speed", "sweeps")  # folders of experiments that are no groups of settings
SCHEMA = "_schema"  # a system's option without a YAML file: its own defaults


def register_schemas() -> None:
    """Make the dataclasses of runs and systems known to Hydra, which then refuses wrong types and unknown keys."""
    store = ConfigStore.instance()
    for name, run in RUNS.items():
        store.store(name=f"{name}_schema", node=run)
    for name, spec in systems().items():
        store.store(group="system", name=name + SCHEMA, node=spec.config(name=name))
        if not (config_folder() / "system" / f"{name}.yaml").is_file():
            store.store(group="system", name=name, node=spec.config(name=name))


def with_named_system(arguments: Sequence[str]) -> list[str]:
    """The arguments with `system.name=X` as a choice of the settings of X, so that its own keys are known.

    Raises:
        ValueError: there is no such system, or a file of settings is chosen as well.
    """
    named = [argument for argument in arguments if argument.lstrip("+").startswith("system.name=")]
    if not named:
        return list(arguments)
    if any(argument.startswith("system=") for argument in arguments):
        raise ValueError(f"{named[0]} beside system=...: give one of them, the settings belong to one system")
    name = named[-1].partition("=")[2].strip("'\"")
    spec = find_system(name)
    option = spec.name + SCHEMA
    ConfigStore.instance().store(group="system", name=option, node=spec.config(name=name))
    return [f"system={option}", *(argument for argument in arguments if argument not in named)]


def refuse_unknown_options(arguments: Sequence[str]) -> None:
    """Refuse options of a group of settings that are not there, as `system=nope`: Hydra takes several lines for it.

    Raises:
        ValueError: names the option and those that are valid.
    """
    options = groups()
    for argument in arguments:
        group, _, typed = argument.lstrip("+").partition("=")
        for option in typed.split(",") if group in options and "(" not in typed else ():  # not glob(*) and the like
            name = option.strip("'\" ")
            if name not in options[group]:
                hint = did_you_mean(name, options[group])
                raise ValueError(f"{group}={option}: valid are {', '.join(options[group])}.{hint}")


def groups() -> dict[str, list[str]]:
    """The groups of settings with their options: YAML files, and systems without one."""
    folders = [folder for folder in sorted(config_folder().iterdir()) if folder.is_dir() and folder.name not in OTHERS]
    found = {folder.name: sorted(path.stem for path in folder.glob("*.yaml")) for folder in folders}
    return {**found, "system": sorted({*found["system"], *systems()})}


def composed(config_name: str, overrides: Sequence[str]) -> DictConfig:
    """The configuration that these overrides give; nothing runs. Raises ValueError if they cannot be composed."""
    try:
        with initialize_config_dir(str(config_folder()), version_base="1.3"):
            config = compose(config_name, overrides=list(overrides))
    except HydraException as error:
        raise ValueError(_in_a_line(error, config_name, overrides)) from error
    refuse_dangling(config)
    return config


def refuse_dangling(config: DictConfig) -> None:
    """Raise ValueError for a value `${...}` that refers to nothing."""
    try:
        OmegaConf.to_container(config, resolve=True)
    except OmegaConfBaseException as error:
        reason, *_ = str(error).split("\n")
        raise ValueError(f"{error.full_key}: its ${{...}} refers to nothing ({reason}): give a value") from error


def _in_a_line(error: HydraException, config_name: str, overrides: Sequence[str]) -> str:
    """Hydra's message; of an unknown option and of a value of the wrong type what was typed and what is valid."""
    if isinstance(error, MissingConfigException) and error.options:
        group, _, option = str(error.missing_cfg_file).rpartition("/")
        valid = [name for name in error.options if not name.endswith(SCHEMA)]
        return f"{group}={option}: valid are {', '.join(valid)}.{did_you_mean(option, valid)}"
    cause = _first_cause(error)
    name = str(getattr(cause, "full_key", None)).partition("[")[0]  # of a list its key
    typed = [override.lstrip("+") for override in overrides if override.lstrip("+").startswith(f"{name}=")]
    if not isinstance(cause, (ValidationError, ConfigTypeError)) or not typed:
        reason, *_ = str(cause or "").split("\n")
        return " ".join(f"{error} {reason}".split())
    return wrong_type(cause, typed[-1], RUNS[config_name], {"system": system_of(config_name, overrides)})


def _first_cause(error: BaseException) -> BaseException | None:
    """The error that all others were raised from; None where there is no other."""
    while error.__cause__ is not None and error.__cause__.__cause__ is not None:
        error = error.__cause__
    return error.__cause__


def wrong_type(error: OmegaConfBaseException, typed: str, schema: type, types: Mapping[str, type]) -> str:
    """What was typed and what is valid, for a value that is not of its key's type. `types` as in `schema_keys`."""
    name = str(error.full_key).partition("[")[0]
    known = {key.name: key for key in schema_keys(schema, types=types)}
    if name not in known:  # a key inside a table, whose row has a free name
        return f"{typed}: {str(error).splitlines()[0]}"
    section, _, inside = name.partition(".")
    kind = type_of(types[section], inside) if section in types else type_of(schema, name)
    value = typed.partition("=")[2]
    if get_origin(kind) is list and not value.startswith("["):
        return f"{typed}: give a list in brackets, {name}=[{'...' if value.startswith('{') else value}]"
    return f"{typed}: give {form_of(kind, known[name])}"


def system_of(config_name: str, arguments: Sequence[str]) -> type:
    """The class of the settings of the system that the arguments choose.

    Only options of groups count (`system=`, `benchmark=`), of several (`-m system=a,b`) the first: the others are
    checked when their run starts.
    """
    known = groups()
    options = [a.split(",")[0] for a in arguments if a.partition("=")[0] in known]
    settings = OmegaConf.get_type(composed(config_name, options), "system")
    assert settings is not None
    return settings


def run_composed(config_name: str, job: Callable[[DictConfig, Sequence[str], dict[str, str], bool], Any]) -> None:
    """Let Hydra read the command line and call `job(config, overrides, choices, sweeps)`, for each run of `-m`.

    `sweeps` says whether the run is one of `-m`.
    """
    import hydra
    from hydra.core.hydra_config import HydraConfig
    from hydra.types import RunMode

    def inside(config: DictConfig) -> Any:
        running = HydraConfig.get()
        sweeps = running.mode == RunMode.MULTIRUN
        return job(config, tuple(running.overrides.task), dict(running.runtime.choices), sweeps)

    hydra.main(version_base="1.3", config_path=str(config_folder()), config_name=config_name)(inside)()

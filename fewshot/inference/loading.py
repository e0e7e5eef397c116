"""Folder of a trained system: its settings, its input rule, the run it comes from, and its weights."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any, Union

import yaml
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from episodes.transforms.input_rule import InputRule
from fewshot.adaptation.build import adapting
from fewshot.adaptation.learner import Learn2LearnMissing
from fewshot.cli.checks import check_adaptation, check_values
from fewshot.cli.runs import MetaTrainConfig, RunConfig, StageConfig
from fewshot.cli.system_words import adaptation_settings
from fewshot.config.sections import AdaptationConfig
from fewshot.run.folder import KINDS, kind_of
from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import find_system, spec_of
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.files import CONFIG, TOKENIZER, WEIGHTS, read_config
from fewshot.weights.key_table import WeightsReport
from fewshot.weights.load import load_trained

RUN_CONFIG = "config.yaml"
Adapting = Union[AdaptationConfig, str, Sequence[str], None]  # of a call: settings, a name, words, or as stored
ADAPTATION, NO_ADAPTATION = "adaptation", "none"  # in the config.json of a folder; its name where there is none


def load_into(system: System, settings: SystemConfig, path: str | Path) -> WeightsReport:
    """Fill a system that is used as it is; raises as `load_trained`."""
    return load_trained(system, path, spec_of(settings).plan)


def stored_rule(path: Path) -> InputRule | None:
    """The input rule with which the system in a run folder or converted folder was tested, where that is known."""
    run = stored_run(path)
    if run is not None:
        return run.input_rule()
    if stored_stage(path) is not None:
        return None
    folder = path if path.is_dir() else path.parent
    stored = read_config(folder).get("input")
    try:
        return None if stored is None else InputRule.from_json(stored)
    except (TypeError, ValueError) as error:
        raise CheckpointError(f"{folder / CONFIG}: its input rule is damaged ({error}): fetch it again") from error


def stored_system(path: Path) -> SystemConfig | None:
    """The settings of the system of a run folder, of a checkpoint in it, or of a converted folder; None for a file that
    stands alone.

    The backbone's weights are in the checkpoint, so that their file is no longer named. A tokenizer that lies beside
    the weights is used.
    """
    run = stored_run(path) or stored_stage(path)
    if run is not None:
        return run.system.loaded()
    if path.is_file() and path.name != WEIGHTS:  # a config.json beside it is another's, for instance RoBERTa's
        return None
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file():
        return None
    settings, tokenizer = converted_system(folder), folder / TOKENIZER
    return with_tokenizer(settings, tokenizer) if tokenizer.is_dir() else settings


def with_tokenizer(settings: SystemConfig, folder: str | Path) -> SystemConfig:
    """The settings of a system that reads words, with its tokenizer in `folder`.

    Raises:
        ValueError: the system reads no words.
    """
    if "text_weights" not in settings.places():
        raise ValueError(f"text_weights={folder}: system {settings.name} reads no words; leave text_weights away")
    changes: dict[str, Any] = {"text_weights": str(folder)}
    return replace(settings, **changes)


def stored_adaptation(path: Path) -> AdaptationConfig | None:
    """The adaptation that the weights in a run folder or a saved folder were trained or saved with; None for none.

    Raises what `stored_run` raises, and CheckpointError for a damaged `config.json`.
    """
    run = stored_run(path)
    if run is not None:
        return run.adaptation if run.adaptation.name != NO_ADAPTATION else None
    folder = path if path.is_dir() else path.parent
    if stored_stage(path) is not None or not (folder / CONFIG).is_file() or (path.is_file() and path.name != WEIGHTS):
        return None
    stored = read_config(folder).get(ADAPTATION)
    if stored is None:
        return None
    try:
        settings: Any = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(AdaptationConfig), stored))
        check_values(settings)
        check_adaptation(settings)
    except (OmegaConfBaseException, ValueError, TypeError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{folder / CONFIG}: its adaptation is damaged ({reason}): save it again") from error
    return settings if settings.name != NO_ADAPTATION else None


def adaptation_of(adaptation: Adapting, stored: AdaptationConfig | None) -> AdaptationConfig | None:
    """The adaptation that is asked for, or else that of the weights; None for none."""
    if adaptation is None:
        return stored
    if isinstance(adaptation, str):
        adaptation = (f"{ADAPTATION}={adaptation}",)
    found = adaptation if isinstance(adaptation, AdaptationConfig) else adaptation_settings(adaptation, stored)
    return None if found.name == NO_ADAPTATION else found


def with_adaptation(system: System, adaptation: AdaptationConfig | None) -> System:
    """The system, wrapped in its adaptation. Raises Learn2LearnMissing with both ways out."""
    if adaptation is None:
        return system
    try:
        return adapting(system, adaptation)
    except Learn2LearnMissing as error:
        raise Learn2LearnMissing(f"{error}. Without it: adaptation={NO_ADAPTATION} leaves the steps away") from error


def stored_run(path: Path) -> MetaTrainConfig | None:
    """The configuration of the meta-training run that `path` (its folder, or a checkpoint in it) belongs to, or None.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        ValueError: the configuration is damaged or has keys that this version does not know.
    """
    stored = _stored(path)
    return stored if isinstance(stored, MetaTrainConfig) else None


def stored_stage(path: Path) -> StageConfig | None:
    """The configuration of the training stage that `path` belongs to, or None. Raises what `stored_run` raises."""
    stored = _stored(path)
    return stored if isinstance(stored, StageConfig) else None


def _stored(path: Path) -> MetaTrainConfig | StageConfig | None:
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}")
    for folder in (path, path.parent, path.parent.parent):
        file = folder / RUN_CONFIG
        if not file.is_file():
            continue
        run = read_run(file, "a training run")
        if isinstance(run, (MetaTrainConfig, StageConfig)):
            return run
        raise ValueError(f"{file} is not the configuration of a training run: it is that of a {KINDS[type(run)]}")
    return None


def read_run(file: Path, what: str = "a run") -> RunConfig:
    """The configuration of a run of any kind, from its `config.yaml`; `what` is the kind that a message names.

    Raises:
        ValueError: it is damaged or has keys that this version does not know.
    """
    try:
        return _read_run(file)
    except (OmegaConfBaseException, yaml.YAMLError, OSError, ValueError) as error:
        reason = " ".join(str(error).split())  # those of YAML take several lines
        raise ValueError(f"{file} is not the configuration of {what}: {reason}") from error


def _read_run(file: Path) -> RunConfig:
    stored: Any = OmegaConf.load(file)
    schema = OmegaConf.structured(kind_of(stored) or MetaTrainConfig)
    name = OmegaConf.select(stored, "system.name")
    if name is None:
        raise ValueError("it names no system (system.name)")
    schema.system = OmegaConf.structured(find_system(name).config(name=name))
    run: Any = OmegaConf.to_object(OmegaConf.merge(schema, stored))
    return run


def converted_system(folder: Path) -> SystemConfig:
    """The settings of the system in a converted folder.

    Raises:
        ValueError: an unknown system.
        CheckpointError: keys that this version does not know, or values that a key cannot have.
    """
    stored = {"name": read_config(folder)["system"], **read_config(folder)["config"]}
    config = find_system(str(stored["name"])).config
    unknown = sorted(set(stored) - {entry.name for entry in fields(config)})
    if unknown:
        raise CheckpointError(f"{folder / CONFIG} has unknown keys: {', '.join(unknown)}")
    try:
        schema = OmegaConf.structured(config(name=stored["name"]))
        settings: Any = OmegaConf.to_object(OmegaConf.merge(schema, stored))
        check_values(settings)
    except (OmegaConfBaseException, ValueError) as error:
        reason = str(error).strip().splitlines()[0]
        raise CheckpointError(f"{folder / CONFIG} is damaged ({reason}): fetch, convert or save it again") from error
    return settings


def same_system(chosen: SystemConfig, stored: SystemConfig, typed: Collection[str], weights: str | None) -> Any:
    """The stored settings with the file places of this machine.

    Raises:
        ValueError: a typed system that is another one than that of the weights.
    """
    ours, theirs, places = asdict(chosen), asdict(stored), stored.places()
    differing = [
        f"{k}={theirs[k]} (typed: {ours.get(k)})" for k in theirs if k not in places and ours.get(k) != theirs[k]
    ]
    words = {name for name in typed if name.split(".")[0] == "system"} - {f"system.{place}" for place in places}
    if words and differing:
        raise ValueError(
            f"weights={weights} bring their own system, which differs from the one that was typed: "
            f"{', '.join(differing)}. Leave {', '.join(sorted(words))} away"
        )
    return replace(stored, **{place: ours.get(place) or theirs[place] for place in places})

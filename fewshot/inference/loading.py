"""A trained system from its folder: the configuration that lies there, and the weights.

`load(path)` is the public way; the command line asks for the parts.
"""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path

import torch
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException

from benchmarks.protocols import get_protocol
from benchmarks.protocols.images import ImageProtocol
from episodes.transforms.input_rule import LONG_SHARE
from fewshot.cli.runs import MetaTrainConfig, StageConfig
from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import build_system
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.files import (
    CONFIG,
    SIZES,
    WEIGHTS,
    read_config,
)
from fewshot.weights.hub import TOKENIZER, download, is_hub_name
from fewshot.weights.load import load_trained

RUN_CONFIG = "config.yaml"


def load(path: str | Path, *, text_weights: str | Path | None = None, device: torch.device | str = "cpu") -> System:
    """The trained system in a folder or on the Hugging Face Hub, in eval mode.

    Args:
        path: folder of a training run (its best checkpoint is taken), a checkpoint in such a folder, a folder that
            `python -m fewshot.convert` or `save_pretrained` wrote, or, where no folder of that name is here, a system
            on the Hub by its name `user/name`, which is then fetched.
        text_weights: folder with the tokenizer of a RoBERTa or BERT system, where the stored path is not valid here.
        device: where the system is put.

    Raises:
        FileNotFoundError: nothing is there.
        ValueError: the folder has no configuration, or one of another version.
        CheckpointError: the weights are damaged or of another system.
    """
    if not Path(path).expanduser().exists() and is_hub_name(path):
        return load_folder(download(str(path)), text_weights=text_weights, device=device)
    return load_folder(Path(path).expanduser(), text_weights=text_weights, device=device)


def load_folder(path: Path, *, text_weights: str | Path | None = None, device: torch.device | str = "cpu") -> System:
    """`load` for what is on this machine."""
    config = stored_system(path)
    if config is None:
        raise ValueError(f"{path} has no configuration beside it: give a run folder or a converted folder")
    if text_weights is not None:
        config = replace(config, text_weights=str(text_weights))
    with torch.random.fork_rng(devices=[]):  # initial weights are drawn and then replaced
        system = build_system(config)
    load_trained(system, path)
    set_test_size(system, path)
    return system.to(device).eval()


def set_test_size(system: System, path: Path) -> None:
    """How the system in a run folder or converted folder was tested (`Pretrained.test_size`), where that is known."""
    run = stored_run(path)
    if run is not None:
        size, protocol = run.benchmark.test_size, get_protocol(run.benchmark.protocol)
        system.test_size, system.test_max_size, system.test_rule = size, None, "short"
        if isinstance(protocol, ImageProtocol):
            system.test_rule = protocol.input_rule
            system.test_max_size = round(LONG_SHARE * size) if protocol.input_rule == "short" else None
    if run is not None or stored_stage(path) is not None:
        return
    stored = read_config(path if path.is_dir() else path.parent)
    for key in SIZES:
        setattr(system, key, stored.get(key, getattr(system, key)))


def stored_system(path: Path) -> SystemConfig | None:
    """The system of a run folder, of a checkpoint in it, or of a converted folder; None for a file that stands alone.

    The backbone's weights are in the checkpoint, so that their file is no longer named. A tokenizer that lies beside
    the weights is used.
    """
    run = stored_run(path) or stored_stage(path)
    if run is not None:
        return replace(run.system, backbone_weights=None)
    if path.is_file() and path.name != WEIGHTS:  # a config.json beside it is another's, for instance RoBERTa's
        return None
    folder = path if path.is_dir() else path.parent
    if not (folder / CONFIG).is_file():
        return None
    config = system_config(folder)
    tokenizer = folder / TOKENIZER
    return replace(config, text_weights=str(tokenizer)) if tokenizer.is_dir() else config


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
        try:
            stored = OmegaConf.load(file)
            schema = StageConfig if "stage" in stored else MetaTrainConfig
            return OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(schema), stored))
        except (OmegaConfBaseException, ValueError) as error:
            raise ValueError(f"{file} is not the configuration of a training run: {error}") from error
    return None


def system_config(folder: Path) -> SystemConfig:
    """The configuration of the system in a converted folder."""
    config = read_config(folder)["config"]
    known = {field.name for field in fields(SystemConfig)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise CheckpointError(f"{folder / CONFIG} has unknown keys: {', '.join(unknown)}")
    return SystemConfig(**config)

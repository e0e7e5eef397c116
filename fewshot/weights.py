"""Weights into a system, from any of the files that hold them, with an account of every tensor.

A file is read without running anything that it holds: official checkpoints are pickles with an argparse.Namespace,
which is allowed by name; any other object is refused.
"""

from __future__ import annotations

import argparse
import json
import os
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import asdict, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from fewshot.config import SystemConfig
from fewshot.key_table import Plan, WeightsReport, check_fit, convert
from fewshot.systems.base import System
from fewshot.systems.cma import checkpoint as cma
from fewshot.systems.uniref import checkpoint as uniref
from fewshot.systems.uniref import sam_checkpoint as uniref_sam
from fewshot.training.checkpoint import BEST, FOLDER, CheckpointError, check_system, load_checkpoint

WEIGHTS, CONFIG = "model.safetensors", "config.json"
SIZES = ("test_size", "test_max_size", "test_rule")  # how a system sees pictures of a user's own, see `Pretrained`
PLANS: dict[str, Callable[[Mapping[str, Tensor], System], Plan]] = {
    "cma": lambda tensors, system: cma.plan(tensors, system.variant),
    "uniref": uniref.plan,
    "uniref_sam": uniref_sam.plan,
}
# what training scripts leave in a checkpoint beside tensors and plain types
HARMLESS = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *{type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)},
    (np.float64(0).__reduce__()[0], "numpy.core.multiarray.scalar"),  # before numpy 2 the module had another name
    np.float64(0).__reduce__()[0],
]


def load_weights(system: System, path: str | Path) -> WeightsReport:
    """Fill `system` from a run folder or checkpoint, a converted folder, or an official file.

    Official files of CMA must have exactly the tensors of the system; ReferFormer's are an initialisation, and the
    report says what starts from scratch. The report's `str` is meant to be printed.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CheckpointError: the file is damaged, of another system, or its tensors do not fit; keys are named.
    """
    path = find_weights(Path(path))
    if path.suffix == ".safetensors":
        return _load_own(system, str(path), "converted weights", read_converted(path, system.name))
    content = read_pickle(path)
    if isinstance(content, dict) and "system" in content:
        state = load_checkpoint(path)
        check_system(state, system.name, path)
        return _load_own(system, str(path), f"checkpoint of step {state['step']}", state["model"])
    return load_official(system, official_tensors(content, path), str(path))


def load_trained(system: System, path: str | Path) -> WeightsReport:
    """`load_weights` for a system that is used as it is.

    Raises:
        ValueError: the file is only a start for training, after which parts of the system would still be random.
    """
    report = load_weights(system, path)
    if report.fresh:
        raise ValueError(
            f"{path} is a start for training, not a trained {system.name}: {len(report.fresh)} of its tensors are not "
            f"in the file (first {report.fresh[0]}). Train from it with train.init_from={path}"
        )
    return report


def find_weights(path: Path) -> Path:
    """The file to read: `path` itself, the weights of a converted folder, or the best checkpoint of a run folder."""
    if path.is_file():
        return path
    if not path.exists():
        raise FileNotFoundError(f"no weights at {path}")
    for candidate in (path / WEIGHTS, path / FOLDER / BEST, path / BEST):
        if candidate.is_file():
            return candidate
    steps = sorted((path / FOLDER).glob("step_*.pt"))
    if steps:
        return steps[-1]
    raise FileNotFoundError(f"{path} holds neither {WEIGHTS} (a converted folder) nor {FOLDER}/ (a run folder)")


def read_converted(path: Path, system: str) -> dict[str, Tensor]:
    """Tensors of a converted folder, after a look at the `config.json` beside them."""
    name = read_config(path.parent)["system"]
    if name != system:
        raise CheckpointError(f"{path} holds weights of system {name!r}, but the system here is {system!r}")
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is half-written or damaged ({error}): convert it again") from error


def read_config(folder: Path) -> dict[str, Any]:
    """`config.json` of a converted folder: `system` (its name) and `config` (fields of `SystemConfig`)."""
    file = folder / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: a converted folder holds {WEIGHTS} and {CONFIG}")
    try:
        content = json.loads(file.read_text())
    except ValueError as error:
        raise CheckpointError(f"{file} is half-written or no JSON ({error}): convert again") from error
    if not isinstance(content, dict) or not {"system", "config"} <= set(content):
        raise CheckpointError(f"{file} is no configuration of a system: it lacks 'system' or 'config'")
    return content


def system_config(folder: Path) -> SystemConfig:
    """The configuration of the system in a converted folder."""
    config = read_config(folder)["config"]
    known = {field.name for field in fields(SystemConfig)}
    unknown = sorted(set(config) - known)
    if unknown:
        raise CheckpointError(f"{folder / CONFIG} has unknown keys: {', '.join(unknown)}")
    return SystemConfig(**config)


def write_converted(folder: Path, system: System, config: SystemConfig, source: str) -> None:
    """Write `model.safetensors` and `config.json`, readable for everybody, where `load_weights` finds them.

    Args:
        folder: made where it does not exist; older files of these names are replaced.
        config: what `build_system` makes this system from.
        source: where the weights come from, in a word or two.
    """
    folder.mkdir(parents=True, exist_ok=True)
    config = replace(config, backbone_weights=None, text_weights=None)  # both are in the weights
    content = {"system": system.name, "source": source, "config": asdict(config)}
    content |= {key: getattr(system, key) for key in SIZES}
    part = folder / (WEIGHTS + ".part")
    save_file(_separate(system.state_dict()), part)
    part.chmod(0o644)  # safetensors writes files that only their owner can read
    (folder / CONFIG).write_text(json.dumps(content, indent=2) + "\n")
    os.replace(part, folder / WEIGHTS)


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: contiguous, and no two that share their memory."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return result


def read_pickle(path: Path) -> Any:
    """Content of a file written by `torch.save`, in the old or the new format, on the CPU.

    Raises:
        CheckpointError: the file is damaged, or holds objects that are neither tensors nor plain types.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # compares every record with its checksum; torch.load does not
            if damaged is not None:
                raise CheckpointError(f"{path} is damaged (record {damaged}): fetch or write it again")
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the readers make of half a file
        if "Unsupported global" in str(error):
            raise CheckpointError(f"{path} holds objects that are not weights, and is not read: {error}") from error
        raise CheckpointError(f"{path} is half-written or no checkpoint ({error}): fetch it again") from error


def official_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict of an official file: under `model`, or the content itself."""
    tensors = content.get("model", content) if isinstance(content, dict) else None
    if not isinstance(tensors, Mapping) or not all(isinstance(value, Tensor) for value in tensors.values()):
        raise CheckpointError(f"{path} holds no state dict: expected one under the key 'model'")
    return dict(tensors)


def load_official(system: System, tensors: Mapping[str, Tensor], source: str) -> WeightsReport:
    """Fill `system` from a state dict with official names; `source` names it in messages. Raises as `load_weights`."""
    if system.name not in PLANS:
        raise CheckpointError(
            f"{source} is no checkpoint of system {system.name!r}: only {', '.join(PLANS)} has official files"
        )
    plan = PLANS[system.name](tensors, system)
    try:
        own, ignored, aliases = convert(tensors, plan.table)
    except ValueError as error:
        raise CheckpointError(f"{source} is no {plan.kind}: {error}") from error
    fresh = tuple(name for name in system.state_dict() if name not in own and name.startswith(plan.fresh))
    _check(source, own, system, fresh)
    system.load_state_dict(own, strict=False)
    return WeightsReport(source, plan.kind, len(tensors), len(own) + aliases, aliases, ignored, fresh)


def _load_own(system: System, source: str, kind: str, tensors: Mapping[str, Tensor]) -> WeightsReport:
    _check(source, tensors, system)
    system.load_state_dict(dict(tensors))
    return WeightsReport(source, kind, len(tensors), len(tensors), 0, {}, ())


def _check(source: str, tensors: Mapping[str, Tensor], system: System, fresh: tuple[str, ...] = ()) -> None:
    try:
        check_fit(tensors, system.state_dict(), fresh)
    except ValueError as error:
        raise CheckpointError(f"{source} does not fit: {error}") from error

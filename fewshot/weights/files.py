"""Files of weights: converted folders (`model.safetensors`, `config.json`) and pickles, read without running anything.

Official checkpoints are pickles with an argparse.Namespace, which is allowed by name; any other object is refused.
"""

from __future__ import annotations

import argparse
import json
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from episodes.whole_files import replacing
from fewshot.weights.checkpoint import BEST, FOLDER, CheckpointError

WEIGHTS, CONFIG = "model.safetensors", "config.json"
NUMPY_SCALAR = cast("Callable[..., Any]", np.float64(0).__reduce__()[0])
# what training scripts leave in a checkpoint beside tensors and plain types
HARMLESS: list[Callable[..., Any] | tuple[Callable[..., Any], str]] = [
    argparse.Namespace,
    np.dtype,
    np.ndarray,
    *{type(np.dtype(kind)) for kind in (np.float32, np.float64, np.int32, np.int64)},
    (NUMPY_SCALAR, "numpy.core.multiarray.scalar"),  # before numpy 2 the module had another name
    NUMPY_SCALAR,
]


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
    """Content of a converted folder's `config.json`: `system` (a name), `config` (settings) and `input` (a rule)."""
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


def write_converted(folder: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `config.json`, readable for everybody, where `find_weights` finds them.

    Args:
        folder: made where it does not exist; older files of these names are replaced.
        tensors: of the system.
        content: of `config.json`, see `read_config`; plain types.
    """
    folder.mkdir(parents=True, exist_ok=True)
    # Both are written before either is replaced, the weights before the configuration that describes them.
    with replacing(folder / CONFIG) as config, replacing(folder / WEIGHTS) as weights:
        save_file(_separate(tensors), weights)
        weights.chmod(0o644)  # safetensors writes files that only their owner can read
        config.write_text(json.dumps(dict(content), indent=2) + "\n")


def _separate(tensors: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Tensors as safetensors takes them: contiguous, and no two that share their memory."""
    seen: set[int] = set()
    result = {}
    for name, tensor in tensors.items():
        place = tensor.untyped_storage().data_ptr()
        result[name] = tensor.clone().contiguous() if place in seen else tensor.contiguous()
        seen.add(place)
    return result


def read_pickle(path: Path, only_look: bool = False) -> Any:
    """Content of a file written by `torch.save`, in the old or the new format, on the CPU.

    Args:
        only_look: leave the values of its tensors on the disk, unchecked.

    Raises:
        CheckpointError: the file is damaged, or holds objects that are neither tensors nor plain types.
    """
    try:
        zipped = zipfile.is_zipfile(path)
        if zipped and not only_look:
            with zipfile.ZipFile(path) as archive:
                damaged = archive.testzip()  # compares every record with its checksum; torch.load does not
            if damaged is not None:
                raise CheckpointError(f"{path} is damaged (record {damaged}): fetch or write it again")
        with torch.serialization.safe_globals(HARMLESS):
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and only_look)
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

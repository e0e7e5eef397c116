"""Files of weights: converted folders (`model.safetensors`, `config.json`) and pickles, read without running anything.

Official checkpoints are pickles with an argparse.Namespace, which is allowed by name; any other object is refused.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import warnings
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
from fewshot.weights.checkpoint import BEST, FOLDER, CheckpointError, is_state_dict, unreadable

WEIGHTS, CONFIG = "model.safetensors", "config.json"
TOKENIZER = "tokenizer"  # folder beside the weights
HASH = "sha256"  # of the weights, in the configuration
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
    config = read_config(path.parent)
    if config["system"] != system:
        raise CheckpointError(f"{path} holds weights of system {config['system']!r}, but the system here is {system!r}")
    if HASH in config and config[HASH] != hash_of(path):  # folders of earlier versions have none
        raise CheckpointError(
            f"{path} is half-written or damaged, or of another writing than the {CONFIG} beside it: their hashes "
            "differ; fetch, convert or save both again"
        )
    try:
        return load_file(path)
    except SafetensorError as error:
        raise CheckpointError(f"{path} is half-written or damaged ({error}): convert it again") from error


def read_config(folder: Path) -> dict[str, Any]:
    """Content of a converted folder's `config.json`: `system` (a name), `config` (settings) and `input` (a rule).

    Raises:
        FileNotFoundError: there is none.
        CheckpointError: it is damaged, or of something else.
    """
    file = folder / CONFIG
    if not file.is_file():
        raise FileNotFoundError(f"{file} is missing: a converted folder holds {WEIGHTS} and {CONFIG}")
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckpointError(f"{file} is half-written or no JSON ({error}): convert again") from error
    if not isinstance(content, dict) or not {"system", "config"} <= set(content):
        raise CheckpointError(f"{file} is no configuration of a system: it lacks 'system' or 'config'")
    if not isinstance(content["system"], str) or not isinstance(content["config"], dict):
        raise CheckpointError(f"{file} is damaged: 'system' is to be a name and 'config' a table of settings")
    return content


def check_target(folder: Path) -> None:
    """Refuse a folder in which weights would take the place of files that this program did not write.

    Raises:
        FileExistsError: it has a `config.json`, weights or a tokenizer of something else, or is a file.
    """
    if folder.exists() and not folder.is_dir():
        raise FileExistsError(f"{folder} is a file: give a folder, which is made where it does not exist")
    there = [name for name in (CONFIG, WEIGHTS, TOKENIZER) if (folder / name).exists()]
    try:
        if there:
            read_config(folder)
    except (CheckpointError, FileNotFoundError, UnicodeDecodeError) as error:
        raise FileExistsError(
            f"{folder / there[0]} was not written by this program, and is not replaced: give another folder"
        ) from error


def hash_of(path: Path) -> str:
    """SHA-256 of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()


def write_converted(folder: Path, tensors: Mapping[str, Tensor], content: Mapping[str, Any]) -> None:
    """Write `model.safetensors` and `config.json`, readable for everybody, where `find_weights` finds them.

    Args:
        folder: made where it does not exist; older files of this program are replaced.
        tensors: of the system.
        content: of `config.json`, see `read_config`; plain types. The hash of the weights is added.

    Raises:
        FileExistsError: there are files of something else under these names.
        OSError: the disk is full; what was there stays as it was.
    """
    check_target(folder)
    folder.mkdir(parents=True, exist_ok=True)
    # Both are written before either is replaced, the weights before the configuration that describes them.
    with replacing(folder / CONFIG) as config, replacing(folder / WEIGHTS) as weights:
        save_file(_separate(tensors), weights)
        weights.chmod(0o644)  # safetensors writes files that only their owner can read
        config.write_text(json.dumps({**content, HASH: hash_of(weights)}, indent=2) + "\n")


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
        with torch.serialization.safe_globals(HARMLESS), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of torch, on pickles that it then refuses
            return torch.load(path, map_location="cpu", weights_only=True, mmap=zipped and only_look)
    except CheckpointError:
        raise
    except Exception as error:  # whatever the readers make of half a file
        raise unreadable(path, error, "fetch it again") from error


def official_tensors(content: Any, path: Path) -> dict[str, Tensor]:
    """The state dict of an official file: under `model` or `state_dict`, or the content itself."""
    tensors = content.get("model", content.get("state_dict", content)) if isinstance(content, dict) else None
    if not is_state_dict(tensors):
        raise CheckpointError(f"{path} holds no state dict: expected one under the key 'model' or 'state_dict'")
    return dict(tensors)

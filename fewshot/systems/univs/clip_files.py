"""A CLIP text tower from a local folder: weights of transformers, or one file with official names."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from torch import Tensor
from transformers import CLIPTextModelWithProjection

from fewshot.nn.clip_text import CLIPText, clip_text, clip_tokenizer
from fewshot.nn.text import has_weights
from fewshot.systems.univs.checkpoint import clip_to_own
from fewshot.systems.univs.text_tower import CLIPTextTower
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.files import official_tensors, read_pickle
from fewshot.weights.load import check_finite

ENDINGS = (".pth", ".pt")  # of files with official names


def read_tower(folder: str | Path) -> CLIPTextTower:
    """The tower and its tokenizer in a folder, in evaluation mode and in float32; nothing is ever downloaded.

    Raises:
        FileNotFoundError: the folder, the weights or the tokenizer are missing; the message says what is needed.
        CheckpointError: the weights are damaged or of something else.
    """
    folder = Path(folder).expanduser()
    if not folder.is_dir():
        raise FileNotFoundError(f"system.text_weights={folder} is no folder: name one with the files of a CLIP")
    tokenizer, clip = clip_tokenizer(folder), read_clip(folder)
    check_finite(clip.state_dict(), str(folder))
    return CLIPTextTower(clip.float().eval(), tokenizer)


def read_clip(folder: Path) -> CLIPText:
    """The tower alone. Raises as `read_tower`."""
    if has_weights(folder):
        return from_transformers(folder)
    files = sorted(path for path in folder.iterdir() if path.suffix in ENDINGS)
    if len(files) != 1:
        names = ", ".join(path.name for path in files) or "none"
        raise FileNotFoundError(
            f"{folder} holds no weights of a CLIP text tower: put config.json and model.safetensors of transformers "
            f"there, or one official file *.pth (there: {names})"
        )
    return from_official(official_tensors(read_pickle(files[0]), files[0]), files[0])


def from_transformers(folder: Path) -> CLIPText:
    """The text half of a CLIP of transformers, with its projection.

    Raises:
        CheckpointError: tensors of it are missing.
    """
    read: Any = CLIPTextModelWithProjection.from_pretrained  # typed as if it never gave its report
    encoder, report = read(folder, local_files_only=True, output_loading_info=True)
    missing = sorted(report["missing_keys"])
    if missing:
        raise CheckpointError(
            f"{folder} holds no CLIP with a text projection: {len(missing)} tensors missing, first {missing[0]}"
        )
    return CLIPText(encoder)


def from_official(official: dict[str, Tensor], source: Path) -> CLIPText:
    """A tower of the sizes of its official tensors.

    Raises:
        CheckpointError: they are not those of a CLIP text tower.
    """
    try:
        own, _ = clip_to_own(official)
        (vocabulary, dim), layers = official["token_embedding.weight"].shape, _layers(official)
        tower = clip_text(dim, layers, vocabulary)
        tower.encoder.load_state_dict(own)
    except (ValueError, KeyError, RuntimeError) as error:
        reason = " ".join(str(error).split())
        raise CheckpointError(f"{source} is no CLIP text tower ({reason[:200]}): give its official file") from error
    return tower


def _layers(official: dict[str, Tensor]) -> int:
    found = (re.match(r"transformer\.resblocks\.(\d+)\.", key) for key in official)
    return len({match[1] for match in found if match})

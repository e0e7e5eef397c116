"""How weights were trained, as far as their checkpoint and its run folder say it. Nothing is guessed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.ledger.rows import NOT_TOLD, SET_UP, without_folder
from fewshot.inference.loading import stored_run, stored_stage
from fewshot.weights.checkpoint import CheckpointError
from fewshot.weights.files import find_weights, read_config, read_pickle

# what a record tells of a training -> its name among the settings that a checkpoint holds
TOLD = {
    "steps": "train.steps",
    "episodes_per_step": "train.episodes_per_step",
    "lr": "train.lr",
    "schedule": "train.schedule",
    "seed": "seed",
}
KEY, SAVED = "training_run", "save_pretrained"  # in the config.json of a folder; its source where a model was saved
REPEATED = ("seed", "train.seed", "group")  # what repetitions of a training differ in


def training_run(path: Path) -> dict[str, Any]:
    """The training of the weights at `path`, in plain types; of weights that do not tell it, why (`not_known`).

    Beside `TOLD` it has `step` (of the checkpoint that was kept), `recipe` (of the run folder that it lies in),
    `digest` (over all settings that change what is learnt, of files the names alone) and `set_up` (the same but for
    seed and fold, so that repetitions are known). What is not known is None.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CheckpointError, ValueError: the file, or the configuration of its run, is damaged.
    """
    file = find_weights(path)
    if file.suffix == ".safetensors":
        return _of_folder(file.parent)
    content = read_pickle(file, only_look=True)
    settings = content.get("fingerprint") if isinstance(content, dict) else None
    if not isinstance(settings, dict) or not settings:
        return _not_told(file.name)
    run = stored_run(path) or stored_stage(path)
    return {
        **{name: settings.get(key) for name, key in TOLD.items()},
        "step": content["step"],
        "recipe": None if run is None else run.recipe,
        "digest": _digest(settings),
        SET_UP: _digest({name: value for name, value in settings.items() if name not in REPEATED}),
    }


def _of_folder(folder: Path) -> dict[str, Any]:
    """What the configuration beside converted or saved weights says."""
    config = read_config(folder)
    stored = config.get(KEY)
    if isinstance(stored, dict):
        return stored
    if stored is not None:
        raise CheckpointError(f"{folder}: how its weights were trained ({KEY}) is damaged: fetch or save it again")
    source = str(config.get("source", folder.name))
    return _not_told("the model that was saved" if source == SAVED else source)


def _not_told(where: str) -> dict[str, Any]:
    return {NOT_TOLD: f"{where} does not tell how it was trained"}


def _digest(settings: dict[str, Any]) -> str:
    """Twelve hexadecimal digits over all settings."""
    plain = {name: without_folder(value) for name, value in settings.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]

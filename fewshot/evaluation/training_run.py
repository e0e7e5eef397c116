"""How weights were trained, as far as their checkpoint and its run folder say it. Nothing is guessed."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

from benchmarks.ledger.rows import SET_UP, without_folder
from fewshot.inference.loading import stored_run, stored_stage
from fewshot.weights.files import find_weights, read_pickle

# what a record tells of a training -> its name among the settings that a checkpoint holds
TOLD = {
    "steps": "train.steps",
    "episodes_per_step": "train.episodes_per_step",
    "lr": "train.lr",
    "schedule": "train.schedule",
    "seed": "seed",
}
REPEATED = ("seed", "train.seed", "group")  # what repetitions of a training differ in


def training_run(path: Path) -> dict[str, Any] | None:
    """The training of the weights at `path`, in plain types; None for a file that holds no settings of one.

    Beside `TOLD` it has `step` (of the checkpoint that was kept), `recipe` (of the run folder that it lies in),
    `digest` (over all settings that change what is learnt, of files the names alone) and `set_up` (the same but for
    seed and fold, so that repetitions are known). What is not known is None.

    Raises:
        FileNotFoundError: there is nothing at `path`.
        CheckpointError, ValueError: the file, or the configuration of its run, is damaged.
    """
    file = find_weights(path)
    content = {} if file.suffix == ".safetensors" else read_pickle(file, only_look=True)
    settings = content.get("fingerprint") if isinstance(content, dict) else None
    if not isinstance(settings, dict) or not settings:
        return None
    run = stored_run(path) or stored_stage(path)
    return {
        **{name: settings.get(key) for name, key in TOLD.items()},
        "step": content["step"],
        "recipe": None if run is None else run.recipe,
        "digest": _digest(settings),
        SET_UP: _digest({name: value for name, value in settings.items() if name not in REPEATED}),
    }


def _digest(settings: dict[str, Any]) -> str:
    """Twelve hexadecimal digits over all settings."""
    plain = {name: without_folder(value) for name, value in settings.items()}
    return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:12]

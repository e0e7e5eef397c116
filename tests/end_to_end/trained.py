"""Run folders as a training run leaves them, without the training."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path

import yaml

from fewshot.cli.runs import MetaTrainConfig, StageConfig
from fewshot.systems.registry import build_system
from fewshot.weights.checkpoint import FORMAT, CheckpointFolder, save_checkpoint
from fewshot.weights.trained_on import KEY, TrainedOn, to_json


def write_trained(folder: Path, config: MetaTrainConfig | StageConfig) -> Path:
    """The folder of a run with this configuration, and one checkpoint in it: its best, of step 1."""
    checkpoints = CheckpointFolder(folder, keep=1)
    checkpoints.folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    weights = build_system(config.system).state_dict()
    if isinstance(config, StageConfig):
        record = to_json([TrainedOn(part.benchmark) for part in config.parts.values()])
    else:
        record = to_json([TrainedOn(config.benchmark.name, config.group)])
    state = {"format": FORMAT, "system": config.system.name, "step": 1, "model": weights, KEY: record}
    save_checkpoint(checkpoints.best, state)
    return folder

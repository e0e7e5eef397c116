"""Run folders and small models, for tests of whatever reads or uses them."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Any

import torch
import yaml

import fewshot
from episodes.transforms.input_rule import InputRule
from fewshot.cli.runs import MetaTrainConfig
from fewshot.config.sections import BenchmarkConfig, TrainConfig
from fewshot.systems.base import System
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.config import SystemConfig
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import build_system
from fewshot.systems.uniref.config import UniRefConfig
from fewshot.systems.univs.config import SMALL as SMALL_UNIVS
from fewshot.systems.univs.config import UniVSConfig
from fewshot.weights.checkpoint import FORMAT, CheckpointFolder, save_checkpoint
from fewshot.weights.trained_on import KEY, TrainedOn, to_json

SYSTEM = PrototypeConfig(backbone="tiny", backbone_width=8)
BENCHMARK = BenchmarkConfig(name="synthetic", test_size=48, test_chunk=3, support_frames=2)
SIZES: dict[str, Any] = dict(
    hidden_dim=32, heads=4, encoder_layers=1, decoder_layers=1, feedforward_dim=32, num_queries=3, points=2
)
CONFIGS: dict[str, SystemConfig] = {
    "prototype": SYSTEM,
    "cma": CMAConfig(backbone="tiny", backbone_width=8, text="small", text_dim=32, text_layers=1, **SIZES),
    "uniref": UniRefConfig(
        backbone="tiny", backbone_width=8, text="small", text_dim=32, text_layers=1, value_encoder="tiny", **SIZES
    ),
    "univs": UniVSConfig(**SMALL_UNIVS),
}


def write_run(
    folder: Path, group: int = 1, benchmark: BenchmarkConfig = BENCHMARK, settings: SystemConfig = SYSTEM
) -> System:
    """A run folder with one checkpoint, as a training run leaves it; returns the system that is in it."""
    folder.mkdir(parents=True)
    config = MetaTrainConfig(group=group, system=settings, benchmark=benchmark, train=TrainConfig(steps=1))
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    system = build_system(settings)
    checkpoints = CheckpointFolder(folder, keep=1)
    checkpoints.folder.mkdir()
    record = to_json([TrainedOn(benchmark.name, group)])
    state = {"format": FORMAT, "system": system.name, "step": 1, "model": system.state_dict(), KEY: record}
    save_checkpoint(checkpoints.best, state)
    return system


def tiny(name: str) -> fewshot.Model:
    """A model of a few thousand weights that sees frames at 32 pixels, the same each time."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        system = build_system(CONFIGS[name]).eval()
    return fewshot.Model(system, InputRule("short", 32), CONFIGS[name])

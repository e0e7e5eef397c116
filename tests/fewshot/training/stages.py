"""Stages on small generated data."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from omegaconf import OmegaConf
from PIL import Image
from torch import Tensor

from episodes.batch import EpisodeBatch
from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.checks import check
from fewshot.cli.composition import composed
from fewshot.cli.runs import StageConfig
from fewshot.config.task_sections import PartConfig
from fewshot.systems.base import System
from fewshot.systems.uniref.config import UniRefConfig
from fewshot.training.step import TrainingStep
from tests.episodes.image_tree import write_folder
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import write_videos
from tests.fewshot.evaluation.tasks.trees import write_ref_davis, write_refcoco

TINY = ("system=uniref_tiny", "system.value_encoder=tiny", "optim.lr=1e-3", "train.batch=2", "device=cpu")
STEPS = 10


def write_data(folder: Path) -> Path:
    """A COCO file with two images of bright squares, two videos of two objects, and RefCOCO."""
    images = folder / "images"
    images.mkdir()
    entries, objects = [], []
    for k in (1, 2):
        picture = np.full((64, 80, 3), 60, np.uint8)
        picture[8:40, 8 * k : 8 * k + 32] = (220, 40, 40)
        picture[44:60, 50:76] = (40, 200, 220)
        Image.fromarray(picture).save(images / f"{k}.png")
        entries.append(dict(id=k, file_name=f"{k}.png", height=64, width=80))
        for box, category in (([8 * k, 8, 32, 32], 1), ([50, 44, 26, 16], 2)):
            x, y, w, h = box
            polygon = [x, y, x + w, y, x + w, y + h, x, y + h]
            row = dict(id=len(objects) + 1, image_id=k, category_id=category, bbox=box, iscrowd=0, area=w * h)
            objects.append(row | dict(segmentation=[polygon]))
    content = dict(images=entries, annotations=objects, categories=[dict(id=1, name="a"), dict(id=2, name="b")])
    (folder / "objects.json").write_text(json.dumps(content))
    write_videos(folder / "videos", {k: TinyVideo({1: "dog", 2: "cat"}, []) for k in ("v", "w")})
    write_refcoco(folder / "refcoco")
    write_ref_davis(folder / "said", {"v": TinyVideo({1: "dog", 2: "cat"}, [])})
    write_folder(folder / "classes", {"cup": 4, "pan": 4, "pot": 4})
    return folder


def part(data: Path, kind: str) -> PartConfig:
    """A part of each kind, with its small data."""
    small = dict(sizes=[32], max_size=64, crop_sizes=[], crop_range=[48, 64])
    files = dict(benchmark="things", root=str(data), annotations="objects.json", images="images")
    places = {
        "detection": files,
        "still_vos": files,
        "vos": dict(benchmark="vos_folder", split="all", root=str(data / "videos")),
        "ris": dict(benchmark="refcoco", split="val", root=str(data / "refcoco")),
        "rvos": dict(benchmark="ref_davis17", split="valid", root=str(data / "said"), mask_fraction=1.0),
        "clips": dict(benchmark="ref_davis17", split="valid", root=str(data / "said"), frames=2, expressions=2),
        "fss": dict(benchmark="folder", root=str(data / "classes")),
        "objects": dict(benchmark="vos_folder", split="all", root=str(data / "videos"), frames=2),
    }
    return PartConfig(kind=kind, **places[kind], **small)


def configured(data: Path, kinds: Sequence[str], *overrides: str) -> StageConfig:
    """The image stage with a tiny system and parts of these kinds."""
    typed = ["stage=uniref_image_fss", *TINY, "logging=disabled", f"out={data / 'runs'}", *overrides]
    refuse_unknown_keys(typed, StageConfig, {"system": UniRefConfig})
    config = OmegaConf.to_object(composed("train_stage", typed))
    config.parts = {kind: part(data, kind) for kind in kinds}
    check(config)
    return config


def learnt(system: System, batch: EpisodeBatch, term: str) -> dict[str, Tensor]:
    """The terms of the last of `STEPS` steps on one batch, in which the loss `term` must have fallen."""
    step, values = TrainingStep(system, "fp32"), []
    optimizer = torch.optim.AdamW(system.parameter_groups(3e-3))
    for _ in range(STEPS):
        total, terms = step(batch, num_frames=2.0)
        optimizer.zero_grad()
        total.backward()
        optimizer.step()
        values.append({"total": total, **terms}[term].item())
    assert np.mean(values[-3:]) < 0.8 * np.mean(values[:3]), values
    return terms

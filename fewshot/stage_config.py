"""The configuration of `python -m fewshot.train_stage`: a mixture of tasks and data sets that a system learns at once.

As in `fewshot.config`, each key is declared once with its meaning and its valid values.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Optional

from omegaconf import MISSING

from fewshot.config import OptimConfig, SystemConfig, TrackingConfig, TrainConfig, key

KINDS = ("fss", "ris", "vos", "rvos", "still_vos", "detection")


@dataclass
class PartConfig:
    """A task on a data set, and its share of the batches."""

    kind: str = key(
        MISSING,
        "the task: few-shot images, expressions in images, given masks in videos, expressions in videos, given masks "
        "in an image that is seen twice, or all objects of an image without a reference",
        choices=KINDS,
    )
    ratio: float = key(1.0, "share of the batches, relative to the other parts; 0: not used", minimum=0)
    benchmark: str = key(MISSING, "the data set; detection and still_vos: any name, their files are named below")
    root: Optional[str] = key(None, "folder of the data set")
    split: str = key("train", "part of the data set")
    annotations: Optional[str] = key(None, "detection and still_vos: file in COCO's form, under root")
    images: Optional[str] = key(None, "detection and still_vos: folder of the images, under root")
    boxes_only: bool = key(False, "detection: do not read masks (with system.box_supervision)")
    one_class: bool = key(True, "detection: every object is of the one class; false: the classes of the file")
    mask_share: float = key(0.6, "rvos: share of the batches that also have the mask of an earlier frame", minimum=0)
    sizes: list[int] = key([480, 800], "short sides drawn from, in pixels", minimum=1)
    max_size: int = key(1333, "largest long side, in pixels", minimum=1)
    crop: bool = key(True, "crop half of the clips before they are resized")
    crop_sizes: list[int] = key([400, 500, 600], "short sides before a crop; []: as on disk", minimum=1)
    crop_range: list[int] = key([384, 600], "least and largest side of a crop, in pixels", minimum=1)


@dataclass
class StageConfig:
    """`python -m fewshot.train_stage`"""

    stage: str = key(MISSING, "name of the stage (experiments/stage)")
    seed: int = key(0, "fixes initial weights, episodes and augmentation", minimum=0)
    parts: dict[str, PartConfig] = key({}, "the mixture: a task on a data set each, parts.<name>.<key>")
    system: SystemConfig = field(default_factory=SystemConfig)
    optim: OptimConfig = field(default_factory=OptimConfig)
    tracking: TrackingConfig = field(default_factory=TrackingConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    workers: int = key(0, "processes that load episodes; 0: the main one. No effect on the numbers", minimum=0)
    device: str = key("auto", "auto (a GPU where there is one), cpu, cuda or cuda:N")
    threads: Optional[int] = key(None, "CPU threads; null: as torch chooses", minimum=1)
    out: str = key("runs", "folder of the run folders")
    name: Optional[str] = key(None, "name of the run folder; null: from the content of the run")
    resume: bool = key(False, "continue the run of this name where it stopped")


def parts_in_use(config: StageConfig) -> dict[str, PartConfig]:
    """The parts with a ratio above 0."""
    return {name: part for name, part in config.parts.items() if part.ratio > 0}

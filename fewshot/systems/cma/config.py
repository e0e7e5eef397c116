"""Settings of CMA."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import (
    SMALL_BACKBONE,
    SMALL_TEXT,
    SMALL_TRANSFORMER,
    BackboneConfig,
    SystemConfig,
    TextConfig,
    TransformerConfig,
)


@dataclass
class CMAConfig(TransformerConfig, TextConfig, BackboneConfig, SystemConfig):
    """CMA, its baseline and its self-affinity variant."""

    name: str = key("cma", "the system")
    text: str = key("roberta", "text encoder", choices=("roberta", "bert", "small"))
    variant: str = key(
        "cma",
        "affinity: that of the CMA paper, its baseline without any, or self affinity alone",
        choices=("cma", "base", "self"),
    )
    clean_anchors: bool = key(False, "true: first-layer anchors as in DAB-DETR (not for released weights)")
    support_frames: str = key(
        "middle", "frames of each support that the cross affinity sees", choices=("middle", "all")
    )
    affinity_init: str = key(
        "default",
        "start of the affinity's convolutions: as released, or as feature similarity",
        choices=("default", "similarity"),
    )
    train_affinity: bool = key(
        True,
        "false: the affinity's convolutions are in no group of the optimiser and stay as they start; their gradients "
        "add up from step to step and enter the clipping norm, as in the released training code",
    )

    def check(self) -> None:
        """Refuse widths that cannot be split among the heads."""
        self.check_width()


# What `recipe=official` turns on: the released training of CMA, its faults included.
OFFICIAL = {
    "system.text_dropout": True,
    "system.train_affinity": False,
    "benchmark.sampling": "blocks",
    "benchmark.query_expressions": 1,
    "benchmark.twin_share": None,
    "benchmark.absent_share": 0.0,
    "benchmark.class_of_last_expression": True,
    "benchmark.exchange_box_limits": True,
    "benchmark.flip_inside_words": True,
    "benchmark.wrap_colours": True,
    "benchmark.boxes_alone_tell_visible": True,
    "benchmark.crop": True,
    "benchmark.flip": True,
    "benchmark.colour": True,
    "benchmark.episode_hue": 0.0,
    "benchmark.protocol": "cma",
    "optim.lr": 1e-4,
    "optim.weight_decay": 5e-4,
    "optim.schedule": "step",
    "optim.drop_at": [0.125, 0.2083333],  # epochs 3 and 5 of 24
    "optim.warmup_fraction": 0.0,
    "optim.clip_norm": 0.1,
    "train.steps": 86400,  # 24 epochs of 36 classes x 100 episodes
    "train.checkpoint_every": 3600,  # once per epoch
    "train.val_every": 3600,
    "train.batch": 1,
    "train.accumulate": 1,
    "train.prototype_fraction": 0.0,
    "train.prototype_weight": 0.0,
    "train.select_on": "test",  # the checkpoint is chosen on the held-out classes; the protocol card says so
}

# An instance that a CPU trains in seconds.
SMALL = {
    **SMALL_BACKBONE,
    **SMALL_TEXT,
    **SMALL_TRANSFORMER,
    "clean_anchors": True,
    "affinity_init": "similarity",
}

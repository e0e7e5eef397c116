"""Settings of CMA."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import BackboneConfig, SystemConfig, TextConfig, TransformerConfig


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
    support_frames: str = key("middle", "frames of each support that the cross affinity sees", choices=("middle", "all"))
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

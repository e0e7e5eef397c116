"""Settings of ReferFormer."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import SMALL_BACKBONE, SMALL_TEXT, SMALL_TRANSFORMER, TrunkConfig, schedule


@dataclass
class ReferFormerConfig(TrunkConfig):
    """ReferFormer."""

    name: str = key("referformer", "the system")


# Its stages, as released: on eight GPUs, a clip each (of images and of A2D two).
_EIGHT, _SIXTEEN = {"train.batch": 1, "train.accumulate": 8}, {"train.batch": 2, "train.accumulate": 8}
STAGES = {
    "refer_pretrain": {**schedule(12, 8, 10), **_SIXTEEN},
    "refer_youtube_vos": {**schedule(6, 3, 5), **_EIGHT},
    "refer_joint": {**schedule(12, 8, 10), **_EIGHT},
    "refer_a2d": {**schedule(6, 3, 5), **_SIXTEEN},
}

# An instance that a CPU trains in seconds.
SMALL = {**SMALL_BACKBONE, **SMALL_TEXT, **SMALL_TRANSFORMER, "fusion_init": "pass"}

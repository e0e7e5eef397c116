"""Settings of ReferFormer."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import (
    BY_NEAREST,
    ON_IMAGES,
    REPEATS,
    SMALL_BACKBONE,
    SMALL_TEXT,
    SMALL_TRANSFORMER,
    TRUNK_TESTS,
    TrunkConfig,
    schedule,
)


@dataclass
class ReferFormerConfig(TrunkConfig):
    """ReferFormer."""

    name: str = key("referformer", "the system")


# Its stages, as released: on eight GPUs, a clip each (of images and of A2D two).
_EIGHT, _SIXTEEN = {"train.batch": 1, "train.accumulate": 8}, {"train.batch": 2, "train.accumulate": 8}
STAGES = {
    "refer_pretrain": {**schedule(12, 8, 10), **_SIXTEEN},
    "refer_youtube_vos": {**schedule(6, 3, 5), **_EIGHT, **REPEATS},
    "refer_joint": {**schedule(12, 8, 10), **_EIGHT, **REPEATS},
    "refer_a2d": {**schedule(6, 3, 5), **_SIXTEEN, **REPEATS},
}

# Its tests: what is said about one image or frame is cut out before it is resized.
_FRAMES = {task: {**TRUNK_TESTS.get(task, {}), **BY_NEAREST} for task in (*ON_IMAGES, "a2d", "jhmdb")}
TESTS = {**TRUNK_TESTS, **_FRAMES}

# An instance that a CPU trains in seconds.
SMALL = {**SMALL_BACKBONE, **SMALL_TEXT, **SMALL_TRANSFORMER, "fusion_init": "pass"}

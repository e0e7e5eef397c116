"""Settings of SgMg."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import (
    OFFICIAL_TRUNK,
    REPEATS,
    SMALL_BACKBONE,
    SMALL_TEXT,
    SMALL_TRANSFORMER,
    TrunkConfig,
    schedule,
)


@dataclass
class SgMgConfig(TrunkConfig):
    """SgMg."""

    name: str = key("sgmg", "the system")
    refine: str = key(
        "best",
        "candidates whose masks are refined in a test: the best one, as released for Ref-YouTube-VOS and Ref-DAVIS17, "
        "or all, as for RefCOCO; of A2D and JHMDB always all, because they are ranked",
        choices=("best", "all"),
    )
    gate_padding: int = key(
        0,
        "cells around a map for the gates of the spectral filters; 0 as released, which needs frames of 129 pixels and "
        "more; 1: frames of any size (not for released weights)",
        minimum=0,
        maximum=1,
    )
    fast: bool = key(
        False,
        "expressions about the same frames share the fusion and the encoder and are told apart afterwards, as in the "
        "paper's Fast SgMg: masks then depend on what else is asked (not for released weights)",
    )


# What `recipe=official` turns on: the released training.
OFFICIAL = {**OFFICIAL_TRUNK, "optim.lr": 2.5e-5}  # 1e-4, times 2 GPUs / 8

# Its stages, as the author trained them: on two GPUs, a clip each (of images and of A2D two).
_PAIR, _FOUR = {"train.batch": 1, "train.accumulate": 2}, {"train.batch": 2, "train.accumulate": 2}
_CLIPS = {**REPEATS, "parts.*.gentle_colours": True}
_VIDEOS = {**_PAIR, **_CLIPS, "parts.*.resize_first": True, "parts.*.reverse": 0.3}
STAGES = {
    "refer_pretrain": {**schedule(11, 8, 10), **_FOUR},
    "refer_youtube_vos": {**schedule(6, 3, 5), **_VIDEOS},
    "refer_a2d": {**schedule(6, 3, 5), **_FOUR, **_CLIPS},
    "refer_scratch": {**schedule(10, 6, 8), **_VIDEOS, "optim.lr": 5e-5},
}

# An instance that a CPU trains in seconds.
SMALL = {**SMALL_BACKBONE, **SMALL_TEXT, **SMALL_TRANSFORMER, "fusion_init": "pass", "gate_padding": 1}

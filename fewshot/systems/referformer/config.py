"""Settings of ReferFormer."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import SMALL_BACKBONE, SMALL_TEXT, SMALL_TRANSFORMER, TrunkConfig


@dataclass
class ReferFormerConfig(TrunkConfig):
    """ReferFormer."""

    name: str = key("referformer", "the system")


# An instance that a CPU trains in seconds.
SMALL = {**SMALL_BACKBONE, **SMALL_TEXT, **SMALL_TRANSFORMER, "fusion_init": "pass"}

"""The prototype baseline from its settings."""

from __future__ import annotations

from fewshot.systems.parts import build_backbone
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.prototype.model import Prototype


def build(config: PrototypeConfig) -> Prototype:
    """A prototype system on the configured backbone."""
    backbone = build_backbone(config)
    return Prototype(backbone.freeze() if config.freeze_backbone else backbone)

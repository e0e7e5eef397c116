"""Settings of the prototype baseline."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import BackboneConfig, SystemConfig


@dataclass
class PrototypeConfig(BackboneConfig, SystemConfig):
    """Prototypes (PANet) on an image encoder."""

    name: str = key("prototype", "the system")

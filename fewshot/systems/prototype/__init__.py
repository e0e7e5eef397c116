"""The prototype baseline (PANet, ICCV 2019)."""

from fewshot.systems.prototype.model import Prototype, PrototypeState

__all__ = ["Prototype", "PrototypeState"]

"""Small systems that take supports, and adaptations of them."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from fewshot.adaptation.build import adapting
from fewshot.config.sections import AdaptationConfig
from fewshot.systems.base import System
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import make_system, systems

NAMES = sorted(name for name, spec in systems().items() if spec.small and spec.references)


def settings(name: str) -> SystemConfig:
    """Of a small instance, with supports where it takes them only on demand."""
    spec = systems()[name]
    small = spec.config(name=name, **spec.small)
    if small.support_key is None:
        return small
    changes: Any = dict([small.support_key.removeprefix("system.").split("=")])
    return replace(small, **changes)


def plain(name: str, seed: int = 0) -> System:
    """The small instance as it is, in evaluation mode."""
    return make_system(settings(name), seed).eval()


def adapted(system: System, **changes: Any) -> System:
    """The system with an adaptation, `maml` of all its parameters but for the changes."""
    return adapting(system, AdaptationConfig(**{"name": "maml", "parts": ["all"], **changes}))

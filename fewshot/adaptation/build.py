"""The adaptation that a configuration names, around a system."""

from __future__ import annotations

from fewshot.adaptation.adapted import Adapted
from fewshot.adaptation.parts import keeps_features, rates_of
from fewshot.adaptation.probe import LinearProbe
from fewshot.config.sections import AdaptationConfig
from fewshot.systems.base import System


def told(settings: AdaptationConfig) -> list[str]:
    """What the card of a test says of the adaptation; nothing for `none`."""
    if settings.name == "none":
        return []
    if settings.name == "linear_probe":
        return [f"adaptation: linear probe, decay {settings.decay:g}"]
    parts, rates = ", ".join(settings.parts), ", ".join(f"{rate:g}" for rate in settings.rates)
    return [f"adaptation: {settings.name} of {parts}, {settings.steps} steps of {rates}"]


def adapting(system: System, settings: AdaptationConfig) -> System:
    """The system, so wrapped that it adapts to the supports of each episode; as it is for `none`.

    Raises:
        Learn2LearnMissing: learn2learn is needed and not installed.
        ValueError: parts or rates that do not fit the system.
    """
    if settings.name == "none":
        return system
    if settings.name == "linear_probe":
        return LinearProbe(system, settings.decay)
    return Adapted(
        system,
        rates_of(system, settings.parts, settings.rates),
        settings.steps,
        second_order=settings.second_order,
        learn_rates=settings.name == "metasgd",
        keeps_features=keeps_features(system, settings.parts),
    )

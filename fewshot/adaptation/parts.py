"""Parameters of a system that adapt, with their step sizes, from the names of parts."""

from __future__ import annotations

from collections.abc import Sequence

from fewshot.systems.base import System

ALL, NORMS = "all", "norms"
BACKBONE = "backbone."
TEXT = "text."  # reads words before there are supports, and never adapts


def rates_of(system: System, parts: Sequence[str], rates: Sequence[float]) -> dict[str, float]:
    """Step size of each parameter that adapts, by its name; frozen parameters and the text encoder never do.

    Args:
        system: whose parameters are meant.
        parts: `all`, `norms`, a part that the system names (`head`, `fusion`), or the beginning of a parameter's name.
            The first one that holds a parameter counts.
        rates: one for each part, or one for all of them.

    Raises:
        ValueError: another number of rates than of parts, or a part without a parameter that learns.
    """
    if len(rates) not in (1, len(parts)):
        raise ValueError(
            f"adaptation.rates={list(rates)}: give one number, or one for each of adaptation.parts={list(parts)}"
        )
    sizes = list(rates) * (len(parts) if len(rates) == 1 else 1)
    learning = [name for name, p in system.named_parameters() if p.requires_grad and not name.startswith(TEXT)]
    members = [_members(system, part, learning) for part in parts]
    return {
        name: next(size for size, inside in zip(sizes, members, strict=True) if name in inside)
        for name in learning
        if any(name in inside for inside in members)
    }


def _members(system: System, part: str, learning: Sequence[str]) -> set[str]:
    """The parameters of a part, of those that learn."""
    if part == ALL:
        found = set(learning)
    elif part == NORMS:
        norms = [name for name, module in system.named_modules() if "Norm" in type(module).__name__]
        found = {name for name in learning if name.rpartition(".")[0] in norms}
    else:
        beginnings = system.parts.get(part, (part,))
        found = {name for name in learning if any(f"{name}.".startswith(f"{start}.") for start in beginnings)}
    if not found:
        there = ", ".join(_beginnings(part, learning)) or "nothing"
        raise ValueError(
            f"adaptation.parts={part}: no parameter of system {system.name} that learns lies there; valid are {ALL}, "
            f"{NORMS}, {', '.join(system.parts)}, and beginnings of names, of which there are {there}"
        )
    return found


def _beginnings(part: str, names: Sequence[str]) -> list[str]:
    """Beginnings of names one level below the longest beginning of `part` that there is."""
    words = part.split(".")
    for depth in range(len(words), -1, -1):
        start = "".join(f"{word}." for word in words[:depth])
        if inside := [name for name in names if name.startswith(start)]:
            return list(dict.fromkeys(".".join(name.split(".")[: depth + 1]) for name in inside))
    return []


def keeps_features(system: System, parts: Sequence[str]) -> bool:
    """Whether what adapts has no share in the visual features of the frames, which then are computed once."""
    beginnings = [start for part in parts for start in system.parts.get(part, (BACKBONE,))]
    return not any(f"{start}.".startswith(BACKBONE) for start in beginnings)

"""How CMA is trained: which parts learn at which rate."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from torch import nn

RECIPES = ("fixed", "official")


def learning_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], lr: float, scales: dict[str, float], recipe: str
) -> list[dict[str, Any]]:
    """AdamW groups as in the official training; `recipe` decides over the affinity convolutions.

    The official code puts them in no group, so they stay as they were initialised (`official`); here they learn with
    the rest (`fixed`).

    Args:
        parameters: names and parameters; those that ask for no gradient are left out.
        scales: factors on `lr` by group name (`backbone`, `text`); 1 for the others.
    """
    if recipe not in RECIPES:
        raise ValueError(f"unknown recipe {recipe!r}: choose one of {', '.join(RECIPES)}")
    groups: dict[str, list[nn.Parameter]] = {k: [] for k in ("main", "backbone", "text", "offsets", "affinity")}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups[_group(name)].append(parameter)
    if recipe == "official":
        del groups["affinity"]
    return [{"params": p, "lr": lr * scales.get(k, 1.0), "name": k} for k, p in groups.items() if p]


def _group(name: str) -> str:
    first = name.split(".")[0]
    if first in ("backbone", "text"):
        return first
    if first == "affinity" and ".norm." not in name:
        return "affinity"
    return "offsets" if "sampling_offsets" in name or "reference_points" in name else "main"

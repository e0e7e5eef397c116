"""How UniRef is trained: which parts learn at which rate."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from torch import nn


def learning_groups(
    parameters: Iterable[tuple[str, nn.Parameter]], lr: float, rates: Mapping[str, float]
) -> list[dict[str, Any]]:
    """AdamW groups as in the official training; parameters that ask for no gradient are left out.

    Args:
        rates: learning rates by group (`backbone`, `text`, `offsets`: the sampling offsets of deformable attention);
            `lr` for the others and for what is not named.
    """
    groups: dict[str, list[nn.Parameter]] = {k: [] for k in ("main", "backbone", "text", "offsets")}
    for name, parameter in parameters:
        if parameter.requires_grad:
            groups[_group(name)].append(parameter)
    return [{"params": p, "lr": rates.get(k, lr), "name": k} for k, p in groups.items() if p]


def _group(name: str) -> str:
    first = name.split(".")[0]
    if first in ("backbone", "text"):
        return first
    return "offsets" if "sampling_offsets" in name else "main"

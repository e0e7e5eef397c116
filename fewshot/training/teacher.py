"""The teacher: a moving average of the weights that learn (Tarvainen and Valpola, NeurIPS 2017)."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn


class Teacher:
    """Follows a network, step by step.

    Args:
        network: whose parameters that ask for a gradient are averaged; all other weights are the network's own.
        decay: fraction of itself that the average keeps in every step, between 0 and 1.
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        self.network, self.decay = network, decay
        self.average = {name: p.detach().clone() for name, p in self._learning().items()}

    def _learning(self) -> dict[str, nn.Parameter]:
        return {name: p for name, p in self.network.named_parameters() if p.requires_grad}

    @torch.no_grad()
    def follow(self) -> None:
        """Moves towards the network's present weights."""
        for name, parameter in self._learning().items():
            self.average[name].lerp_(parameter, 1 - self.decay)

    def weights(self) -> dict[str, Tensor]:
        """State dict of the network with the averages in it."""
        return {**self.network.state_dict(), **self.average}

    def take(self, average: Mapping[str, Tensor]) -> None:
        """Goes on from averages that were kept in a checkpoint."""
        for name, value in average.items():
            self.average[name].copy_(value)

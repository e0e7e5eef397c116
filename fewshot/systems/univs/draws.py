"""Random draws of UniVS, all of them from one injected generator: which cells stand for a prompt, and jitter."""

from __future__ import annotations

import torch
from torch import Tensor


class Draws:
    """Draws from a generator. The official code draws without a seed, so that its runs cannot be repeated.

    Args:
        generator: on the CPU.
    """

    def __init__(self, generator: torch.Generator) -> None:
        self.generator = generator

    @classmethod
    def seeded(cls, seed: int) -> Draws:
        """Draws that depend on a seed alone."""
        return cls(torch.Generator().manual_seed(seed))

    def order(self, count: int) -> Tensor:
        """A random order of `count` things: `(count,)` int64."""
        return torch.randperm(count, generator=self.generator)

    def uniform(self, *shape: int) -> Tensor:
        """Numbers in 0..1 that shift boxes and points, `shape`."""
        return torch.rand(*shape, generator=self.generator)


class FixedDraws(Draws):
    """No draw at all: the first things in order, no shift."""

    def __init__(self) -> None:
        super().__init__(torch.Generator())

    def order(self, count: int) -> Tensor:
        """The given order: `(count,)` int64."""
        return torch.arange(count)

    def uniform(self, *shape: int) -> Tensor:
        """A half everywhere, which shifts nothing."""
        return torch.full(shape, 0.5)

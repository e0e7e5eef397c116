"""Random draws of UniVS, all of them from one injected generator: which cells stand for a prompt, jitter, points."""

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

    def kinds(self, count: int) -> Tensor:
        """Numbers `(count,)` in 0..1 that decide which kind of visual prompt each object has in training."""
        return torch.rand(count, generator=self.generator)

    def coin(self) -> float:
        """A number in 0..1 that decides about a whole batch."""
        return torch.rand((), generator=self.generator).item()

    def points(self, rows: int, count: int) -> Tensor:
        """Points `x, y` in 0..1 at which masks are compared: `(rows, count, 2)`."""
        return torch.rand(rows, count, 2, generator=self.generator)

    def some(self, count: int, among: int) -> Tensor:
        """`count` of `among` things, one perhaps more than once: `(count,)` int64."""
        return torch.randint(among, (count,), generator=self.generator)


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

    def kinds(self, count: int) -> Tensor:
        """Ones: masks."""
        return torch.ones(count)

    def coin(self) -> float:
        """A half."""
        return 0.5

    def points(self, rows: int, count: int) -> Tensor:
        """The centres of the cells of a square grid, row by row, from the first on again where there are more."""
        side = max(1, int(count**0.5))
        line = (torch.arange(side) + 0.5) / side
        grid = torch.cartesian_prod(line, line).flip(1)
        return grid[torch.arange(count) % len(grid)].expand(rows, -1, -1)

    def some(self, count: int, among: int) -> Tensor:
        """The first things, from the first on again where there are fewer."""
        return torch.arange(count) % among

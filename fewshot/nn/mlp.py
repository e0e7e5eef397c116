"""Small fully connected networks, and the feed-forward block of the transformers."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from fewshot.nn.portions import rows_at_once

HIDDEN_AT_ONCE = {"cpu": 1 << 21, "elsewhere": 1 << 25}  # values of the hidden layer


class MLP(nn.Module):
    """Linear layers with ReLU between them: `sizes[0] -> ... -> sizes[-1]` on the last axis."""

    def __init__(self, *sizes: int) -> None:
        super().__init__()
        if len(sizes) < 2:
            raise ValueError(f"an MLP needs an input and an output size, got {sizes}")
        self.layers = nn.ModuleList(nn.Linear(a, b) for a, b in zip(sizes[:-1], sizes[1:], strict=True))

    @property
    def linears(self) -> list[nn.Linear]:
        """The layers, first to last."""
        return [layer for layer in self.layers if isinstance(layer, nn.Linear)]

    def forward(self, x: Tensor) -> Tensor:
        """`(..., sizes[0]) -> (..., sizes[-1])`."""
        for layer in self.layers[:-1]:
            x = F.relu(layer(x))
        return self.layers[-1](x)


class FeedForward(nn.Module):
    """`x -> W2 dropout(relu(W1 x))` on tokens, the residual's input left to the caller.

    Without gradients the tokens pass in portions: for a clip of 10 frames at 360x640 the hidden layer at stride 4
    would otherwise take more than 1 GB, and a hidden layer that leaves the cache costs a third of the time.
    """

    def __init__(self, dim: int, hidden: int, dropout: float) -> None:
        super().__init__()
        self.linear1, self.linear2 = nn.Linear(dim, hidden), nn.Linear(hidden, dim)
        self.dropout = nn.Dropout(dropout)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, L, C) -> (N, L, C)`."""
        rows = x.flatten(0, 1).split(rows_at_once(self.linear1.out_features, x.device, **HIDDEN_AT_ONCE))
        return torch.cat([self._transform(part) for part in rows]).view_as(x)

    def _transform(self, x: Tensor) -> Tensor:
        return self.linear2(self.dropout(F.relu(self.linear1(x), inplace=True)))

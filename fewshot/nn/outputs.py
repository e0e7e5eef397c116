"""Outputs of a system: `Prediction` and `Losses`.

Legend: N query clips, T frames, Q candidate masks per frame, (h, w) mask resolution.
"""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True)
class Prediction:
    """Candidate masks of `N` query clips, with scores.

    Attributes:
        masks: `(N, T, Q, h, w)` mask logits, at `stride` pixels of the padded network input per cell.
        scores: `(N, T, Q)` logits that say how well candidate `q` fits the reference; None where Q is 1.
        boxes: `(N, T, Q, 4)` `cx, cy, w, h` as fractions of the unpadded frame, or None.
        stride: network pixels per mask cell.
        layers: the same for earlier decoder layers (auxiliary losses), first layer first.
        all_scores: those of all candidates, `(N, T, Q')`, where `masks` holds but some of them; else None.
        tracked: whether candidate q is the same thing in every frame; if not, each frame has a best one of its own.
    """

    masks: Tensor
    scores: Tensor | None = None
    boxes: Tensor | None = None
    stride: int = 4
    layers: tuple[Prediction, ...] = ()
    tracked: bool = True
    all_scores: Tensor | None = None

    def best(self) -> Tensor:
        """Index of the best candidate of every frame `(N, T)`: the highest probability, ties to the lowest index.

        Tracked candidates are judged by their mean over the frames, so that all frames of a clip have the same one.
        """
        if self.scores is None:
            return self.masks.new_zeros(self.masks.shape[:2], dtype=torch.long)
        probabilities = self.scores.float().sigmoid()
        if self.tracked:
            probabilities = probabilities.mean(1, keepdim=True).expand_as(probabilities)
        return probabilities.argmax(-1)

    def best_masks(self, n: int) -> Tensor:
        """Mask logits of the best candidate of clip `n`, as they are: `(T, h, w)` float32."""
        best = self.best()[n]
        return self.masks[n, torch.arange(len(best), device=best.device), best].float()


@dataclass(frozen=True)
class Losses:
    """`total` is what is minimised; `terms` are the unweighted parts, for the log."""

    total: Tensor
    terms: dict[str, Tensor] = field(default_factory=dict)

    def times(self, factor: float) -> Losses:
        """All of them times a number."""
        return Losses(self.total * factor, {name: term * factor for name, term in self.terms.items()})


def in_float32(prediction: Prediction) -> Prediction:
    """The same prediction with float32 tensors, in which losses are computed whatever the autocast."""
    changed: dict[str, Any] = {}
    for f in fields(prediction):
        value = getattr(prediction, f.name)
        if isinstance(value, Tensor) and value.is_floating_point():
            changed[f.name] = value.float()
        elif isinstance(value, tuple) and any(isinstance(part, Prediction) for part in value):
            changed[f.name] = tuple(map(in_float32, value))
    return replace(prediction, **changed)

"""A linear classifier on frozen features, fitted to the supports of each episode.

Boudiaf et al., RePRI (CVPR 2021), show how far this goes without meta-learning. Of their loss this is the cross entropy
on the supports; the entropy and the proportion of the query, which they add, are not. The problem is convex, so that
neither rate nor number of steps matter.

Legend: B episodes, K shots, N clips, T frames, D channels, (h, w) cells.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.adaptation.wrapper import Wrapper
from fewshot.nn.masks import pixels_of
from fewshot.nn.outputs import Losses, Prediction
from fewshot.nn.prototype import mask_weights
from fewshot.systems.base import ReferenceState, System, require_supports

FINEST = 8  # pixels along a cell, or so: finer maps are left out
ITERATIONS = 500


@dataclass(frozen=True)
class Classifiers:
    """Of each of `B` episodes, the weights `(B, D)` and the bias `(B,)` of a classifier of cells."""

    weights: Tensor
    biases: Tensor

    def repeat(self, expressions: int) -> Classifiers:
        """Each episode's classifier for its `expressions` queries."""
        return Classifiers(*(x.repeat_interleave(expressions, 0) for x in (self.weights, self.biases)))


class LinearProbe(Wrapper):
    """Logistic regression on the visual features of a system, for tests. Words are ignored.

    Args:
        system: gives its features.
        decay: weight of half the squared norm of the classifier.
    """

    def __init__(self, system: System, decay: float = 0.1) -> None:
        super().__init__(system)
        self.accepts = self.needs = frozenset({"support"})
        self.decay = decay
        self.patches = bool(getattr(getattr(system, "backbone", None), "patches", True))

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """Those of the system."""
        return self.system.frame_features(clips)

    def encode_text(self, expressions: Sequence[str | None]) -> None:
        """None: words are not read."""

    def cells(self, clips: ClipBatch) -> Tensor:
        """Features `(N, T, D, h, w)` of all maps but those finer than `FINEST`, each of length one.

        Raises:
            ValueError: the system does not tell its visual features from the rest.
        """
        maps = clips.features or self.system.frame_features(clips)
        if not maps:
            raise ValueError(f"adaptation=linear_probe: system {self.name} has no visual features of its own")
        coarse = [x for x in maps if clips.frames.shape[-2] / x.shape[-2] > FINEST / 2] or list(maps)
        finest = max(coarse, key=lambda x: x.shape[-2])
        size = finest.shape[-2], finest.shape[-1]
        ratios = [round(size[0] / x.shape[-2]) for x in coarse]
        alike = [pixels_of(F.normalize(x, dim=1), r, size, self.patches) for x, r in zip(coarse, ratios, strict=True)]
        (joined,) = clips.for_each_clip([F.normalize(torch.cat(alike, 1), dim=1)])
        return joined.unflatten(0, (len(clips), -1))

    @torch.no_grad()
    def encode_supports(self, supports: ClipBatch, shots: int) -> Classifiers:
        """The classifiers of the supports' cells, by the share of the object in each."""
        cells = self.cells(supports)
        size = cells.shape[-2], cells.shape[-1]
        shares = mask_weights(supports, size, self.patches).to(cells.dtype)
        found = []
        for first in range(0, len(supports), shots):
            own = slice(first, first + shots)
            rows = cells[own].movedim(2, -1).flatten(0, -2)
            found.append(fitted(rows, shares[own, 0].flatten(), shares[own, 1].flatten(), self.decay))
        return Classifiers(*(torch.stack(x) for x in zip(*found, strict=True)))

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Logits `(N, T, 1, H, W)` of every pixel."""
        state.check(len(queries))
        probe: Classifiers = require_supports(state.supports, self.name)
        cells = self.cells(queries)
        logits = torch.einsum("ntdhw,nd->nthw", cells, probe.weights) + probe.biases[:, None, None, None]
        height, width = queries.frames.shape[-2:]
        pixels = pixels_of(logits, -(-height // cells.shape[-2]), (height, width), self.patches)
        return Prediction(masks=pixels[:, :, None], stride=1)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """None: it is fitted, not trained. Raises NotImplementedError."""
        raise NotImplementedError("a linear probe is fitted to supports, and has no losses to train by")


def fitted(cells: Tensor, object_share: Tensor, other_share: Tensor, decay: float) -> tuple[Tensor, Tensor]:
    """Weights `(D,)` and bias of the logistic regression of cells `(n, D)`, at its optimum (L-BFGS).

    The object and the rest weigh the same: it covers a small part of most supports, and would be lost in them.

    Args:
        cells: features.
        object_share, other_share: `(n,)` fraction of each cell that is the object, and that is not, 0..1.
        decay: weight of half the squared norm of the weights; the bias is free.
    """
    with torch.inference_mode(False), torch.enable_grad():
        rows, there, other = cells.clone(), object_share.clone(), other_share.clone()
        there, other = (share / share.sum().clamp(min=1e-6) / 2 for share in (there, other))
        found = rows.new_zeros(rows.shape[1] + 1, requires_grad=True)
        search = torch.optim.LBFGS(
            [found],
            max_iter=ITERATIONS,
            max_eval=2 * ITERATIONS,
            tolerance_grad=1e-9,
            tolerance_change=1e-14,
            history_size=20,
            line_search_fn="strong_wolfe",
        )

        def objective() -> Tensor:
            search.zero_grad()
            logits = rows @ found[:-1] + found[-1]
            losses = there * F.softplus(-logits) + other * F.softplus(logits)
            loss = losses.sum() + decay / 2 * found[:-1].square().sum()
            loss.backward()
            return loss

        search.step(objective)
    return found.detach()[:-1], found.detach()[-1]

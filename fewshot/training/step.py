"""The part of a training step that is differentiated, as one module, so that DDP's hooks see all of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor, nn

from episodes.batch import EpisodeBatch
from fewshot.nn.outputs import in_float32
from fewshot.systems.base import System

AUTOCAST = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp16": torch.float16}


class TrainingStep(nn.Module):
    """Losses of one micro-batch: the system's own, the prototype warm-up's, or both."""

    def __init__(self, system: System, precision: str) -> None:
        super().__init__()
        self.system = system
        self.dtype = AUTOCAST[precision]
        self.last: Callable[[Tensor], Tensor] = lambda total: total  # what is done with the total loss

    def forward(
        self, batch: EpisodeBatch, num_frames: float, own: bool = True, prototype_weight: float = 0.0
    ) -> tuple[Tensor, dict[str, Tensor]]:
        """Total loss and unweighted terms (warm-up terms start with `prototype_`).

        Args:
            num_frames: the normaliser, see `System.losses`.
            own: whether the system's own losses count.
            prototype_weight: weight of the prototype warm-up's loss; 0 leaves it out.
        """
        if own and prototype_weight == 0:
            with self._autocast(batch):
                losses = self.system.batch_losses(batch, num_frames)
            if losses is not None:
                return self.last(losses.total), {name: term.detach() for name, term in losses.terms.items()}
        copies = len(batch.queries) // len(batch) if batch.queries_share_frames else 1
        if copies > 1 or (own and prototype_weight > 0):
            batch = self._seen(batch, copies)
        parts: list[Tensor] = []
        terms: dict[str, Tensor] = {}
        words = None
        if own:
            with self._autocast(batch):
                state = self.system.encode_reference(batch.references)
                prediction = self.system(batch.queries, state)
            losses, words = self.system.losses(in_float32(prediction), batch.queries, num_frames), state.words
            parts.append(losses.total)
            terms.update(losses.terms)
        if prototype_weight > 0:
            with self._autocast(batch):
                losses = self.system.warmup_losses(batch.supports, batch.queries, batch.shots, num_frames, words)
            parts.append(losses.total * prototype_weight)
            terms.update({f"prototype_{name}": term for name, term in losses.terms.items()})
        return self.last(torch.stack(parts).sum()), {name: term.detach() for name, term in terms.items()}

    def _seen(self, batch: EpisodeBatch, copies: int) -> EpisodeBatch:
        """The batch with its visual features, which all losses begin with; `copies` queries in a row share theirs."""
        with self._autocast(batch):
            supports = None if batch.supports is None else self.system.with_features(batch.supports)
            return replace(batch, supports=supports, queries=self.system.with_features(batch.queries, copies))

    def _autocast(self, batch: EpisodeBatch) -> torch.autocast:
        kind = batch.queries.frames.device.type
        return torch.autocast(kind, self.dtype, enabled=self.dtype is not torch.float32)


def set_training_mode(system: System) -> None:
    """Training mode; frozen parts (no parameter asks for a gradient) stay in evaluation mode.

    But for a frozen text encoder whose dropout is kept (`text_dropout`), as in released training code.
    """
    system.train()
    text = getattr(system, "text", None)
    awake = set(text.modules()) if text is not None and system.text_dropout else set()
    for module in system.modules():
        parameters = list(module.parameters())
        if parameters and module not in awake and not any(p.requires_grad for p in parameters):
            module.eval()

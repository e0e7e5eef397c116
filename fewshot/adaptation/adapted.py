"""`Adapted`: a system whose weights take gradient steps on the supports before it looks at the query.

Finn et al., MAML (ICML 2017): the loss after the steps trains the weights before them. Raghu et al., ANIL (ICLR 2020):
the head alone takes steps. Li et al., Meta-SGD (2017): the sizes of the steps are learnt, here one for each tensor.

Legend: B episodes, K shots, E queries of an episode, N = B * E clips, T frames.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor, nn

from episodes.batch import ClipBatch
from fewshot.adaptation.learner import cloned, descend, differentiable, freeze, learn2learn
from fewshot.adaptation.lessons import Lessons, lessons
from fewshot.adaptation.wrapper import Wrapper, seen_once
from fewshot.nn.outputs import Losses, Prediction, in_float32
from fewshot.systems.base import ReferenceState, System

RATES = "adaptation.rates"  # what learnt step sizes are called in a file of weights


@dataclass(frozen=True)
class AdaptedState:
    """Of each of `B` episodes, the system with the weights that it adapted, and what this remembers of the supports."""

    learners: tuple[System, ...]
    states: tuple[Any, ...]

    def repeat(self, expressions: int) -> AdaptedState:
        """Each episode's state for its `expressions` queries."""
        return AdaptedState(self.learners, tuple(state.repeat(expressions) for state in self.states))


@dataclass(frozen=True, kw_only=True)
class AdaptedPrediction(Prediction):
    """Predictions of several episodes, each of the system with its own weights.

    Attributes:
        parts: of each episode, its prediction.
        learners: the system that made it, which knows its losses and masks.
    """

    parts: tuple[Prediction, ...]
    learners: tuple[System, ...]

    @classmethod
    def of(cls, parts: Sequence[Prediction], learners: Sequence[System]) -> AdaptedPrediction:
        """The predictions of all episodes in one."""
        first = parts[0]

        def joined(name: str) -> Any:
            there = [getattr(part, name) for part in parts]
            return None if there[0] is None else torch.cat(there)

        return cls(
            masks=joined("masks"),
            scores=joined("scores"),
            boxes=joined("boxes"),
            stride=first.stride,
            tracked=first.tracked,
            parts=tuple(parts),
            learners=tuple(learners),
        )


class Adapted(Wrapper):
    """A system that adapts to the supports of each episode by gradient steps on lessons made of them.

    Args:
        system: the system. Its text encoder reads the words with its own weights.
        rates: step size of each parameter that adapts, by its name.
        steps: gradient steps.
        second_order: gradients of a training go through the gradients of the steps.
        learn_rates: the step sizes are trained.
        keeps_features: no adapting parameter has a share in `System.frame_features`.

    Raises:
        Learn2LearnMissing: learn2learn is not installed.
    """

    def __init__(
        self,
        system: System,
        rates: Mapping[str, float],
        steps: int = 1,
        *,
        second_order: bool = False,
        learn_rates: bool = False,
        keeps_features: bool = False,
    ) -> None:
        super().__init__(system)
        learn2learn()  # missing, it is missed at once
        self.names, self.sizes = tuple(rates), tuple(rates.values())
        self.steps, self.second_order, self.keeps_features = steps, second_order, keeps_features
        self.rates = nn.Parameter(torch.tensor(self.sizes)) if learn_rates else None

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """Those of the system; none where they differ from episode to episode."""
        return self.system.frame_features(clips) if self.keeps_features else ()

    def encode_supports(self, supports: ClipBatch, shots: int) -> AdaptedState:
        """Adapt to the `shots` supports of each episode, and encode them with the weights that come of it."""
        learners, states = [], []
        for first in range(0, len(supports), shots):
            own = supports.take(range(first, first + shots))
            learner = self.adapt(own)
            learners.append(learner)
            states.append(learner.encode_supports(own, shots))
        return AdaptedState(tuple(learners), tuple(states))

    def adapt(self, supports: ClipBatch) -> System:
        """The system after gradient steps on lessons from the `K` supports of one episode.

        Where gradients are on, a loss of it trains the weights of this system; else it is cut off from them.

        Raises:
            ValueError: the loss of the supports is not finite.
        """
        outer = torch.is_grad_enabled()
        second_order = outer and self.second_order
        with differentiable(second_order):
            taught = self._seen(lessons(ordinary(supports)), outer)
            learner = cloned(self.system, dict.fromkeys(self.names), outer)
            for step in range(self.steps):
                loss = self._loss(learner, taught)
                if not torch.isfinite(loss):
                    raise ValueError(
                        f"adaptation: the loss of the supports is {float(loss.detach())} after {step} steps: take "
                        "smaller adaptation.rates, or fewer adaptation.steps"
                    )
                learner = descend(learner, loss, self._rates(), second_order)
        if not outer:
            freeze(learner)
        return learner

    def _rates(self) -> dict[str, float | Tensor]:
        return dict(zip(self.names, self.sizes if self.rates is None else self.rates, strict=True))

    def _seen(self, taught: Lessons, outer: bool) -> Lessons:
        """The lessons with visual features, where no step changes them."""
        if not self.keeps_features:
            return taught
        with torch.set_grad_enabled(outer):
            return taught.seen(self.system)

    def _loss(self, learner: System, taught: Lessons) -> Tensor:
        """The loss of all lessons, over the frames in which their object is seen."""
        taught = taught.seen(learner)
        state = learner.encode_supports(taught.supports, taught.shots)
        words = self.system.encode_text(taught.queries.expressions)
        mode, learner.training = learner.training, True  # what losses need, without the dropout of its modules
        prediction = in_float32(learner(taught.queries, ReferenceState(len(taught.queries), state, words)))
        learner.training = mode
        assert taught.queries.valid is not None  # `lessons`
        visible = float(taught.queries.valid.sum().clamp(min=1))
        with torch.autocast(prediction.masks.device.type, enabled=False):
            return learner.losses(prediction, taught.queries, visible).total

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        """Each episode's queries by its own weights; without supports by those of the system."""
        state.check(len(queries))
        if state.supports is None:
            return self.system(seen_once(self.system, queries), state)
        adapted: AdaptedState = state.supports
        parts = []
        for k, (learner, own) in enumerate(zip(adapted.learners, adapted.states, strict=True)):
            rows = rows_of(len(queries), len(adapted.learners), k)
            words = state.words if len(rows) == len(queries) else _some(state.words, rows)
            clips = seen_once(learner, queries.take(rows))
            parts.append(learner(clips, ReferenceState(len(rows), own, words)))
        return AdaptedPrediction.of(parts, adapted.learners)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        """The sum of the losses of the episodes, each by its own weights."""
        if not isinstance(prediction, AdaptedPrediction):
            return self.system.losses(prediction, queries, num_frames)
        count = len(prediction.parts)
        if count > 1 and num_frames is None and queries.valid is not None:
            num_frames = float(queries.valid.sum().clamp(min=1))
        found = [
            learner.losses(part, queries.take(rows_of(len(queries), count, k)), num_frames)
            for k, (part, learner) in enumerate(zip(prediction.parts, prediction.learners, strict=True))
        ]
        names = dict.fromkeys(name for one in found for name in one.terms)
        zero = found[0].total.new_zeros(())
        terms = {name: torch.stack([one.terms.get(name, zero) for one in found]).sum() for name in names}
        return Losses(torch.stack([one.total for one in found]).sum(), terms)

    @torch.no_grad()
    def logits(self, prediction: Prediction, queries: ClipBatch, n: int) -> Tensor:
        """See `System.logits`; by the weights that made the prediction."""
        if not isinstance(prediction, AdaptedPrediction):
            return self.system.logits(prediction, queries, n)
        each = len(queries) // len(prediction.parts)
        k = n // each
        rows = rows_of(len(queries), len(prediction.parts), k)
        return prediction.learners[k].logits(prediction.parts[k], queries.take(rows), n - rows[0])

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        """Those of the system, and the step sizes where they are learnt."""
        groups = self.system.parameter_groups(lr)
        if self.rates is not None:
            groups.append({"params": [self.rates], "lr": lr, "weight_decay": 0.0, "name": "rates"})
        return groups

    def own_tensors(self) -> dict[str, Tensor]:
        """The learnt step sizes."""
        return {} if self.rates is None else {RATES: self.rates}


def rows_of(clips: int, episodes: int, k: int) -> range:
    """Indices of the clips of episode `k`, where each has equally many."""
    each = clips // episodes
    return range(k * each, (k + 1) * each)


def _some(words: Any, rows: range) -> Any:
    return None if words is None else words[rows.start : rows.stop]


def ordinary(clips: ClipBatch) -> ClipBatch:
    """The clips without features, in tensors that gradients may pass even where a test has made them."""

    def plain(value: Any) -> Any:
        if isinstance(value, tuple):
            return tuple(map(plain, value))
        return value.clone() if isinstance(value, Tensor) and value.is_inference() else value

    kept = replace(clips, features=(), objects=(), copies=1)
    return replace(kept, **{f.name: plain(getattr(kept, f.name)) for f in fields(kept)})

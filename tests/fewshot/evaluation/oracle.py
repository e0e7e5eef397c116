"""A system that reads the answer from the pixels of the data set in memory, so that scores are known by hand."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn

from episodes.batch import ClipBatch
from episodes.clip import Clip
from fewshot.cli.runs import MetaTestConfig
from fewshot.config.sections import BenchmarkConfig
from fewshot.evaluation.benchmark import Benchmark, open_benchmark
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from fewshot.systems.config import SystemConfig
from tests.episodes.memory import MemorySource


def halve(clip: Clip, generator: torch.Generator) -> Clip:
    """Every second pixel, as float in 0..1: the network sees 4x8, the masks stay 8x16."""
    return replace(clip, frames=clip.frames[..., ::2, ::2].float() / 255)


def settings(**test: Any) -> MetaTestConfig:
    """A test of the oracle on the data set in memory, without probes and pictures."""
    config = MetaTestConfig(
        system=SystemConfig(name="oracle"),
        benchmark=BenchmarkConfig(name="memory", support_frames=3, test_size=4, test_chunk=2),
    )
    for name, value in {"probes": [], "pictures": 0, "bootstrap": 50, **test}.items():
        setattr(config.test, name, value)
    return config


def halved(source: MemorySource, chunk: int = 2) -> Benchmark:
    """The data set in memory with frames of half the size, in chunks of `chunk` frames."""
    config = settings()
    config.benchmark.test_chunk = chunk
    benchmark = open_benchmark(config, source)
    benchmark.transform = halve
    return benchmark


@dataclass(frozen=True)
class OracleState:
    """The middle support masks `(B, Hm, Wm)`; the oracle does not need them, the tests look at them."""

    masks: Tensor

    def repeat(self, expressions: int) -> OracleState:
        return OracleState(self.masks.repeat_interleave(expressions, 0))


@dataclass
class Calls:
    """What the oracle was asked."""

    supports: list[ClipBatch] = field(default_factory=list)
    lengths: list[int] = field(default_factory=list)
    expressions: list[str | None] = field(default_factory=list)
    modes: list[bool] = field(default_factory=list)


class Oracle(System):
    """Two candidates at stride 1: the object that the last word of the expression names, and that cut to `columns`.

    The score prefers the first candidate in the first frame of a chunk and, by less, the second one in the others: a
    chunk of one or two frames gets the first candidate, a longer one the second.
    """

    name = "oracle"

    def __init__(self, columns: slice = slice(2, 3)) -> None:
        super().__init__()
        self.columns, self.calls = columns, Calls()
        self.weight = nn.Parameter(torch.zeros(()))

    def encode_supports(self, supports: ClipBatch, shots: int) -> OracleState:
        self.calls.supports.append(supports)
        return OracleState(torch.stack([m[len(m) // 2] for m in supports.masks[::shots] if m is not None]))

    def encode_text(self, expressions: Sequence[str | None]) -> tuple[str | None, ...]:
        return tuple(expressions)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        assert len(state.supports.masks) == len(state.words) == len(queries)
        n, t = queries.frames.shape[:2]
        self.calls.lengths.append(t)
        self.calls.expressions += state.words
        self.calls.modes.append(self.training)
        channels = [int((expression or "1").split()[-1]) - 1 for expression in state.words]
        whole = torch.stack(
            [frames[:, channel] > 0.5 for frames, channel in zip(queries.frames, channels, strict=True)]
        )
        part = torch.zeros_like(whole)
        part[..., self.columns] = whole[..., self.columns]
        masks = torch.stack([whole, part], 2).float() * 20 - 10
        scores = torch.zeros(n, t, 2)
        scores[:, 0, 0], scores[:, 1:, 1] = 4.0, 3.0
        return Prediction(masks=masks, scores=scores, stride=1)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        return Losses(total=self.weight)

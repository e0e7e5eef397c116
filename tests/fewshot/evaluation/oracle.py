"""A tiny data set in memory and a system that reads the answer from the pixels, so that scores are known by hand.

Frames are 8x16. The red channel of a frame is 255 on the object with id 1, the green one on the object with id 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import torch
from torch import Tensor, nn

from episodes.batch import ClipBatch
from episodes.clip import Clip
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.sources.base import Expression, Source
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import System

HEIGHT, WIDTH = 8, 16
COLUMNS = {1: slice(3, 10), 2: slice(12, 16)}  # where the objects are, over the full height


class MemorySource(Source):
    """Three classes of two query videos each (and one support video), five frames, two objects; counts what is read."""

    name = "memory"
    root = Path("memory")

    def __init__(self, frames: int = 5) -> None:
        self.names = tuple(f"{t:05d}" for t in range(frames))
        self.frames_read: list[str] = []

    def videos(self, class_id: int) -> tuple[str, ...]:
        return tuple(f"class{class_id}_{number}" for number in range(3))

    def frames(self, video: str) -> tuple[str, ...]:
        return self.names

    def expressions(self, video: str) -> tuple[Expression, ...]:
        class_id = int(video[5])
        return tuple(Expression(str(k), f"{video} thing {k}", k, class_id) for k in (1, 2))

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        self.frames_read.append(video)
        pixels = torch.zeros(len(frames), 3, HEIGHT, WIDTH, dtype=torch.uint8)
        for object_id, columns in COLUMNS.items():
            pixels[:, object_id - 1, :, columns] = 255
        return pixels

    def read_masks(self, video: str, frames: Sequence[str], object_id: int) -> Tensor:
        masks = torch.zeros(len(frames), HEIGHT, WIDTH, dtype=torch.bool)
        masks[:, :, COLUMNS[object_id]] = True
        return masks

    def where(self, video: str, frame: str) -> str:
        return f"memory/{video}/{frame}"

    def visible(self, video: str, frame: str, object_id: int) -> bool:
        return True

    def problems(self) -> list[str]:
        return []

    def fingerprint(self) -> str:
        return "memory"


def memory_specs(source: MemorySource, seed: int = 0) -> list[EpisodeSpec]:
    """Two episodes for each of three classes, two queries each; the support is the class's first video."""
    specs = []
    for class_id in (1, 2, 3):
        support, *queries = source.videos(class_id)
        shown = ClipSpec(support, 1, source.names[:3], f"{support} thing 1", "1")
        for video in queries:
            asked = tuple(ClipSpec(video, e.object_id, source.names, e.text, e.id) for e in source.expressions(video))
            specs.append(
                EpisodeSpec("memory", 1, "test", seed, len(specs), class_id, f"class{class_id}", (shown,), asked)
            )
    return specs


def halve(clip: Clip, generator: torch.Generator) -> Clip:
    """Every second pixel, as float in 0..1: the network sees 4x8, the masks stay 8x16."""
    return replace(clip, frames=clip.frames[..., ::2, ::2].float() / 255)


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

    def encode_reference(self, supports: ClipBatch, shots: int) -> OracleState:
        self.calls.supports.append(supports)
        return OracleState(torch.stack([m[len(m) // 2] for m in supports.masks[::shots] if m is not None]))

    def forward(self, queries: ClipBatch, state: OracleState) -> Prediction:
        assert len(state.masks) == len(queries)
        n, t = queries.frames.shape[:2]
        self.calls.lengths.append(t)
        self.calls.expressions += queries.expressions
        self.calls.modes.append(self.training)
        channels = [int((expression or "1").split()[-1]) - 1 for expression in queries.expressions]
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

"""A tiny data set in memory, of which everything is known.

Frames are 8x16. The red channel of a frame is 255 on the object with id 1, the green one on the object with id 2.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor

from episodes.episode import ClipSpec, EpisodeSpec
from episodes.folds import Folds
from episodes.sources.base import Expression, Source

HEIGHT, WIDTH = 8, 16
COLUMNS = {1: slice(3, 10), 2: slice(12, 16)}  # where the objects are, over the full height


class MemorySource(Source):
    """Three classes of two query videos each (and one support video), five frames, two objects; counts what is read."""

    name = "memory"
    root = Path("memory")

    def __init__(self, frames: int = 5, classes: int = 3, groups: tuple[int, ...] = (1,)) -> None:
        self.names = tuple(f"{t:05d}" for t in range(frames))
        self.frames_read: list[str] = []
        names = tuple(f"class{k + 1}" for k in range(classes))
        self.folds = Folds("memory", names, groups=groups, test_only=True)

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

"""`Media`: an image or a video whose frames have not been read yet."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import torch
from torch import Tensor

FRAMES_PER_SECOND = 10.0  # of a preview, where the source does not say


@dataclass(frozen=True)
class Media:
    """An image or a video whose frames have not been read yet.

    Attributes:
        name: what messages call it.
        size: `(height, width)` of its frames in pixels.
        read: starts from the first frame and gives each as `(3, H, W)` uint8.
        still: whether it is an image; a video of one frame is none.
        length: number of frames; None where only reading to the end can tell.
        frame_names: their names; empty where they have none.
        frames_per_second: how fast it is meant to be seen.
    """

    name: str
    size: tuple[int, int]
    read: Callable[[], Iterator[Tensor]]
    still: bool = False
    length: int | None = None
    frame_names: tuple[str, ...] = ()
    frames_per_second: float = FRAMES_PER_SECOND

    def chunks(self, count: int) -> Iterator[tuple[tuple[str, ...], Tensor]]:
        """Names and frames `(T, 3, H, W)` uint8 of every `count` consecutive frames; the last may be fewer.

        Raises:
            ValueError: a frame cannot be read, or has another size than the first; or `count` is none.
        """
        if count < 1:
            raise ValueError(f"a chunk needs at least 1 frame, got {count}")
        frames = enumerate(self._checked())
        while some := list(islice(frames, count)):
            yield tuple(self.frame_name(index) for index, _ in some), torch.stack([frame for _, frame in some])

    def frames(self) -> Tensor:
        """All frames, `(T, 3, H, W)` uint8. Raises ValueError as `chunks`."""
        return torch.stack(list(self._checked()))

    def frame_name(self, index: int) -> str:
        """The name of a frame, its number in five digits where it has none."""
        return self.frame_names[index] if self.frame_names else f"{index:05d}"

    def _checked(self) -> Iterator[Tensor]:
        for index, frame in enumerate(self.read()):
            if tuple(frame.shape[-2:]) != self.size:
                raise ValueError(
                    f"{self.name}: frame {self.frame_name(index)} is {width_by_height(frame.shape[-2:])}, the first "
                    f"is {width_by_height(self.size)} (width x height): all frames of a video have one size"
                )
            yield frame


def width_by_height(size: Any) -> str:
    """`(height, width)` as people write it: `640x480`."""
    return f"{int(size[1])}x{int(size[0])}"

"""Endless training clips with all of their objects, as UniVS (Li et al., CVPR 2024) is trained."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from episodes.episode import ClipSpec
from episodes.sampling.tasks import Drawn, TaskEpisodes
from episodes.sources.task_source import EVERYTHING, TaskSource


class ObjectClipEpisodes(TaskEpisodes):
    """Clips of videos, or of images that stand still, which stand for all of their objects, and no support.

    Args:
        source: the data set.
        seed: of all draws.
        frames: of a clip.
        reach: frames to each side of one that is drawn, from which the others are drawn.
        again: a frame may be drawn more than once, as in the released training.

    Raises ValueError for a data set without any video, or for numbers below 1.
    """

    draws_as = "ClipsOfObjects"

    def __init__(self, source: TaskSource, *, seed: int, frames: int, reach: int = 40, again: bool = False) -> None:
        super().__init__(source, seed=seed)
        if min(frames, reach) < 1:
            raise ValueError(f"frames and reach must be at least 1, got {frames} and {reach}")
        self.num_frames, self.reach, self.again = frames, reach, again

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """No support, and a clip that stands for all of its objects."""
        video = self.name(generator)
        frames = near_frames(self.source.frames(video), self.num_frames, self.reach, self.again, generator)
        return None, (ClipSpec(video, EVERYTHING, frames),)


def near_frames(
    frames: Sequence[str], count: int, reach: int, again: bool, generator: np.random.Generator
) -> tuple[str, ...]:
    """A frame and `count - 1` others at most `reach` away, in time order; some more than once where there are fewer."""
    middle = int(generator.integers(len(frames)))
    near = [k for k in range(max(0, middle - reach), min(len(frames), middle + reach + 1)) if k != middle] or [middle]
    drawn = generator.choice(len(near), count - 1, replace=again or len(near) < count - 1)
    return tuple(frames[k] for k in sorted([middle, *(near[k] for k in drawn.tolist())]))

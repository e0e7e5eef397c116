"""Endless training episodes of expressions in clips, of which every frame is answered.

As ReferFormer (Wu et al., CVPR 2022) and SgMg (Miao et al., ICCV 2023) are trained: a sample is an expression with a
start in its video, and each comes once in a round. The frames around the start are drawn anew each time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from episodes.episode import ClipSpec
from episodes.sampling.tasks import Drawn, TaskEpisodes, clip
from episodes.seeding import rng
from episodes.sources.base import Expression, normalise
from episodes.sources.sentences import SentenceSource
from episodes.sources.task_source import TaskSource

NEAR = 3  # frames to each side of the start from which one is drawn


class ClipEpisodes(TaskEpisodes):
    """Clips of videos with words and without a support: `len(episodes)` samples make a round.

    Args:
        source: the data set.
        seed: of all draws.
        frames: of a clip; a start is every so many frames of a video.
        expressions: queries of an episode, all on the same frames: those of other objects come first, so that only the
            words tell the queries apart. With one, every expression of a video is a sample with each of its starts;
            with several a start is a sample, and the expressions are drawn.
        reverse: probability of a clip that runs backwards.
        repeat: frames may come twice in a clip, see `clip_frames`.

    Raises ValueError for a data set without any expression, or for numbers below 1.
    """

    def __init__(
        self,
        source: TaskSource,
        *,
        seed: int,
        frames: int = 5,
        expressions: int = 1,
        reverse: float = 0.0,
        repeat: bool = False,
    ) -> None:
        super().__init__(source, seed=seed)
        if min(frames, expressions) < 1:
            raise ValueError(f"frames and expressions must be at least 1, got {frames} and {expressions}")
        self.num_frames, self.num_expressions, self.reverse, self.repeat = frames, expressions, reverse, repeat
        said = {video: len(source.expressions(video)) for video in self.names}
        self.samples = [
            (video, start, number)
            for video, count in said.items()
            for start in range(0, len(source.frames(video)), frames)
            for number in range(count if expressions == 1 else min(count, 1))
        ]
        if not self.samples:
            raise ValueError(f"{source.name} ({source.split}) in {source.root} has no expression to learn from")
        self.rounds = Rounds(len(self.samples), "round", source.draws_as, source.split, seed)

    def __len__(self) -> int:
        """Samples of a round."""
        return len(self.samples)

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """No support, and the clip with the words of each query."""
        video, start, number = self.samples[self.rounds[index]]
        frames = clip_frames(self.source.frames(video), start, self.num_frames, generator, self.repeat)
        said = self.source.expressions(video)
        if self.num_expressions > 1:
            number = int(generator.integers(len(said)))
        asked = with_others(said, number, self.num_expressions, generator)
        if self.reverse and generator.random() < self.reverse:
            frames = frames[::-1]
        return None, tuple(clip(video, about, frames, words=True) for about in asked)


class SentenceClipEpisodes(TaskEpisodes):
    """Clips around frames that sentences are about, each asked for that frame alone (A2D-Sentences).

    A sample is a sentence; `len(episodes)` of them make a round. Frames are drawn as in `ClipEpisodes`.

    Args:
        source: the data set.
        seed: of all draws.
        frames: of a clip.
        repeat: frames may come twice in a clip, see `clip_frames`.
    """

    source: SentenceSource

    def __init__(self, source: SentenceSource, *, seed: int, frames: int = 5, repeat: bool = False) -> None:
        super().__init__(source, seed=seed)
        if frames < 1:
            raise ValueError(f"frames must be at least 1, got {frames}")
        self.num_frames, self.repeat, self.samples = frames, repeat, list(source.items())
        self.rounds = Rounds(len(self.samples), "round", source.draws_as, source.split, seed)

    def __len__(self) -> int:
        """Samples of a round."""
        return len(self.samples)

    def draw(self, index: int, generator: np.random.Generator) -> Drawn:
        """No support, and the clip with its sentence."""
        item = self.samples[self.rounds[index]]
        names = [f"{number:05d}" for number in range(1, self.source.length(item.video) + 1)]
        if item.frame not in names:
            raise ValueError(
                f"{self.source.name}: video {item.video!r} ends before frame {int(item.frame)}, which "
                f"{self.source.list_path} names: restore the video, or correct the list"
            )
        frames = clip_frames(names, names.index(item.frame), self.num_frames, generator, self.repeat)
        text, asked = normalise(item.text), frames.index(item.frame)
        return None, (ClipSpec(item.video, item.object_id, frames, text, item.expression_id, asked),)


class Rounds:
    """Places `0..count-1` in rounds: `rounds[i]` is a place, each comes once in every `count` indices.

    Args:
        count: of places.
        keys: of the draw of the order, which is another one in each round.
    """

    def __init__(self, count: int, *keys: str | int) -> None:
        self.count, self.keys = count, keys
        self._last: tuple[int, np.ndarray] = (-1, np.zeros(0, int))

    def __getitem__(self, index: int) -> int:
        turn, place = divmod(index, self.count)
        if self._last[0] != turn:
            self._last = turn, rng(*self.keys, turn).permutation(self.count)
        return int(self._last[1][place])


def clip_frames(
    frames: Sequence[str], start: int, count: int, generator: np.random.Generator, repeat: bool = False
) -> tuple[str, ...]:
    """`count` of the frames of a video in time order, the one at `start` among them.

    With it one of the three before it and one of the three after it, and the rest from before and after these; no
    frame twice unless the video is too short.

    Args:
        repeat: as in the released code of ReferFormer and SgMg: at an end of the video the end itself stands for the
            neighbour, and the last chosen frame is among those that the rest is drawn from.
    """
    if repeat:
        return tuple(frames[k] for k in sorted(_with_repeats(len(frames), start, count, generator)))
    near = (start - int(generator.integers(1, NEAR + 1)), start + int(generator.integers(1, NEAR + 1)))
    chosen = [start, *(k for k in near if 0 <= k < len(frames))][:count]
    beyond = [k for k in range(len(frames)) if not min(chosen) <= k <= max(chosen)]
    rest = beyond if len(chosen) + len(beyond) >= count else [k for k in range(len(frames)) if k not in chosen]
    chosen += [rest[k] for k in generator.permutation(len(rest))[: count - len(chosen)]]
    chosen += [int(generator.integers(len(frames))) for _ in range(count - len(chosen))]
    return tuple(frames[k] for k in sorted(chosen))


def _with_repeats(length: int, start: int, count: int, generator: np.random.Generator) -> list[int]:
    before = max(0, start - int(generator.integers(1, NEAR + 1)))
    after = min(length - 1, start + int(generator.integers(1, NEAR + 1)))
    chosen = [start, before, after][:count]
    missing = count - len(chosen)
    rest = [*range(before), *range(after, length)]
    if len(rest) <= missing:
        rest = list(range(length))
    return chosen + [int(k) for k in generator.choice(rest, missing, replace=len(rest) < missing)]


def with_others(said: Sequence[Expression], first: int, count: int, generator: np.random.Generator) -> list[Expression]:
    """Expression `first` and `count - 1` others, those of other objects before those of its own."""
    others = [said[k] for k in generator.permutation(len(said)) if k != first] or [said[first]]
    others.sort(key=lambda e: e.object_id == said[first].object_id)
    return [said[first], *(others[k % len(others)] for k in range(count - 1))]

"""`Mixture`: endless episodes of several tasks and data sets, one of them in each batch."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

from episodes.episode import Episode
from episodes.sampling.tasks import AGAIN
from episodes.seeding import rng

TRIES = 8  # draws of an episode whose object is still visible after the augmentation


class Episodes(Protocol):
    """Endless loaded episodes, such as an `EpisodeDataset` of an endless list."""

    def __getitem__(self, index: int, /) -> Episode: ...


@dataclass(frozen=True)
class MixturePart:
    """A task on a data set and its fraction of the batches.

    Attributes:
        name: for the log.
        episodes: endless; `episodes[i]` is a pure function of `i`.
        ratio: how often it is drawn, relative to the others.
    """

    name: str
    episodes: Episodes
    ratio: float


class Mixture:
    """`mixture[i]` for every `i >= 0`, a pure function of (seed, i).

    Indices `k * batch` to `(k + 1) * batch - 1` come from one part, which is drawn by the ratios: a batch holds one
    task and one data set. An episode whose object the augmentation cut away is drawn again, a bounded number of times.

    Args:
        parts: with ratios above 0.
        batch: episodes of a batch.
        seed: of the draw of parts.

    Raises ValueError for no parts, or a ratio or batch that is not positive.
    """

    def __init__(self, parts: Sequence[MixturePart], *, batch: int, seed: int) -> None:
        bad = [f"{part.name}: {part.ratio:g}" for part in parts if not part.ratio > 0]
        if not parts or bad:
            raise ValueError(f"a mixture needs parts with ratios above 0, got {', '.join(bad) or 'no part'}")
        if batch < 1:
            raise ValueError(f"batch must be at least 1, got {batch}")
        self.parts, self.batch, self.seed = tuple(parts), batch, seed
        self._limits = list(accumulate(part.ratio for part in parts))

    def part(self, index: int) -> MixturePart:
        """The part that episode `index` comes from."""
        if index < 0:
            raise IndexError(f"episodes are counted from 0, got {index}")
        place = rng("mixture", self.seed, index // self.batch).random() * self._limits[-1]
        return next(part for part, limit in zip(self.parts, self._limits, strict=True) if place < limit)

    def __getitem__(self, index: int) -> Episode:
        episodes = self.part(index).episodes
        drawn = (episodes[index + attempt * AGAIN] for attempt in range(TRIES))
        episode = next(drawn)
        while not shows(episode) and (other := next(drawn, None)) is not None:
            episode = other
        return episode


def shows(episode: Episode) -> bool:
    """True if every support shows the object, and at least one query frame does."""
    supports = all(clip.masks is not None and bool(clip.masks.any()) for clip in episode.supports)
    return supports and all(clip.valid is not None and bool(clip.valid.any()) for clip in episode.queries)

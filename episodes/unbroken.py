"""A data set that goes on where an episode cannot be read."""

from __future__ import annotations

from dataclasses import replace
from typing import Protocol

from episodes.episode import Episode

TRIES = 8  # episodes in the place of one
FAR = 2**40  # between an episode and the one that takes its place: further than any training goes


class Endless(Protocol):
    """Episodes by index, for every index of at least 0."""

    def __getitem__(self, index: int, /) -> Episode: ...


class Unbroken:
    """The same episodes, but in the place of one that cannot be read another one, which is a function of its index too.

    What was broken is told in `Episode.problems`, in the words of the error. Nothing else changes.

    Args:
        episodes: endless ones.
    """

    def __init__(self, episodes: Endless) -> None:
        self.episodes = episodes

    def __getitem__(self, index: int, /) -> Episode:
        """Episode `index`. Raises the last error where no episode in its place can be read either."""
        problems: list[str] = []
        for k in range(TRIES):
            try:
                episode = self.episodes[index + k * FAR]
            except (ValueError, OSError) as error:  # broken and missing files
                problems.append(f"episode {index}: {error}")
                if k == TRIES - 1:
                    raise
            else:
                return replace(episode, problems=tuple(problems)) if problems else episode
        raise AssertionError("the loop returns or raises")

"""The best and the worst episodes of a test, by its recorded scores."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from benchmarks.protocols import get_protocol
from benchmarks.protocols.videos import Protocol
from benchmarks.scores.scores import ImageScore, Score
from episodes.episode import EpisodeSpec


@dataclass(frozen=True)
class Chosen:
    """An episode that is shown.

    Attributes:
        scores: of its queries.
        values: their measure in 0..1.
        best: whether it is one of the best, else of the worst.
    """

    scores: tuple[Score, ...]
    values: tuple[float, ...]
    best: bool

    @property
    def value(self) -> float:
        """Mean over its queries."""
        return sum(self.values) / len(self.values)

    def queries(self, number: int) -> list[int]:
        """Indices of its `number` best queries, or of its worst ones, in the order of the episode."""
        ranked = sorted(range(len(self.values)), key=lambda n: self.values[n], reverse=self.best)
        return sorted(ranked[:number])

    @property
    def place(self) -> tuple[int, int, int]:
        """Group, seed and index of the episode."""
        return place_of(self.scores[0])


def place_of(episode: Score | EpisodeSpec) -> tuple[int, int, int]:
    """Group, seed and index of an episode, which name it within a test."""
    index = episode.index if isinstance(episode, EpisodeSpec) else episode.episode
    return episode.group, episode.seed, index


def best_and_worst(scores: Sequence[Score], protocol: str, number: int) -> tuple[list[Chosen], list[Chosen]]:
    """`number` episodes with the highest and with the lowest mean over their queries, the extreme one first.

    A query video or image is shown once in each list, and no episode in both. Equal scores stay in the order of the
    episodes. Probes do not count.
    """
    episodes: dict[tuple[int, int, int], list[Score]] = {}
    for score in scores:
        if score.probe == "":
            episodes.setdefault(place_of(score), []).append(score)
    found = [Chosen(tuple(own), tuple(_value(score, protocol) for score in own), True) for own in episodes.values()]
    best = _first(sorted(found, key=lambda one: -one.value), number)
    shown = {one.place for one in best}
    others = [replace(one, best=False) for one in found if one.place not in shown]
    return best, _first(sorted(others, key=lambda one: one.value), number)


def _value(score: Score, protocol: str) -> float:
    """J of a query as the protocol measures it, or the IoU of an image."""
    if isinstance(score, ImageScore):
        return score.inter_fg / score.union_fg if score.union_fg else 1.0
    rules = get_protocol(protocol)
    assert isinstance(rules, Protocol)  # a report has scores of its protocol's kind
    value: float = getattr(score, rules.scores[0])
    return value


def _first(ranked: Sequence[Chosen], number: int) -> list[Chosen]:
    """The first ones of different query videos or images."""
    by_video: dict[str, Chosen] = {}
    for one in ranked:
        by_video.setdefault(one.scores[0].unit, one)
    return list(by_video.values())[:number]

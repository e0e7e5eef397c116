"""Pools of videos or images that may be drawn for a class: large enough, less those set apart for validation."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence

import numpy as np

from episodes.catalogue import draws_as
from episodes.episode import EpisodeSpec
from episodes.folds import Folds
from episodes.seeding import derive

log = logging.getLogger(__name__)

VAL_SHARE = 5  # one in so many videos of a training class is set apart for validation
SHOWN = 20  # names in a message before the others are counted only

Pools = Mapping[int, Sequence[str]]


class NotFeasible(ValueError):
    """No class of a group has enough videos for an episode."""


def held_apart(name: str, pools: Pools, shots: int) -> frozenset[str]:
    """Videos of the training classes that are set apart for validation: about a fifth of each class, by hash.

    A class gives videos only if `shots + 1` remain on both sides. A video of several classes is on one side for all of
    them. No seed enters.

    Args:
        name: the word from which the benchmark's draws are derived.
        pools: class id -> its training videos.
        shots: supports of an episode.
    """
    need = shots + 1
    owners: dict[str, list[int]] = {}
    for class_id, videos in pools.items():
        for video in videos:
            owners.setdefault(video, []).append(class_id)
    spare = {class_id: len(videos) - need for class_id, videos in pools.items()}
    held: set[str] = set()
    for class_id, videos in pools.items():
        wanted = max(need, round(len(videos) / VAL_SHARE))
        left, chosen = dict(spare), {v for v in videos if v in held}
        for video in sorted(videos, key=lambda v: derive("val", name, class_id, v)):
            mine = [c for c in owners[video] if len(pools[c]) >= need]
            if len(chosen) < wanted and video not in chosen and all(left[c] > 0 for c in mine):
                chosen.add(video)
                left.update({c: left[c] - 1 for c in mine})
        if len(chosen) >= need:
            held, spare = held | chosen, left
    return frozenset(held)


def feasible(
    pools: Pools, shots: int, folds: Folds, what: str, noun: str = "video", need: int | None = None
) -> tuple[int, ...]:
    """The classes with enough videos for an episode: `need` of them, by default `shots + 1`.

    Warns of the others; raises NotFeasible if there is none.
    """
    need = shots + 1 if need is None else need
    if not pools:
        raise NotFeasible(
            f"{what}: the class lists of {folds.name} name no class for them; give complete lists as data.lists "
            f"(trn.txt, val.txt and test.txt, or fss_test_set.txt)"
        )
    short: dict[int, list[str]] = {}
    for class_id, videos in pools.items():
        if len(videos) < need:
            short.setdefault(len(videos), []).append(folds.class_name(class_id))
    counts = "; ".join(f"{n} {noun}{'s' * (n != 1)}: {_some(short[n])}" for n in sorted(short, reverse=True))
    rule = f"{what} with {shots} shot{'s' * (shots > 1)} need {need} {noun}s of a class"
    if all(len(videos) < need for videos in pools.values()):
        raise NotFeasible(f"{rule}, and no class has them ({counts}): use fewer shots, another group, or more data")
    if short:
        log.warning("%s; left out: %s", rule, counts)
    return tuple(c for c in pools if len(pools[c]) >= need)


def _some(names: Sequence[str]) -> str:
    more = len(names) - SHOWN
    return ", ".join(names[:SHOWN]) + (f" and {more} more" if more > 0 else "")


def spread(specs: Sequence[EpisodeSpec], limit: int, seed: int) -> list[EpisodeSpec]:
    """`limit` of the episodes, class after class in turn; a smaller limit gives a subset of a larger one."""
    rank: dict[int, int] = {}
    keyed = []
    for spec in sorted(
        specs, key=lambda s: derive("limit", draws_as(s.benchmark), seed, s.class_id, s.queries[0].video)
    ):
        turn = rank.get(spec.class_id, 0)
        rank[spec.class_id] = turn + 1
        keyed.append((turn, derive("limit", draws_as(spec.benchmark), seed, turn, spec.class_id), spec))
    chosen = sorted(keyed, key=lambda k: k[:2])[:limit]
    return sorted((spec for *_, spec in chosen), key=lambda s: s.index)


def positive(name: str, value: int) -> None:
    """Raise ValueError unless `value` is a whole number of at least 1."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"{name} must be a whole number of at least 1, got {value!r}")

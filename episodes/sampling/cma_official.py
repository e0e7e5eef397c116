"""Episodes as CMA's released code draws them, with its quirks, from Python's `random`.

A video belongs to the class of its last expression's object, so an object may be of another class. The test episodes
are those of protocol `cma`. The training episodes come class by class, 100 in a row; use them with
`MiniRefSource(..., class_of_last_expression=True, exchange_box_limits=True)`.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping, Sequence

from episodes.episode import ClipSpec, EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.pools import feasible, positive, spread
from episodes.sampling.videos import check, test_episodes, window
from episodes.seeding import derive
from episodes.sources.base import Source, normalise

PER_CLASS = 100  # consecutive episodes of one class


class CMATrainEpisodes:
    """Training episodes in the released code's order: class `i // 100`, unshuffled, one support video.

    The released code draws from one global generator; here each episode has its own, derived from (seed, i).

    Args:
        source: the data set, opened with `class_of_last_expression=True`.
        folds: its folds.
        group: the fold.
        seed: of all draws.
        query_frames: frames of the query clip.
        support_frames: frames of the support clip.

    The released code cannot draw from a class with fewer than two videos; the next class that has them takes its place.

    Raises ValueError when no class has two videos.
    """

    def __init__(
        self,
        source: Source,
        folds: Folds,
        group: int,
        *,
        seed: int,
        query_frames: int = 5,
        support_frames: int = 5,
    ) -> None:
        self.source, self.folds, self.group, self.seed = source, folds, group, seed
        self.query_frames, self.support_frames = query_frames, support_frames
        self.pools = {c: source.videos(c) for c in folds.train_classes(group)}
        self.classes = folds.train_classes(group)
        self.usable = feasible(self.pools, 1, folds, f"CMA's training episodes of group {group}")
        check(source, (v for c in self.usable for v in self.pools[c]))

    def __len__(self) -> int:
        """Episodes of an epoch; larger indices are further epochs."""
        return PER_CLASS * len(self.classes)

    def __getitem__(self, index: int) -> EpisodeSpec:
        if index < 0:
            raise IndexError(f"episodes are counted from 0, got {index}")
        return self.draw(index, random.Random(derive("official", self.source.draws_as, self.group, self.seed, index)))

    def draw(self, index: int, draws: random.Random) -> EpisodeSpec:
        """Episode `index`, drawn from `draws` in the released code's order: query, support, then each clip."""
        wanted = self.classes[index % len(self) // PER_CLASS]
        class_id = next((c for c in self.usable if c >= wanted), self.usable[0])
        pool = self.pools[class_id]
        query = draws.choice(pool)
        support = draws.choice([v for v in pool if v != query])
        clip = draw_cma_clip(self.source, query, draws, self.query_frames)
        return EpisodeSpec(
            benchmark=self.source.name,
            group=self.group,
            split="train",
            seed=self.seed,
            index=index,
            class_id=class_id,
            class_name=self.folds.class_name(class_id),
            supports=(draw_cma_clip(self.source, support, draws, self.support_frames),),
            queries=(clip,),
        )


def cma_test_episodes(
    source: Source,
    folds: Folds,
    group: int,
    *,
    shots: int = 1,
    seed: int,
    support_frames: int = 5,
    limit: int | None = None,
) -> list[EpisodeSpec]:
    """The official test episodes: the supports of a class, and every expression of every other video of the class.

    The expressions of a video that refer to objects of other classes are asked for too, and no support window is drawn
    again, as in the released code. Any way of opening the source gives the same list.

    Args:
        source: the data set.
        folds: its folds.
        group: the fold.
        shots: support videos per class; officially 1.
        seed: of the supports.
        support_frames: consecutive frames of each support clip.
        limit: None for all, else that many, as `episodes.sampling.videos.test_episodes` takes them.

    Raises ValueError for a wrong argument, a broken annotation, or when no class has `shots + 1` videos.
    """
    positive("shots", shots)
    positive("support_frames", support_frames)
    if limit is not None:
        positive("limit", limit)
    draws = random.Random(seed)
    pools = {c: of_last_expression(source, c) for c in folds.test_classes(group)}
    classes = feasible(pools, shots, folds, f"CMA's test episodes of group {group}")
    chosen = draw_cma_supports(pools, draws, shots)
    specs: list[EpisodeSpec] = []
    for class_id in classes:
        clips = tuple(draw_cma_clip(source, video, draws, support_frames) for video in chosen[class_id])
        for video in (v for v in pools[class_id] if v not in chosen[class_id]):
            queries = tuple(
                ClipSpec(video, e.object_id, source.frames(video), normalise(e.text), e.id)
                for e in source.expressions(video)
            )
            name = folds.class_name(class_id)
            specs.append(EpisodeSpec(source.name, group, "test", seed, len(specs), class_id, name, clips, queries))
    return specs if limit is None else spread(specs, limit, seed)


def of_last_expression(source: Source, class_id: int) -> tuple[str, ...]:
    """The videos whose last expression is about an object of the class. Raises ValueError for a broken annotation."""
    return tuple(v for v in source.videos(class_id) if source.expressions(v)[-1].class_id == class_id)


def draw_cma_supports(
    pools: Mapping[int, Sequence[str]], draws: random.Random, shots: int = 1
) -> dict[int, tuple[str, ...]]:
    """The support videos of each class; the pools are sorted first, which the released code forgot (its sets are not).

    A class draws even if it has too few videos for a query, as in the released code, so that the others draw the same
    whether it is tested or not.
    """
    return {c: tuple(draws.sample(sorted(pool), min(shots, len(pool)))) for c, pool in pools.items()}


def draw_cma_clip(source: Source, video: str, draws: random.Random, count: int) -> ClipSpec:
    """A clip, drawn in the released code's order: an object by an expression, an expression of the object, frames."""
    said = source.expressions(video)
    object_id = draws.choice(said).object_id
    expression = draws.choice([e for e in said if e.object_id == object_id])
    frames = source.frames(video)
    chosen = window(frames, draws.randint(0, len(frames) - 1), count)
    return ClipSpec(video, object_id, chosen, normalise(expression.text), expression.id)


# The lists of test episodes of videos by name, see `benchmarks.protocols.videos.Protocol.queries`.
TEST_LISTS: dict[str, Callable[..., list[EpisodeSpec]]] = {"clean": test_episodes, "cma": cma_test_episodes}

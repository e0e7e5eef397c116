"""Draws episodes by name. Episode `i` is a pure function of (benchmark, group, split, shots, seed, i)."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np

from episodes.episode import ClipSpec, EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.pools import feasible, held_apart, positive, spread
from episodes.seeding import rng
from episodes.sources.base import Expression, Source, normalise

TRIES = 16  # draws of a clip before one that does not show its object is accepted


class TrainEpisodes:
    """Endless episodes of a fold's training classes; `episodes[i]` is the same whenever it is asked for.

    Each class comes once in every round of as many episodes as there are classes, in an order that the seed shuffles.
    A video that has an expression for a test class of the fold is never used.

    Args:
        source: the data set.
        folds: its folds.
        group: the fold.
        split: `train`, or `val` for the videos of the same classes that are set apart for validation.
        shots: support videos per episode, 1 or more.
        seed: of all draws. The validation videos do not depend on it.
        query_frames: consecutive frames of the query clip.
        support_frames: consecutive frames of each support clip.
        expressions: query expressions per episode, all for the same frames: those of other objects of the class come
            first, so that only the words tell the queries apart.
        twin_share: share of the episodes, 0 to 1, whose query video shows a twin of its object; None: as it comes.

    Raises ValueError for a wrong argument, a broken annotation, or when no class has `shots + 1` videos.
    """

    def __init__(
        self,
        source: Source,
        folds: Folds,
        group: int,
        split: str,
        *,
        shots: int,
        seed: int,
        query_frames: int,
        support_frames: int,
        expressions: int = 1,
        twin_share: float | None = None,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}; test episodes come from test_episodes")
        for name, count in (
            ("shots", shots),
            ("query_frames", query_frames),
            ("support_frames", support_frames),
            ("expressions", expressions),
        ):
            positive(name, count)
        if folds.test_only:
            raise ValueError(f"benchmark {folds.name} is for testing only: train on another one")
        self.source, self.folds, self.group, self.split = source, folds, group, split
        self.shots, self.seed = shots, seed
        self.query_frames, self.support_frames, self.num_expressions = query_frames, support_frames, expressions
        self.twin_share = twin_share
        held = validation_videos(source, folds, group, shots)
        self.pools = {
            class_id: tuple(v for v in videos if (v in held) == (split == "val"))
            for class_id, videos in training_videos(source, folds, group).items()
        }
        self.classes = feasible(self.pools, shots, folds, f"{split} episodes of group {group}")
        check(source, (v for c in self.classes for v in self.pools[c]))
        self.twinned = {} if twin_share is None else {c: twinned(source, self.pools[c], c) for c in self.classes}

    def __getitem__(self, index: int) -> EpisodeSpec:
        if index < 0:
            raise IndexError(f"episodes are counted from 0, got {index}")
        name, n = self.source.name, len(self.classes)
        keys = (self.source.draws_as, self.group, self.split, self.shots, self.seed)
        turn, place = divmod(index, n)
        class_id = self.classes[rng("classes", *keys, turn).permutation(n)[place]]
        draw = rng("episode", *keys, index)
        query, *supports = self._videos(class_id, draw)
        return EpisodeSpec(
            benchmark=name,
            group=self.group,
            split=self.split,
            seed=self.seed,
            index=index,
            class_id=class_id,
            class_name=self.folds.class_name(class_id),
            supports=tuple(draw_support(self.source, v, class_id, draw, self.support_frames) for v in supports),
            queries=self._queries(query, class_id, draw),
        )

    def _videos(self, class_id: int, draw: np.random.Generator) -> list[str]:
        """The query video and `shots` support videos of an episode, all different."""
        pool = self.pools[class_id]
        order = [pool[k] for k in draw.permutation(len(pool))]
        if self.twin_share is not None:
            wanted, having = draw.random() < self.twin_share, self.twinned[class_id]
            query = next((v for v in order if (v in having) == wanted), order[0])  # a class may have none of the kind
            order = [query, *(v for v in order if v != query)]
        return order[: self.shots + 1]

    def _queries(self, video: str, class_id: int, draw: np.random.Generator) -> tuple[ClipSpec, ...]:
        first = _draw_clip(self.source, video, class_id, draw, self.query_frames, any)
        said = _of_class(self.source, video, class_id)
        order = draw.permutation(len(said))
        others = [said[k] for k in order if said[k].id != first.expression_id] or said
        others.sort(key=lambda e: e.object_id == first.object_id)
        more = (others[k % len(others)] for k in range(self.num_expressions - 1))
        return (first, *(_clip(video, e, first.frames) for e in more))


def test_episodes(
    source: Source,
    folds: Folds,
    group: int,
    *,
    shots: int,
    seed: int,
    support_frames: int,
    limit: int | None = None,
) -> list[EpisodeSpec]:
    """The test episodes of a fold: one per query video, with all its expressions of the class and all its frames.

    `shots` support videos are drawn once per class and seed, and serve every query of the class; every other video of
    the class is a query. The supports of fewer shots are the first ones of more shots.

    Args:
        source: the data set.
        folds: its folds.
        group: the fold.
        shots: support videos per class.
        seed: of the support draw.
        support_frames: consecutive frames of each support clip.
        limit: None for all, else that many, spread evenly over the classes and drawn by the seed; a smaller limit gives
            a subset of a larger one. Episodes keep the index that they have without a limit.

    Raises ValueError for a wrong argument, a broken annotation, or when no class has `shots + 1` videos.
    """
    positive("shots", shots)
    positive("support_frames", support_frames)
    if limit is not None:
        positive("limit", limit)
    pools = {c: source.videos(c) for c in folds.test_classes(group)}
    classes = feasible(pools, shots, folds, f"test episodes of group {group}")
    check(source, (v for c in classes for v in pools[c]))
    specs: list[EpisodeSpec] = []
    for class_id in classes:
        specs += _class_test(source, folds, group, class_id, shots, seed, support_frames, first=len(specs))
    return specs if limit is None else spread(specs, limit, seed)


def _class_test(
    source: Source, folds: Folds, group: int, class_id: int, shots: int, seed: int, support_frames: int, first: int
) -> list[EpisodeSpec]:
    pool = source.videos(class_id)
    keys = (source.draws_as, seed, class_id)
    order = rng("test", *keys).permutation(len(pool))
    videos = [pool[k] for k in order[:shots]]
    supports = tuple(draw_support(source, v, class_id, rng("test", *keys, v), support_frames) for v in videos)
    queries = [v for v in pool if v not in videos]
    return [
        EpisodeSpec(
            benchmark=source.name,
            group=group,
            split="test",
            seed=seed,
            index=first + k,
            class_id=class_id,
            class_name=folds.class_name(class_id),
            supports=supports,
            queries=tuple(_clip(v, e, source.frames(v)) for e in _of_class(source, v, class_id)),
        )
        for k, v in enumerate(queries)
    ]


def training_videos(source: Source, folds: Folds, group: int) -> dict[int, tuple[str, ...]]:
    """The videos of each training class, less those that have an expression for a test class."""
    held_out = {v for c in folds.test_classes(group) for v in source.videos(c)}
    return {c: tuple(v for v in source.videos(c) if v not in held_out) for c in folds.train_classes(group)}


def validation_videos(source: Source, folds: Folds, group: int, shots: int) -> frozenset[str]:
    """Videos of the training classes that are set apart for validation, see `held_apart`."""
    return held_apart(source.draws_as, training_videos(source, folds, group), shots)


def twinned(source: Source, videos: Iterable[str], class_id: int) -> frozenset[str]:
    """Those of the videos in which an object of the class that has an expression has a twin."""
    return frozenset(
        v
        for v in videos
        if any(source.twins(v, object_id) for object_id in {e.object_id for e in _of_class(source, v, class_id)})
    )


def check(source: Source, videos: Iterable[str]) -> None:
    """Raise ValueError now, not in the middle of a run, if the annotation of a video that will be used is broken."""
    for video in videos:
        source.expressions(video)


def draw_support(source: Source, video: str, class_id: int, draw: np.random.Generator, count: int) -> ClipSpec:
    """A support clip: if possible one whose middle frame, which CMA attends to, shows the object."""
    return _draw_clip(source, video, class_id, draw, count, lambda seen: seen[len(seen) // 2])


def window(frames: Sequence[str], end: int, count: int) -> tuple[str, ...]:
    """`count` consecutive frames that end at index `end`, or the first `count` if there are not so many before it.

    A shorter video gives all its frames, the last one repeated (CMA's data set).
    """
    if len(frames) < count:
        return (*frames, *[frames[-1]] * (count - len(frames)))
    start = 0 if end < count else end - count + 1
    return tuple(frames[start : start + count])


def _draw_clip(
    source: Source,
    video: str,
    class_id: int,
    draw: np.random.Generator,
    count: int,
    good: Callable[[list[bool]], bool],
) -> ClipSpec:
    """A random expression and window; drawn again, a bounded number of times, until `good` of the visible frames."""
    said, frames = _of_class(source, video, class_id), source.frames(video)
    fallback = None
    for _ in range(TRIES):
        expression = said[draw.integers(len(said))]
        chosen = window(frames, int(draw.integers(len(frames))), count)
        seen = [source.visible(video, f, expression.object_id) for f in chosen]
        clip = _clip(video, expression, chosen)
        if good(seen):
            return clip
        if fallback is None or (any(seen) and not fallback[0]):
            fallback = (any(seen), clip)
    assert fallback is not None
    return fallback[1]


def _clip(video: str, expression: Expression, frames: tuple[str, ...]) -> ClipSpec:
    return ClipSpec(video, expression.object_id, frames, normalise(expression.text), expression.id)


def _of_class(source: Source, video: str, class_id: int) -> list[Expression]:
    return [e for e in source.expressions(video) if e.class_id == class_id]

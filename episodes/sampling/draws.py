"""Draws of the queries and supports of a test on images: each from its own index, or the whole list from one stream.

A stream repeats the draws of a released program: one generator is seeded once and goes through the list, so that an
episode depends on all before it. It is drawn up front, whole, and an episode remains a function of seed and index.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

import numpy as np

from episodes.seeding import rng

QUERIES = ("list", "images", "uniform", "each", "first")
SUPPORTS = ("distinct", "repeats")
DRAWS = ("indexed", "stream", "official")

Pair = tuple[int, str]  # class id and image
Item = TypeVar("Item")


@dataclass(frozen=True)
class TestImages:
    """Images that the test of a fold may draw.

    Attributes:
        pools: class id -> its images, sorted.
        shown: image -> the classes of `pools` that it shows, ascending, by any pixel, of all images in `pools`.
    """

    pools: Mapping[int, Sequence[str]]
    shown: Mapping[str, Sequence[int]]

    def pairs(self) -> list[Pair]:
        """Every class with every image of its pool, class after class."""
        return [(c, image) for c, pool in self.pools.items() for image in pool]

    def listed(self) -> list[Pair]:
        """The pairs in order of image name and class."""
        return sorted(self.pairs(), key=lambda pair: (pair[1], pair[0]))

    def size(self, queries: str) -> int:
        """Length of the list that `queries` goes through: images, or pairs."""
        return len(self.shown) if queries == "images" else len(self.pairs())


@dataclass(frozen=True)
class Draw:
    """A query with its class; `supports()` draws its supports."""

    class_id: int
    query: str
    supports: Callable[[], Sequence[str]]


def check_draws(queries: str, supports: str, draws: str) -> None:
    """Raise ValueError for an unknown word, or for the stream or list of a program of which it is not known."""
    for name, value, valid in (
        ("queries", queries, QUERIES),
        ("supports", supports, SUPPORTS),
        ("draws", draws, DRAWS),
    ):
        if value not in valid:
            raise ValueError(f"{name} must be one of {', '.join(valid)}, got {value!r}")
    if draws != "indexed" and (queries, supports) not in STREAMS:
        raise ValueError(
            f"draws={draws} is known of HSNet on PASCAL-5i (queries=list, supports=repeats) and of PFENet "
            f"(queries=images, supports=distinct), not of queries={queries}, supports={supports}: take draws=indexed"
        )


def indexed_draws(
    name: str,
    group: int,
    seed: int,
    images: TestImages,
    *,
    shots: int,
    queries: str,
    supports: str,
    count: int | None,
) -> list[Draw]:
    """Each query and its supports from a generator of their own. Arguments as of `image_test_episodes`."""
    others = partial(_supports, (name, group, seed), images, shots, "first" if queries == "first" else supports)
    pairs = _queries((name, group, seed), images, queries, count)
    return [Draw(*pair, partial(others, turn, pair)) for turn, pair in pairs]


def stream_draws(
    seed: int, images: TestImages, *, shots: int, queries: str, supports: str, count: int | None
) -> list[Draw]:
    """All queries and supports in the order in which a released program draws them, see `STREAMS`."""
    number = images.size(queries) if count is None else count
    rows = STREAMS[queries, supports](seed, images, shots)
    return [Draw(*pair, partial(list, chosen)) for pair, chosen in (next(rows) for _ in range(number))]


def _queries(
    keys: tuple[str, int, int], images: TestImages, queries: str, count: int | None
) -> Iterator[tuple[int, Pair]]:
    """(turn, pair) of every episode; `turn` tells the passes over the list apart."""
    if queries in ("each", "first"):
        yield from ((0, pair) for pair in images.pairs())
        return
    size = images.size(queries)
    listed, names, classes = images.listed(), list(images.shown), list(images.pools)
    for i in range(size if count is None else count):
        turn, place = divmod(i, size)
        if queries == "list":
            yield turn, listed[place]
        elif queries == "images":
            image = names[place]
            yield turn, (_any(images.shown[image], rng("image class", *keys, turn, image)), image)
        else:
            draw = rng("image query", *keys, i)
            class_id = _any(classes, draw)
            yield i, (class_id, _any(images.pools[class_id], draw))


def _any(items: Sequence[Item], draw: np.random.Generator) -> Item:
    return items[int(draw.integers(len(items)))]


def _supports(
    keys: tuple[str, int, int], images: TestImages, shots: int, supports: str, turn: int, pair: Pair
) -> list[str]:
    """`shots` other images of the class; the first one is the same with and without repeats."""
    class_id, query = pair
    others = [image for image in images.pools[class_id] if image != query]
    if supports == "first":
        return others[:shots]
    draw = rng("image supports", *keys, turn, class_id, query)
    order = [int(k) for k in draw.permutation(len(others))]
    if supports == "repeats":
        order = [order[0], *(int(draw.integers(len(others))) for _ in range(shots - 1))]
    return [others[k] for k in order[:shots]]


def _numpy_stream(seed: int, images: TestImages, shots: int) -> Iterator[tuple[Pair, list[str]]]:
    """HSNet's test on PASCAL-5i (Min et al., ICCV 2021): pairs in order, supports by `numpy.random.choice`.

    Supports come one by one from the whole pool of the class, repeats allowed; the query itself is drawn again.
    """
    draw = np.random.RandomState(seed)
    pairs = images.listed()
    while True:
        for class_id, query in pairs:
            pool, chosen = images.pools[class_id], list[str]()
            while len(chosen) < shots:
                # without replacement: of one draw the same law, but another place in the stream
                image = pool[int(draw.choice(len(pool), 1, replace=False)[0])]
                if image != query:
                    chosen.append(image)
            yield (class_id, query), chosen


def _python_stream(seed: int, images: TestImages, shots: int) -> Iterator[tuple[Pair, list[str]]]:
    """PFENet's test (Tian et al., TPAMI 2020): images in order, class and supports by Python's `random.randint`.

    The first draw of every support is thrown away; then it is drawn until it is neither the query nor taken.
    """
    draw = random.Random(seed)
    while True:
        for query, classes in images.shown.items():
            class_id = classes[draw.randint(1, len(classes)) - 1]
            pool, chosen = images.pools[class_id], list[str]()
            for _ in range(shots):
                draw.randint(1, len(pool))
                image = query
                while image == query or image in chosen:
                    image = pool[draw.randint(1, len(pool)) - 1]
                chosen.append(image)
            yield (class_id, query), chosen


STREAMS = {("list", "repeats"): _numpy_stream, ("images", "distinct"): _python_stream}

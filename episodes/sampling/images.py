"""Draws episodes of still images. Episode `i` is a pure function of (benchmark, group, split, seed, i)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from episodes.episode import ClipSpec, EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.pools import feasible, held_apart, positive, spread
from episodes.seeding import rng
from episodes.sources.images import FRAME, ImageSource

QUERIES = ("list", "uniform", "each", "first")

ImageLists = Mapping[int, Sequence[str]]
Pair = tuple[int, str]  # class id and image


class ImageEpisodes:
    """Endless episodes of a fold's training classes; `episodes[i]` is the same whenever it is asked for.

    Each class comes once in every round of as many episodes as there are classes, in an order that the seed shuffles.
    Query and supports are different images of the class; the supports of fewer shots are the first ones of more.

    Args:
        source: the data set.
        folds: its folds.
        group: the fold.
        split: `train`, or `val` for images of the same classes that are set apart for validation (about a fifth, the
            same for every seed).
        shots: support images per episode, 1 or more.
        seed: of all draws.
        min_area: a class counts as shown by an image from this many pixels on; at least one is always needed.
        drop_novel: leave out the images that show a held-out class (BAM: Lang et al., CVPR 2022). Else they are used,
            and held-out classes are background in them.
        lists: class id -> image names of a list file; None takes the training images of the source.

    Raises ValueError for a wrong argument, a list that names images that are not there, a broken mask, or (NotFeasible)
    when no class has `shots + 1` images.
    """

    def __init__(
        self,
        source: ImageSource,
        folds: Folds,
        group: int,
        split: str,
        *,
        shots: int,
        seed: int,
        min_area: int = 0,
        drop_novel: bool = False,
        lists: ImageLists | None = None,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}; test episodes: image_test_episodes")
        positive("shots", shots)
        classes = folds.train_classes(group)
        if not classes:
            raise ValueError(f"benchmark {folds.name}, group {group}, has no training classes: train on another one")
        self.source, self.folds, self.group, self.split = source, folds, group, split
        self.shots, self.seed, self.min_area = shots, seed, min_area
        everything = image_pools(source, classes, "train", min_area, lists)
        if drop_novel:
            everything = without_classes(source, everything, folds.test_classes(group))
        held = held_apart(source.draws_as, everything, shots)
        self.pools = {
            c: tuple(x for x in images if (x in held) == (split == "val")) for c, images in everything.items()
        }
        self.classes = feasible(self.pools, shots, folds, f"{split} episodes of group {group}", noun="image")
        check_images(source, (x for c in self.classes for x in self.pools[c]))

    def __getitem__(self, index: int) -> EpisodeSpec:
        if index < 0:
            raise IndexError(f"episodes are counted from 0, got {index}")
        keys = (self.source.draws_as, self.group, self.split, self.seed)
        turn, place = divmod(index, len(self.classes))
        class_id = self.classes[rng("classes", *keys, turn).permutation(len(self.classes))[place]]
        pool = self.pools[class_id]
        order = rng("image episode", *keys, index).permutation(len(pool))
        query, *supports = (pool[k] for k in order[: self.shots + 1])
        return _episode(self.source, self.folds, self.group, self.split, self.seed, index, (class_id, query), supports)


def image_test_episodes(
    source: ImageSource,
    folds: Folds,
    group: int,
    *,
    shots: int,
    seed: int,
    count: int | None,
    queries: str,
    min_area: int = 0,
    images: ImageLists | None = None,
    limit: int | None = None,
) -> list[EpisodeSpec]:
    """The test episodes of a fold: a query image each, and `shots` supports of its class drawn for it, never itself.

    The supports of fewer shots are the first ones of more shots.

    Args:
        source: the data set.
        folds: its folds.
        group: the fold.
        shots: support images per episode.
        seed: of all draws.
        count: number of episodes; None for as many as there are pairs of an image and a test class that it shows.
        queries: which queries.
            `list`: episode i has pair i modulo their number, in order of image name and class (HSNet on PASCAL-5i).
            `uniform`: class and then query drawn uniformly (HSNet on COCO-20i).
            `each`: every pair once, class after class (HSNet on FSS-1000).
            `first`: like `each`, and the supports are the first other images of the class by name (UniRef++).
            With a `count`, `each` and `first` are spread evenly over the classes; a smaller count gives a subset.
        min_area: a class counts as shown by an image from this many pixels on; at least one is always needed.
        images: class id -> image names of a list file; None takes the test images of the source.
        limit: test only so many of these episodes, spread evenly over the classes (`uniform`: the first ones). More
            than `count` are drawn as a larger `count` would be; a list is gone through more than once for them.

    Raises ValueError for a wrong argument, a list that names images that are not there, a broken mask, or (NotFeasible)
    when no class has `shots + 1` images.
    """
    positive("shots", shots)
    if limit is not None:
        positive("limit", limit)
    if count is not None:
        positive("count", count)
    if queries not in QUERIES:
        raise ValueError(f"queries must be one of {', '.join(QUERIES)}, got {queries!r}")
    pools = image_pools(source, folds.test_classes(group), "test", min_area, images)
    classes = feasible(pools, shots, folds, f"test episodes of group {group}", noun="image")
    pools = {c: pools[c] for c in classes}
    check_images(source, (x for pool in pools.values() for x in pool))
    number, most = _numbers(sum(map(len, pools.values())), queries, count, limit)
    drawn = list(_pairs(source.draws_as, group, seed, pools, queries, number))
    bare = [_episode(source, folds, group, "test", seed, index, pair, ()) for index, (_, pair) in enumerate(drawn)]
    specs = []
    for spec in bare if most is None or most >= len(bare) else spread(bare, most, seed):
        turn, pair = drawn[spec.index]
        others = _supports(source.draws_as, group, seed, turn, pair, pools[pair[0]], queries)
        specs.append(_episode(source, folds, group, "test", seed, spec.index, pair, others[:shots]))
    return specs


def _numbers(pairs: int, queries: str, count: int | None, limit: int | None) -> tuple[int | None, int | None]:
    """Number of episodes drawn of so many pairs (None: each pair once), and number to which they are spread out."""
    if queries in ("each", "first"):
        return None, count if limit is None else limit
    if limit is None:
        return count, None
    once = pairs if count is None else min(count, pairs)
    return (once, limit) if queries == "list" and limit < once else (limit, None)


def _pairs(
    name: str, group: int, seed: int, pools: ImageLists, queries: str, count: int | None
) -> Iterable[tuple[int, Pair]]:
    """(turn, (class id, image)) of every episode; `turn` tells the passes over the list apart."""
    pairs = [(c, x) for c, pool in pools.items() for x in pool]
    if queries in ("each", "first"):
        return ((0, pair) for pair in pairs)
    number = len(pairs) if count is None else count
    if queries == "list":
        pairs.sort(key=lambda pair: (pair[1], pair[0]))
        return ((i // len(pairs), pairs[i % len(pairs)]) for i in range(number))
    return ((i, _uniform_pair(name, group, seed, i, pools)) for i in range(number))


def _uniform_pair(name: str, group: int, seed: int, index: int, pools: ImageLists) -> Pair:
    draw = rng("image query", name, group, seed, index)
    class_id = list(pools)[int(draw.integers(len(pools)))]
    return class_id, pools[class_id][int(draw.integers(len(pools[class_id])))]


def _supports(name: str, group: int, seed: int, turn: int, pair: Pair, pool: Sequence[str], queries: str) -> list[str]:
    """The other images of the class in the order in which they are taken as supports."""
    class_id, query = pair
    others = [image for image in pool if image != query]
    if queries == "first":
        return others
    order = rng("image supports", name, group, seed, turn, class_id, query).permutation(len(others))
    return [others[k] for k in order]


def image_pools(
    source: ImageSource, classes: Sequence[int], split: str, min_area: int, lists: ImageLists | None
) -> dict[int, tuple[str, ...]]:
    """Class id -> the sorted images that may be drawn for it in `split`.

    Raises ValueError, naming them, for listed images that are not there or do not show the class: list and data set do
    not belong together then. Images that show less than `min_area` pixels of the class are left out.
    """
    if isinstance(min_area, bool) or min_area < 0:
        raise ValueError(f"min_area must be a number of pixels from 0 on, got {min_area!r}")
    if lists is None:
        pools = {c: source.images_of(c, split) for c in classes}
    else:
        pools = _listed(source, classes, lists)
    least = max(1, min_area)
    return {c: tuple(x for x in pool if source.area(x, c) >= least) for c, pool in pools.items()}


def _listed(source: ImageSource, classes: Sequence[int], lists: ImageLists) -> dict[int, tuple[str, ...]]:
    pools = {c: [(name, source.find(name)) for name in lists.get(c, ())] for c in classes}
    absent = sorted({name for pool in pools.values() for name, image in pool if image is None})
    if absent:
        raise ValueError(
            f"the lists name {len(absent)} images that {source.name} in {source.root} does not have "
            f"({', '.join(absent[:3])}): complete the data set, or cut the lists to the images that are there"
        )
    found = {c: {image for _, image in pool if image is not None} for c, pool in pools.items()}
    check_images(source, sorted({image for pool in found.values() for image in pool}))
    empty = [(image, c) for c, pool in found.items() for image in sorted(pool) if source.area(image, c) == 0]
    if empty:
        shown = "; ".join(f"{image}: {source.folds.class_name(c)}" for image, c in empty[:3])
        raise ValueError(
            f"the lists name {len(empty)} images for a class of which their mask has no pixel ({shown}): the lists "
            f"belong to other masks than those in {source.root}"
        )
    return {c: tuple(sorted(pool)) for c, pool in found.items()}


def without_classes(source: ImageSource, pools: ImageLists, classes: Sequence[int]) -> dict[int, tuple[str, ...]]:
    """The pools less the images that show one of `classes`, by any pixel."""
    novel = {image for c in classes for image in source.videos(c)}
    return {c: tuple(image for image in pool if image not in novel) for c, pool in pools.items()}


def check_images(source: ImageSource, images: Iterable[str]) -> None:
    """Raise ValueError now, not in the middle of a run, if an image that will be used, or its mask, is broken."""
    for image in dict.fromkeys(images):
        source.expressions(image)


def _episode(
    source: ImageSource,
    folds: Folds,
    group: int,
    split: str,
    seed: int,
    index: int,
    pair: Pair,
    supports: Sequence[str],
) -> EpisodeSpec:
    class_id, query = pair

    def still(image: str) -> ClipSpec:
        return ClipSpec(image, source.label_of(image, class_id), (FRAME,))

    return EpisodeSpec(
        benchmark=source.name,
        group=group,
        split=split,
        seed=seed,
        index=index,
        class_id=class_id,
        class_name=folds.class_name(class_id),
        supports=tuple(still(image) for image in supports),
        queries=(still(query),),
    )

"""Draws episodes of still images. Episode `i` is a pure function of (benchmark, group, split, seed, i)."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from episodes.episode import ClipSpec, EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.draws import Draw, Item, Pair, TestImages, check_draws, indexed_draws, stream_draws
from episodes.sampling.official import official_list
from episodes.sampling.pools import feasible, held_apart, positive, spread
from episodes.seeding import rng
from episodes.sources.images import FRAME, ImageSource

SAMPLINGS = ("balanced", "pairs", "images")
ImageLists = Mapping[int, Sequence[str]]


class ImageEpisodes:
    """Endless episodes of a fold's training classes; `episodes[i]` is the same whenever it is asked for.

    Rounds of episodes go through the classes, the pairs of image and class, or the images, see `sampling`, in an order
    that the seed shuffles for each round. Query and supports are different images of the class; the supports of fewer
    shots are the first ones of more.

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
        sampling: `balanced`: each class once in a round; `pairs`: each image once for each class that it is listed for
            (HSNet: Min et al., ICCV 2021); `images`: each image once, with one of these classes, drawn uniformly
            (PFENet: Tian et al., TPAMI 2020). Classes with many images come more often with the last two.
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
        sampling: str = "balanced",
        lists: ImageLists | None = None,
    ) -> None:
        if split not in ("train", "val"):
            raise ValueError(f"split must be 'train' or 'val', got {split!r}; test episodes: image_test_episodes")
        if sampling not in SAMPLINGS:
            raise ValueError(f"sampling must be one of {', '.join(SAMPLINGS)}, got {sampling!r}")
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
        self.sampling = sampling
        self.listed = sorted((x, c) for c in self.classes for x in self.pools[c])
        self.classes_of: dict[str, list[int]] = {}
        for image, class_id in self.listed:
            self.classes_of.setdefault(image, []).append(class_id)

    def __getitem__(self, index: int) -> EpisodeSpec:
        if index < 0:
            raise IndexError(f"episodes are counted from 0, got {index}")
        keys = (self.source.draws_as, self.group, self.split, self.seed)
        class_id, asked = self._asked(index, keys)
        pool = [image for image in self.pools[class_id] if image != asked]
        order = rng("image episode", *keys, index).permutation(len(pool))
        images = [pool[k] for k in order[: self.shots + (asked is None)]]
        query, *supports = images if asked is None else [asked, *images]
        return _episode(self.source, self.folds, self.group, self.split, self.seed, index, (class_id, query), supports)

    def _asked(self, index: int, keys: tuple[str | int, ...]) -> tuple[int, str | None]:
        """The class of an episode and its query; None where any image of the class will do."""
        if self.sampling == "balanced":
            return _in_turn(self.classes, "classes", index, keys), None
        if self.sampling == "pairs":
            image, class_id = _in_turn(self.listed, "pairs", index, keys)
            return class_id, image
        image = _in_turn(tuple(self.classes_of), "images", index, keys)
        classes = self.classes_of[image]
        return classes[int(rng("class of image", *keys, index).integers(len(classes)))], image


def _in_turn(things: Sequence[Item], word: str, index: int, keys: tuple[str | int, ...]) -> Item:
    """The thing of episode `index`: each comes once in a round of as many episodes, every round in another order."""
    turn, place = divmod(index, len(things))
    return things[rng(word, *keys, turn).permutation(len(things))[place]]


def image_test_episodes(
    source: ImageSource,
    folds: Folds,
    group: int,
    *,
    shots: int,
    seed: int,
    count: int | None,
    queries: str,
    supports: str = "distinct",
    draws: str = "indexed",
    min_area: int = 0,
    images: ImageLists | None = None,
    limit: int | None = None,
) -> list[EpisodeSpec]:
    """The test episodes of a fold: a query image each, and `shots` supports of its class drawn for it, never itself.

    The supports of fewer shots are the first ones of more shots, but for those of a stream.

    Args:
        source: the data set.
        folds: its folds.
        group: the fold.
        shots: support images per episode.
        seed: of all draws.
        count: number of episodes; None for as many as the list has entries.
        queries: which queries.
            `list`: episode i has pair i modulo their number, in order of image name and class (HSNet on PASCAL-5i).
            `images`: episode i has image i modulo their number, by name, with one of the test classes that it shows,
            drawn uniformly; a class counts here by any pixel, `min_area` or not (PFENet).
            `uniform`: class and then query drawn uniformly (HSNet on COCO-20i).
            `each`: every pair once, class after class (HSNet on FSS-1000).
            `first`: like `each`, and the supports are the first other images of the class by name (UniRef++).
            With a `count`, `each` and `first` are spread evenly over the classes; a smaller count gives a subset.
        supports: `distinct`, or `repeats`: one image may be several supports of an episode (HSNet).
        draws: `indexed`: each episode is drawn from its own index; `stream`: see `episodes.sampling.draws`; `official`:
            nothing is drawn, see `episodes.sampling.official`.
        min_area: a class counts as shown by an image from this many pixels on; at least one is always needed.
        images: class id -> image names of a list file; None takes the test images of the source.
        limit: test only so many of these episodes, spread evenly over the classes (`uniform`: the first ones). More
            than `count` are drawn as a larger `count` would be; a list is gone through more than once for them.

    Raises ValueError for a wrong argument, a list that names images that are not there, a broken mask, or (NotFeasible)
    when no class has `shots + 1` images (with repeats: 2).
    """
    positive("shots", shots)
    if limit is not None:
        positive("limit", limit)
    if count is not None:
        positive("count", count)
    check_draws(queries, supports, draws)
    frozen = official_list(source.name, queries, supports, seed) if draws == "official" else None
    if frozen is not None:
        if images is not None:
            raise ValueError(f"draws=official takes the images of {frozen.name}: leave data.lists away")
        images = frozen.pools
    pools = image_pools(source, folds.test_classes(group), "test", min_area, images)
    need = 2 if supports == "repeats" else shots + 1
    classes = feasible(pools, shots, folds, f"test episodes of group {group}", noun="image", need=need)
    listed = _test_images(source, {c: pools[c] for c in classes})
    check_images(source, listed.shown)
    number, most = _numbers(listed.size(queries), queries, count, limit)
    if frozen is not None:
        drawn = frozen.draws(group, shots)[:number]
        _check_frozen(source, drawn, number, frozen.name)
    elif draws == "stream":
        drawn = stream_draws(seed, listed, shots=shots, queries=queries, supports=supports, count=number)
    else:
        keys = source.draws_as, group, seed
        drawn = indexed_draws(*keys, listed, shots=shots, queries=queries, supports=supports, count=number)

    def episode(index: int, others: Sequence[str]) -> EpisodeSpec:
        pair = drawn[index].class_id, drawn[index].query
        return _episode(source, folds, group, "test", seed, index, pair, others)

    bare = [episode(index, ()) for index in range(len(drawn))]
    chosen = bare if most is None or most >= len(bare) else spread(bare, most, seed)
    return [episode(spec.index, drawn[spec.index].supports()) for spec in chosen]


def _check_frozen(source: ImageSource, drawn: Sequence[Draw], number: int | None, name: str) -> None:
    """Raise ValueError where more episodes are asked for than there are, or a query does not show its class here."""
    if number is not None and number > len(drawn):
        raise ValueError(f"{name} has {len(drawn)} episodes of a fold, not {number}: ask for fewer")
    wrong = [f"{draw.query}: class {draw.class_id}" for draw in drawn if source.area(draw.query, draw.class_id) == 0]
    if wrong:
        raise ValueError(
            f"{len(wrong)} queries of {name} do not show their class in {source.root} ({'; '.join(wrong[:3])}): it "
            "belongs to other masks"
        )


def _test_images(source: ImageSource, pools: Mapping[int, Sequence[str]]) -> TestImages:
    names = sorted({image for pool in pools.values() for image in pool})
    return TestImages(pools, {x: tuple(c for c in sorted(source.classes_in(x)) if c in pools) for x in names})


def _numbers(entries: int, queries: str, count: int | None, limit: int | None) -> tuple[int | None, int | None]:
    """Number of episodes drawn of so many entries (None: each once), and number to which they are spread out."""
    if queries in ("each", "first"):
        return None, count if limit is None else limit
    if limit is None:
        return count, None
    once = entries if count is None else min(count, entries)
    return (once, limit) if queries in ("list", "images") and limit < once else (limit, None)


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

"""Which folds have enough videos or images for episodes of so many shots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from episodes.folds import Folds
from episodes.sampling.images import image_pools
from episodes.sampling.lists import read_lists
from episodes.sampling.videos import training_videos
from episodes.sources.base import Source
from episodes.sources.images import ImageSource

Pools = Mapping[int, Sequence[str]]


@dataclass(frozen=True)
class Feasible:
    """A fold with a number of shots.

    Attributes:
        group, shots: the fold, and supports of an episode.
        test: (classes that have enough, held-out classes).
        queries: pairs of a held-out class that has enough and a video or image of it.
        train: (classes that have enough, training classes).
        held_out: training videos or images that show a held-out class; of videos they are left out.
    """

    group: int
    shots: int
    test: tuple[int, int]
    queries: int
    train: tuple[int, int]
    held_out: int


def feasibility(
    source: Source, folds: Folds, shots: Sequence[int], min_area: int = 0, lists: str | None = None
) -> list[Feasible]:
    """Every fold with every number of shots.

    Args:
        source: the data set.
        folds: its folds.
        shots: numbers of supports.
        min_area: pixels of a class from which on an image shows it.
        lists: folder of list files, for images; None: from the masks.

    Raises:
        ValueError, FileNotFoundError: lists that do not belong to the data set, or broken data.
    """
    found = []
    for group in folds.groups:
        test, train = _pools(source, folds, group, min_area, lists)
        shown = {video for c in folds.test_classes(group) for video in source.videos(c)}
        trained = {v for c in folds.train_classes(group) for v in source.videos(c) if _trains(source, v)}
        for number in shots:
            enough = [c for c, videos in test.items() if len(videos) > number]
            trains = sum(len(videos) > number for videos in train.values())
            queries = sum(len(test[c]) for c in enough)
            sizes = (len(enough), len(test)), queries, (trains, len(train)), len(trained & shown)
            found.append(Feasible(group, number, *sizes))
    return found


def _trains(source: Source, name: str) -> bool:
    return source.in_split(name, "train") if isinstance(source, ImageSource) else True


def _pools(source: Source, folds: Folds, group: int, min_area: int, lists: str | None) -> tuple[Pools, Pools]:
    """The videos or images of the held-out and of the training classes of a fold."""
    if not isinstance(source, ImageSource):
        return {c: source.videos(c) for c in folds.test_classes(group)}, training_videos(source, folds, group)
    pools = []
    for split, classes in (("test", folds.test_classes(group)), ("train", folds.train_classes(group))):
        listed = None if lists is None or not classes else read_lists(lists, source.name, group, split, source)
        pools.append(image_pools(source, classes, split, min_area, listed))
    return pools[0], pools[1]

"""Leaks: what is held out and yet seen in training."""

from __future__ import annotations

from collections.abc import Mapping

from episodes.checking.pixels import Looked
from episodes.class_names import common_name
from episodes.folds import Folds
from episodes.sources.images import ImageSource

SHOWN = 10  # of one kind, before they are counted only


def class_leaks(folds: Folds) -> list[str]:
    """Classes that are held out in a fold while one of the same name trains: `Dog` and `dog`, `sofa` and `couch`."""
    found = []
    for group in folds.groups:
        train = {_plain(folds.class_name(c)): folds.class_name(c) for c in folds.train_classes(group)}
        for name in map(folds.class_name, folds.test_classes(group)):
            if (other := train.get(_plain(name))) is not None:
                found.append(
                    f"group {group} holds out class {name!r} and trains {other!r}, which is the same by name: give "
                    "them one name"
                )
    return found


def _plain(name: str) -> str:
    return common_name(name).lower().strip()


def same_pictures(source: object, looked: Mapping[str, Looked]) -> tuple[list[str], list[str]]:
    """Pictures that are there under several names: those of training and test, and the others.

    Of videos the first frames are compared. A support that is the query itself answers it.
    """
    by_digest: dict[str, list[str]] = {}
    for name, found in looked.items():
        if found.digest:
            by_digest.setdefault(found.digest, []).append(name)
    leaks, others = [], []
    for names in by_digest.values():
        if len(names) < 2:
            continue
        told = f"{', '.join(names[:3])}{' and more' if len(names) > 3 else ''} are one picture"
        if isinstance(source, ImageSource) and _divided(source, names):
            leaks.append(f"{told}, in training and in test: remove one of them")
        else:
            others.append(f"{told}: where one is the support of the other, it shows the answer")
    return _cut(leaks), _cut(others)


def _divided(source: ImageSource, names: list[str]) -> bool:
    """Whether some of the images train and do not test, and others test and do not train."""
    sides = {(source.in_split(name, "train"), source.in_split(name, "test")) for name in names}
    return {(True, False), (False, True)} <= sides


def split_remarks(source: ImageSource) -> list[str]:
    """Says so where no list divides the images into those of training and those of test."""
    both = sum(source.in_split(name, "train") and source.in_split(name, "test") for name in source.files)
    if not both:
        return []
    return [f"{both:,} of {len(source.files):,} images serve training and test: only the classes of a fold part them"]


def _cut(sentences: list[str]) -> list[str]:
    more = len(sentences) - SHOWN
    return sentences[:SHOWN] + ([f"and {more} more like the one before"] if more > 0 else [])

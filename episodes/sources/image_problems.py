"""Looks a data set of images through and says, in sentences, what is missing, broken or too small."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from episodes.sources.images import ImageSource

SHOWN = 20  # sentences of one kind before they are counted only


def find_problems(source: ImageSource) -> list[str]:
    """One sentence per problem, with what to do. Counts the pixels of all masks, reads the headers of all images."""
    # Broken files come first: a run shows only the first few problems.
    broken = (source.layout_problems(), _masks(source), _pictures(source))
    kinds = (*broken, _remarks(source), _empty(source), _classes(source))
    return [sentence for kind in kinds for sentence in _cut(kind)]


def _cut(sentences: Iterable[str]) -> list[str]:
    found = list(sentences)
    more = len(found) - SHOWN
    return found[:SHOWN] + ([f"and {more} more problems like the one before"] if more > 0 else [])


def _classes(source: ImageSource) -> Iterable[str]:
    for class_id, name in enumerate(source.folds.classes, start=1):
        images = source.videos(class_id)
        if not images:
            yield f"class {name!r} has no image: it is left out of every episode; add at least two to use it"
        elif len(images) == 1:
            yield (
                f"class {name!r} has one image ({images[0]}): an episode needs a support and a query, so it is left "
                f"out; add at least one more to use it"
            )


def _masks(source: ImageSource) -> Iterable[str]:
    for image, counts in source.counts.items():
        if counts.error:
            yield f"mask {source.files[image][1]} {counts.error}"


def _remarks(source: ImageSource) -> Iterable[str]:
    odd: dict[str, list[str]] = {}
    for image, counts in source.counts.items():
        if counts.remark:
            odd.setdefault(counts.remark, []).append(image)
    for remark, images in odd.items():
        yield f"{len(images)} mask{'s' * (len(images) > 1)} ({', '.join(images[:3])}) with {remark}"


def _empty(source: ImageSource) -> Iterable[str]:
    for image, counts in source.counts.items():
        if not counts.error and not source.classes_in(image):
            yield f"mask {source.files[image][1]} is empty: its image is not used; mark the object, or remove both"


def _pictures(source: ImageSource) -> Iterable[str]:
    return filter(None, map(source.picture_error, source.files))

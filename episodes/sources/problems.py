"""Looks a data set through and says, in sentences, what is missing, broken or too small."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from episodes.sources.mini_ref import MiniRefSource


def find_problems(source: MiniRefSource) -> list[str]:
    """One sentence per problem, with what to do. Reads folder listings, no images."""
    return [*_classes(source), *_entries(source), *_files(source)]


def _classes(source: MiniRefSource) -> list[str]:
    found = []
    for class_id, name in enumerate(source.folds.classes, start=1):
        videos = source.videos(class_id)
        if not videos:
            found.append(f"class {name!r} has no video: it is left out of every episode; add at least two to use it")
        elif len(videos) == 1:
            found.append(
                f"class {name!r} has one video ({videos[0]}): an episode needs a support and a query, so it is left "
                f"out; add at least one more to use it"
            )
    return found


def _entries(source: MiniRefSource) -> list[str]:
    found = []
    for name, video in source.index.items():
        found += [*video.errors, *video.remarks]
        if not video.errors and not video.remarks and not video.expressions:
            found.append(f"video {name!r} has no expression: it is left out; write one for an object of it to use it")
        if source.merge_objects and len(video.objects) > 1:
            found.append(f"video {name!r} has {len(video.objects)} objects, but masks of this layout are merged to one")
    return found


def _files(source: MiniRefSource) -> list[str]:
    found = []
    for name, video in source.index.items():
        if not video.expressions:
            continue
        for folder, what, suffix in (
            (source.layout.images / name, "frame", source.suffix),
            (source.layout.masks / name, "mask", ".png"),
        ):
            found += missing_files(folder, what, [f"{frame}{suffix}" for frame in video.frames])
    return found


def missing_files(folder: Path, what: str, names: Sequence[str]) -> list[str]:
    """One sentence that names the files of `names` that `folder` lacks; none where it has them all."""
    if not folder.is_dir():
        return [f"folder {folder} is missing: restore it, or remove the video from the lists"]
    there = {path.name for path in folder.iterdir()}
    absent = [name for name in names if name not in there]
    if not absent:
        return []
    shown = ", ".join(absent[:3]) + (f" and {len(absent) - 3} more" if len(absent) > 3 else "")
    return [f"{what} {shown} missing in {folder}: restore the file, or remove it from the lists"]

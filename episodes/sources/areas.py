"""Pixel counts of each label in the masks of a data set: counted once, kept in a file that knows its age."""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from episodes.plain_files import make_folder
from episodes.sources.files import cache_folder
from episodes.whole_files import clear_stale, replacing

log = logging.getLogger(__name__)

FORMAT = 1  # raise it when the same files give other counts
KEEP = 2000  # images from which on the counts are written to a file
THREADS = 4


@dataclass(frozen=True)
class MaskCounts:
    """Size, pixel counts and faults of one mask.

    Attributes:
        size: height and width; `(0, 0)` for a mask that cannot be read.
        areas: label -> number of pixels, without the background 0.
        error: a sentence on the fault that makes the mask unusable; empty if it can be used.
        remark: a sentence on an oddity of a mask that can be used.
    """

    size: tuple[int, int]
    areas: dict[int, int]
    error: str = ""
    remark: str = ""


Count = Callable[[str], MaskCounts]


def count_labels(labels: np.ndarray) -> dict[int, int]:
    """Pixels of each label of `(H, W)` uint8 labels, without the background 0."""
    counts = np.bincount(labels.ravel())
    return {int(label): int(counts[label]) for label in counts.nonzero()[0] if label}


def scan(
    name: str, images: Sequence[str], sources: Sequence[Path], count: Count, cache: Path | str | None, *, rule: str
) -> dict[str, MaskCounts]:
    """The counts of all images, from memory or from a file under `cache` if nothing has changed since.

    Args:
        name: of the benchmark, for the file's name and messages.
        images: their names.
        sources: the files that the masks are made of.
        count: counts the mask of one image; runs in several threads.
        cache: folder of the file; None is the default of `cache_folder`. Fewer than 2000 images are counted anew.
        rule: how labels are made of the files: another rule gives another file.

    The file is keyed by the names of the images, by name, size and time of change of `sources`, and by `rule`: a data
    set that has changed, or is read in another way, is counted again.
    """
    if len(images) < KEEP:
        return _count_all(images, count)
    path = cache_folder(cache) / f"areas-{name}-{_key(images, sources, rule)}.json"
    if path.is_file():
        try:
            rows = json.loads(path.read_text(encoding="utf-8"))
            return {image: _from_row(row) for image, row in rows.items()}
        except (ValueError, TypeError, KeyError, AttributeError) as error:
            log.warning("%s is damaged (%r): the masks are counted again", path, error)
    log.info("counting the pixels of %d masks of %s, once; kept in %s", len(images), name, path)
    counts = _count_all(images, count)
    _write(path, {image: [found.size, found.areas, found.error, found.remark] for image, found in counts.items()})
    return counts


def _count_all(images: Sequence[str], count: Count) -> dict[str, MaskCounts]:
    if len(images) < 2 * THREADS:
        return {image: count(image) for image in images}
    with ThreadPoolExecutor(THREADS) as pool:
        return dict(zip(images, pool.map(count, images), strict=True))


def _key(images: Sequence[str], sources: Sequence[Path], rule: str) -> str:
    digest = hashlib.sha256(json.dumps([FORMAT, rule, list(images)]).encode())
    for path in sources:
        there = path.stat() if path.is_file() else None
        age = (there.st_size, there.st_mtime_ns) if there else ("missing",)
        digest.update(json.dumps([str(path.resolve()), *age]).encode())
    return digest.hexdigest()[:24]


def _from_row(row: Sequence[Any]) -> MaskCounts:
    (height, width), areas, error, remark = row
    return MaskCounts((int(height), int(width)), {int(k): int(v) for k, v in areas.items()}, str(error), str(remark))


def _write(path: Path, rows: Mapping[str, object]) -> None:
    make_folder(path.parent, "data.cache")
    clear_stale(path)
    with replacing(path) as partial:
        partial.write_text(json.dumps(rows), encoding="utf-8")

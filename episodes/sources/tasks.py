"""Opens the data sets of tasks without held-out classes by name."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, cast

from episodes.catalogue import KINDS, WITH_FOLDS, Opening, data_set

if TYPE_CHECKING:
    from episodes.sources.task_source import TaskSource

TASK_KINDS = tuple(kind for kind in KINDS if kind not in WITH_FOLDS)


def open_task_source(
    benchmark: str,
    root: Path | str | None,
    split: str | None = None,
    *,
    resolution: str = "480p",
    cache_frames: int = 0,
) -> TaskSource:
    """Open a data set of a task without held-out classes.

    Args:
        benchmark: a data set of the catalogue, of a kind without folds.
        root: folder of the data set.
        split: one of the benchmark's splits; None is the one that papers test on.
        resolution: "480p" or "Full-Resolution", for DAVIS.
        cache_frames: bytes of decoded frames kept in memory.

    Raises:
        ValueError: an unknown benchmark or split, or a missing root.
        FileNotFoundError: a folder without the data set.
    """
    row = data_set(benchmark, *TASK_KINDS)
    folder = None if root is None else Path(root).expanduser()
    chosen = row.splits[0] if split is None else split
    return cast("TaskSource", row.open(Opening(folder, cache_frames=cache_frames, split=chosen, resolution=resolution)))

"""Opens the data sets of mask-guided and referring segmentation by name."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from episodes.sources.ref_index import ref_davis17_layout, ref_youtube_vos_layout
from episodes.sources.ref_video import RefVideoSource
from episodes.sources.refcoco import open_refcoco, open_refcoco_mixed
from episodes.sources.task_source import TaskSource
from episodes.sources.vos_layouts import (
    VOSLayout,
    VOSSource,
    davis_layout,
    folder_layout,
    split_layout,
    youtube_vos_layout,
)


@dataclass(frozen=True)
class Task:
    """A benchmark: its task ("vos", "rvos", "ris"), its splits, the tested one first, and how it is opened."""

    task: str
    splits: tuple[str, ...]
    open: Callable[[str, Path, str, str, int], TaskSource]  # name, root, split, resolution, cache_frames


def _vos(find: Callable[[Path, str, str], VOSLayout]) -> Callable[[str, Path, str, str, int], TaskSource]:
    def opener(name: str, root: Path, split: str, resolution: str, cache_frames: int) -> TaskSource:
        return VOSSource(name, root, split, find(root, split, resolution), cache_frames=cache_frames)

    return opener


def _ref_davis17(name: str, root: Path, split: str, resolution: str, cache_frames: int) -> TaskSource:
    return RefVideoSource(name, root, split, ref_davis17_layout(root, split, resolution), cache_frames=cache_frames)


def _ref_youtube_vos(name: str, root: Path, split: str, resolution: str, cache_frames: int) -> TaskSource:
    return RefVideoSource(name, root, split, ref_youtube_vos_layout(root, split), cache_frames=cache_frames)


def _refcoco(name: str, root: Path, split: str, resolution: str, cache_frames: int) -> TaskSource:
    return open_refcoco(name, root, split, cache_frames=cache_frames)


def _refcoco_mixed(name: str, root: Path, split: str, resolution: str, cache_frames: int) -> TaskSource:
    return open_refcoco_mixed(name, root, split, cache_frames=cache_frames)


def _youtube_vos(root: Path, split: str, resolution: str) -> VOSLayout:
    return youtube_vos_layout(root, split)


def _split(root: Path, split: str, resolution: str) -> VOSLayout:
    return split_layout(root, split)


def _folder(root: Path, split: str, resolution: str) -> VOSLayout:
    return folder_layout(root)


def _davis(year: int) -> Callable[[Path, str, str], VOSLayout]:
    return lambda root, split, resolution: davis_layout(root, year, split, resolution)


TASKS: dict[str, Task] = {
    "davis16": Task("vos", ("val", "train"), _vos(_davis(2016))),
    "davis17": Task("vos", ("val", "train", "test-dev", "test-challenge"), _vos(_davis(2017))),
    "youtube_vos": Task("vos", ("valid", "train", "test"), _vos(_youtube_vos)),
    "lvos": Task("vos", ("valid", "train", "test"), _vos(_split)),
    "mose": Task("vos", ("valid", "train", "test"), _vos(_split)),
    "vos_folder": Task("vos", ("all",), _vos(_folder)),
    "ref_davis17": Task("rvos", ("valid", "train"), _ref_davis17),
    "ref_youtube_vos": Task("rvos", ("valid", "train", "test"), _ref_youtube_vos),
    "refcoco": Task("ris", ("val", "testA", "testB", "train"), _refcoco),
    "refcoco_plus": Task("ris", ("val", "testA", "testB", "train"), _refcoco),
    "refcocog": Task("ris", ("val", "test", "train"), _refcoco),
    "refcoco_mixed": Task("ris", ("train",), _refcoco_mixed),
}


def open_task_source(
    benchmark: str,
    root: Path | str | None,
    split: str | None = None,
    *,
    resolution: str = "480p",
    cache_frames: int = 0,
) -> TaskSource:
    """Open a data set of mask-guided or referring segmentation.

    Args:
        benchmark: a key of `TASKS`.
        root: folder of the data set.
        split: one of the benchmark's splits; None is the one that papers test on.
        resolution: "480p" or "Full-Resolution", for DAVIS.
        cache_frames: bytes of decoded frames kept in memory.

    Raises ValueError for an unknown benchmark or split or a missing root, FileNotFoundError for a folder without it.
    """
    if benchmark not in TASKS:
        raise ValueError(f"unknown benchmark {benchmark!r}; there are: {', '.join(TASKS)}")
    task = TASKS[benchmark]
    split = task.splits[0] if split is None else split
    if split not in task.splits:
        raise ValueError(f"unknown split {split!r} of {benchmark}; there are: {', '.join(task.splits)}")
    if root is None:
        raise ValueError(f"benchmark {benchmark} needs data.root, the folder that holds the data set")
    return task.open(benchmark, Path(root).expanduser(), split, resolution, cache_frames)

"""Numbers of tasks that ask for everything in a video, from the written results: one row for each reading."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.masks.panoptic import read_panoptic
from benchmarks.masks.png import LabelFiles
from benchmarks.masks.submission import answered_frames, result_folder
from benchmarks.masks.tracks import RESULTS, read_tracks
from benchmarks.metrics.pvos import PvosGroups
from benchmarks.protocols.tasks import (
    PROTOCOLS_OF_KIND,
    PvosProtocol,
    TaskProtocol,
    VisProtocol,
    VpsProtocol,
    VssProtocol,
    reading_of,
)
from episodes.sources.task_source import TaskSource
from episodes.task_items import VocabularyItem, VOSItem
from fewshot.evaluation.tasks.measures import Measures
from fewshot.evaluation.tasks.samples import Sample

WITH_FRAMES = (VOSItem, VocabularyItem)  # items of these tasks


def check_truth(source: Any, samples: Sequence[Sample]) -> None:
    """Refuse to score what cannot be scored, before anything is predicted.

    Raises:
        ValueError: the truth is kept by a server.
        FileNotFoundError: the masks of the truth are not there (of the first video alone, which is looked at).
    """
    video = samples[0].video
    if source.task == "pvos":
        source.truth_folder(video)
        PvosGroups(source.groups, source.exceptions)
    elif source.task == "vss":
        source.read_semantic(video, source.frames(video)[:1])
    elif source.task == "vps":
        next(source.read_panoptic(video, source.frames(video)[:1]))
    elif not source.has_truth():
        raise ValueError(
            f"{source.name} ({source.split}) in {source.root} lists no tracks, a server keeps them: take "
            "task.score=none, or a split whose truth is there"
        )


def everything_measures(
    source: TaskSource, samples: Sequence[Sample], folder: Path, name: str | None, processes: int = 1
) -> Measures:
    """Numbers of the protocol `name` (None: the usual one), and beside them those of the other readings.

    Args:
        folder: of the written results.
        processes: videos that are counted at a time; no effect on the numbers.

    Raises:
        ValueError: a result, or a part of the truth, is missing or broken.
    """
    chosen = reading_of(source.task, name)
    others = [other for other in PROTOCOLS_OF_KIND[source.task].values() if other.name != chosen.name]
    found, notes = dict[str, dict[str, float]](), list[str]()
    for protocol in (chosen, *others):
        score = _score(protocol, source, samples, folder, processes)
        found[protocol.name] = protocol.numbers(score)
        why = notes_on(protocol, score, found[protocol.name], longest_of(samples))
        notes += [note if protocol is chosen else f"{protocol.name}, {note}" for note in why]
    return Measures(found.pop(chosen.name), beside=found, notes=tuple(notes))


def longest_of(samples: Sequence[Sample]) -> int:
    """Frames of the longest video of a test."""
    return max(len(item.frames) for sample in samples for item in sample.items if isinstance(item, WITH_FRAMES))


def notes_on(protocol: TaskProtocol[Any], score: Any, numbers: Mapping[str, float], longest: int) -> list[str]:
    """Why numbers are not there, and what they could not count, in sentences.

    Args:
        longest: frames of the longest video.
    """
    missing = [name for name, value in numbers.items() if math.isnan(value)]
    reasons = protocol.too_long(longest)
    notes = [f"{name}: {reasons[name]}" for name in missing if name in reasons]
    gaps = list(protocol.gaps(score))
    if not gaps and (rest := [name for name in missing if name not in reasons]):
        gaps = [f"{', '.join(rest)}: there is nothing to average"]
    return notes + gaps


def _score(protocol: TaskProtocol[Any], source: Any, samples: Sequence[Sample], folder: Path, processes: int) -> Any:
    """The score of one protocol. Videos are counted one by one and put together."""
    if isinstance(protocol, VisProtocol):
        return _tracks(protocol, source, samples, folder).compute()
    count: Callable[[Sample], Any] = partial(_counted, protocol, source, folder)
    with nullcontext() if processes == 1 else ProcessPoolExecutor(processes) as pool:
        parts: Iterable[Any] = map(count, samples) if pool is None else pool.map(count, samples)
        total, *others = parts
    for other in others:
        total.merge(other)
    return total.compute()


def _tracks(protocol: VisProtocol, source: Any, samples: Sequence[Sample], folder: Path) -> Any:
    """All videos that are tested; those that are not are no part of the truth."""
    tested = {source.video_id(sample.video) for sample in samples}
    rows = read_tracks(folder / RESULTS)
    accumulator = protocol.accumulator(_of_videos(source.truth, tested))
    for number in sorted(tested):
        accumulator.update(number, rows.get(number, []))
    return accumulator


def _of_videos(truth: Mapping[str, Any], tested: set[int]) -> dict[str, Any]:
    return {
        **truth,
        "videos": [row for row in truth["videos"] if row["id"] in tested],
        "annotations": [row for row in truth["annotations"] if row["video_id"] in tested],
    }


def _counted(protocol: TaskProtocol[Any], source: Any, folder: Path, sample: Sample) -> Any:
    """An accumulator that holds one video."""
    video = sample.video
    if isinstance(protocol, VssProtocol):
        semantic = protocol.accumulator(1 + max(category.id for category in source.categories))
        semantic.update(video, source.read_semantic(video), LabelFiles(folder / video, source.frames(video)))
        return semantic
    if isinstance(protocol, VpsProtocol):
        panoptic = protocol.accumulator(source.classes)
        panoptic.update(video, source.read_panoptic(video), read_panoptic(folder)[video])
        return panoptic
    assert isinstance(protocol, PvosProtocol)
    item = sample.items[0]
    assert isinstance(item, VOSItem)
    frames = answered_frames(item)
    given = {frames.index(frame): ids for frame, ids in source.all_given(video).items()}
    paths = (source.truth_folder(video) / video / f"{frame}.png" for frame in frames)
    objects = protocol.accumulator(PvosGroups(source.groups, source.exceptions))
    results = LabelFiles(result_folder(source.name, folder, item), frames)
    objects.update(video, (source.read_label_map(path) for path in paths), results, given, source.classes_of(video))
    return objects

"""J and F of expressions in videos, each on its own object, from written masks; and the same with other words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from benchmarks.masks.png import read_labels
from benchmarks.masks.submission import RESULT_LAYOUTS, result_folder
from benchmarks.metrics.jf import j_and_f
from benchmarks.protocols.expressions import EXPRESSION_PROTOCOLS
from episodes.sampling.probes import derangement
from episodes.sources.ref_video import RefVideoSource
from episodes.task_items import RVOSItem
from fewshot.evaluation.tasks.samples import Sample


@dataclass(frozen=True)
class ExpressionScore:
    """J and F of an expression.

    Attributes:
        name: `<video>/<expression id>`.
        twin: its object has one in the video.
        j, f: in 0..1, mean over its frames.
        frames: how many were scored.
        listed: how many the lists name.
        missing: there are no results of its video, which counts 0.
        shown: a frame of the truth shows its object.
    """

    name: str
    twin: bool
    j: float
    f: float
    frames: int
    listed: int
    missing: bool = False
    shown: bool = True


def score_expressions(
    source: RefVideoSource, samples: Sequence[Sample], folder: Path, processes: int = 1
) -> list[ExpressionScore]:
    """Scores of all expressions against the truth of the data set (`RefVideoSource.truth`).

    Args:
        folder: of the written masks.
        processes: videos scored at a time.

    Raises:
        ValueError: a mask that was written, or one of the truth, is missing or broken.
    """
    score: Callable[[Sample], list[ExpressionScore]] = partial(_of_sample, source, folder)
    with nullcontext() if processes == 1 else ProcessPoolExecutor(processes) as pool:
        found: Iterable[list[ExpressionScore]] = map(score, samples) if pool is None else pool.map(score, samples)
        return [row for rows in found for row in rows]


def _of_sample(source: RefVideoSource, folder: Path, sample: Sample) -> list[ExpressionScore]:
    return [_of_item(source, folder, item) for item in items_of([sample])]


def _of_item(source: RefVideoSource, folder: Path, item: RVOSItem) -> ExpressionScore:
    name, twin = f"{item.video}/{item.expression_id}", item.object_id is not None
    twin = twin and bool(source.twins(item.video, item.object_id or 0))
    target, rules = written_folder(source.name, folder, item), EXPRESSION_PROTOCOLS.get(source.name)
    if rules is not None and rules.missing_video == "zero" and not target.parent.is_dir():
        return ExpressionScore(name, twin, 0.0, 0.0, len(item.frames), len(item.frames), missing=True)
    found, shown = [], False
    for frame, truth in source.truth(item):
        found.append(_of_frame(target / f"{frame}.png", truth, item, source.name))
        shown = shown or bool(truth.any())
    j, f = np.mean(found, axis=0)
    return ExpressionScore(name, twin, float(j), float(f), len(found), len(item.frames), shown=shown)


def _of_frame(path: Path, truth: NDArray[np.bool_], item: RVOSItem, benchmark: str) -> tuple[float, float]:
    """J and F of a written mask. Raises ValueError, naming it, where it is missing, broken or of another size."""
    if not path.exists():
        raise ValueError(f"{path} is missing: a mask of every frame is needed, of every expression of a video")
    labels = read_labels(path)
    if labels.shape != truth.shape:
        (h, w), (ht, wt) = labels.shape, truth.shape
        raise ValueError(f"{path} is {h}x{w}, the truth is {ht}x{wt}: write the masks at the size of the video")
    return j_and_f(labels == item.object_id if RESULT_LAYOUTS[benchmark].palette else labels > 0, truth)


def written_folder(benchmark: str, folder: Path, item: RVOSItem) -> Path:
    """Folder of an expression's masks, as the benchmark wants them or, without its outer folder, by video alone."""
    full, bare = result_folder(benchmark, folder, item), folder / item.video / item.expression_id
    outer = folder / full.relative_to(folder).parts[0]
    there = full.parent if bare.parent.is_dir() else outer  # of a video without results: where the others are
    return full if there.is_dir() else bare


def check_truth(source: RefVideoSource) -> None:
    """Raise ValueError where the truth of an expression is not there."""
    if faults := source.truth_faults():
        more = f" (and {len(faults) - 1} more)" if len(faults) > 1 else ""
        raise ValueError(f"{faults[0]}{more}. Without the truth: task.score=none")


def shuffled(source: RefVideoSource, samples: Sequence[Sample], seed: int) -> list[Sample]:
    """The samples with the words of another class of object; of another object where one class is the majority.

    As the probe `shuffled_text` of few-shot tests: every expression is used exactly once, and objects and names stay.

    Raises:
        ValueError: one object has more than half of the expressions.
    """
    items = items_of(samples)
    by_object = [(item.video, item.object_id) for item in items]
    by_class = [
        source.class_of(item.video, item.object_id) or pair for item, pair in zip(items, by_object, strict=True)
    ]
    order = derangement(by_class, seed) or derangement(by_object, seed)
    if order is None:
        raise ValueError(
            "shuffled_text needs expressions of other objects, and one object has more than half of them: test more "
            "videos, or take task.probes=[]"
        )
    words = iter([items[k].text for k in order])
    return [
        replace(sample, items=tuple(replace(item, text=next(words)) for item in items_of([sample])))
        for sample in samples
    ]


def items_of(samples: Iterable[Sample]) -> list[RVOSItem]:
    """The expressions of samples, in order."""
    return [item for sample in samples for item in sample.items if isinstance(item, RVOSItem)]

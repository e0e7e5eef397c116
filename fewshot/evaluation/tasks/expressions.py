"""J and F of expressions in videos, each on its own object, from written masks; and the same with other words."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np

from benchmarks.masks.png import read_labels
from benchmarks.masks.submission import result_folder
from benchmarks.metrics.jf import j_and_f
from episodes.sampling.probes import derangement
from episodes.sources.ref_video import RefVideoSource
from episodes.task_items import RVOSItem
from fewshot.evaluation.tasks.samples import Sample


@dataclass(frozen=True)
class ExpressionScore:
    """J and F of an expression in 0..1, mean over its frames; `twin`: its object has one in the video."""

    name: str
    twin: bool
    j: float
    f: float


def score_expressions(
    source: RefVideoSource, samples: Sequence[Sample], folder: Path, processes: int = 1
) -> list[ExpressionScore]:
    """Scores of all expressions whose object is known, against the masks of the data set.

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
    return [_of_item(source, folder, item) for item in items_of([sample]) if item.object_id is not None]


def _of_item(source: RefVideoSource, folder: Path, item: RVOSItem) -> ExpressionScore:
    assert item.object_id is not None
    truth = source.read_masks(item.video, item.frames, item.object_id).numpy()
    target = result_folder(source.name, folder, item)
    written = [read_labels(target / f"{frame}.png") > 0 for frame in item.frames]
    j, f = np.mean([j_and_f(*pair) for pair in zip(written, truth, strict=True)], axis=0)
    twin = bool(source.twins(item.video, item.object_id))
    return ExpressionScore(f"{item.video}/{item.expression_id}", twin, float(j), float(f))


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

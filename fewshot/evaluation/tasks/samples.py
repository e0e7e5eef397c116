"""Samples of a test: a video with its objects or expressions, or an image with its expressions."""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

from episodes.task_items import Item, RISItem, RVOSItem
from fewshot.evaluation.tasks.record import Record, Row
from fewshot.run.console import counted

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Sample:
    """A video (of one annotator) or an image. It is finished as a whole or not at all.

    Attributes:
        name: unique within the test.
        video: name of the video or image in its source.
        items: of the sample, in file order: one `VOSItem`, or the `RVOSItem`s or `RISItem`s of it.
        annotator: whose expressions they are (Ref-DAVIS17), or None.
    """

    name: str
    video: str
    items: tuple[Item, ...]
    annotator: int | None = None


def samples_of(items: Iterable[Item]) -> list[Sample]:
    """Items put together by video and annotator, or by image, in the order of their first item."""
    found: dict[tuple[str, int | None], list[Item]] = {}
    for item in items:
        video = item.image if isinstance(item, RISItem) else item.video
        annotator = item.annotator if isinstance(item, RVOSItem) else None
        found.setdefault((video, annotator), []).append(item)
    return [Sample(sample_name(video, who), video, tuple(own), who) for (video, who), own in found.items()]


def sample_name(video: str, annotator: int | None) -> str:
    """`<video>`, or `anno_<annotator>/<video>`."""
    return video if annotator is None else f"anno_{annotator}/{video}"


def predict_all(
    samples: Sequence[Sample], predict: Callable[[Sample], list[Row]], record: Record, progress: bool
) -> None:
    """Predict samples one by one and note each in the record as soon as it is finished.

    `progress`: a bar on a terminal, lines now and then elsewhere.
    """
    told: set[str] = set()
    for sample in counted(samples, "testing", "sample", progress):
        started = time.perf_counter()
        with _warnings_in_log(sample, told):
            rows = predict(sample)
        record.add(sample.name, rows, time.perf_counter() - started)


@contextmanager
def _warnings_in_log(sample: Sample, told: set[str]) -> Iterator[None]:
    """Inside, warnings go to the log with the name of the sample, each text once: an expression that is cut, say."""
    with warnings.catch_warnings(record=True) as found:
        try:
            yield
        finally:
            for text in dict.fromkeys(str(warning.message) for warning in found):
                if text not in told:
                    told.add(text)
                    logger.warning("%s: %s", sample.name, text)

"""What a test works on at one go: a video with what is asked about it, or an image with its expressions."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from episodes.task_items import Item, RISItem, RVOSItem
from fewshot.evaluation.tasks.record import Record, Row
from fewshot.run.console import counted


@dataclass(frozen=True)
class Unit:
    """A video (of one annotator) or an image. It is finished as a whole or not at all.

    Attributes:
        name: unique within the test.
        video: name of the video or image in its source.
        items: what is asked, in file order: one `VOSItem`, or the `RVOSItem`s or `RISItem`s of it.
        annotator: whose expressions they are (Ref-DAVIS17), or None.
    """

    name: str
    video: str
    items: tuple[Item, ...]
    annotator: int | None = None


def units_of(items: Iterable[Item]) -> list[Unit]:
    """Items put together by video and annotator, or by image, in the order of their first item."""
    found: dict[tuple[str, int | None], list[Item]] = {}
    for item in items:
        video = item.image if isinstance(item, RISItem) else item.video
        annotator = item.annotator if isinstance(item, RVOSItem) else None
        found.setdefault((video, annotator), []).append(item)
    return [Unit(unit_name(video, who), video, tuple(asked), who) for (video, who), asked in found.items()]


def unit_name(video: str, annotator: int | None) -> str:
    """`<video>`, or `anno_<annotator>/<video>`."""
    return video if annotator is None else f"anno_{annotator}/{video}"


def answer_all(units: Sequence[Unit], answer: Callable[[Unit], list[Row]], record: Record, progress: bool) -> None:
    """Answer units one by one and note each in the record as soon as it is finished.

    `progress`: a bar on a terminal, lines now and then elsewhere.
    """
    for unit in counted(units, "testing", "unit", progress):
        started = time.perf_counter()
        rows = answer(unit)
        record.add(unit.name, rows, time.perf_counter() - started)

"""Pictures of a test's results, drawn from the frames and the written masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.masks.png import read_labels
from episodes.sources.base import Source
from fewshot.evaluation.tasks.answers import Answerer
from fewshot.evaluation.tasks.units import Unit
from fewshot.media.pictures import Tile, enlarge, frame_image, overlay, sheet

FRAMES, ROWS = 4, 4  # frames of a video, questions of a unit that are shown


def draw_unit(unit: Unit, source: Source, answerer: Answerer, folder: Path) -> Path:
    """A sheet with a row per question: frames spread over the video, with what was found. Returns its path."""
    answers = answerer.files(unit)[:ROWS]
    rows = [(asked, [_tile(unit, source, *pair) for pair in _spread(list(masks.items()))]) for asked, masks in answers]
    path = folder / f"{unit.name.replace('/', '_')}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet([row for row in rows if row[1]], heading=f"{source.name} {unit.name} (orange: prediction)").save(path)
    return path


def _tile(unit: Unit, source: Source, frame: str, mask: Path) -> Tile:
    image = enlarge(frame_image(source.read_frames(unit.video, (frame,))[0]))
    return Tile(overlay(image, enlarge(read_labels(mask) > 0, image.shape[0])), frame)


def _spread(pairs: Sequence[tuple[str, Path]]) -> Sequence[tuple[str, Path]]:
    """At most `FRAMES` of them, evenly spread, the first and the last among them."""
    if len(pairs) <= FRAMES:
        return pairs
    return [pairs[round(k * (len(pairs) - 1) / (FRAMES - 1))] for k in range(FRAMES)]

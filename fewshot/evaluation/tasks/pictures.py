"""Pictures of a test's results, drawn from the frames and the written masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from benchmarks.masks.png import read_labels
from episodes.sources.base import Source
from fewshot.evaluation.tasks.predictors import Predictor
from fewshot.evaluation.tasks.samples import Sample
from fewshot.media.pictures import Tile, enlarge, frame_image, overlay, sheet

FRAMES, ROWS = 4, 4  # frames of a video, expressions of a sample that are shown


def draw_sample(sample: Sample, source: Source, predictor: Predictor, folder: Path) -> Path:
    """Draw a sheet with a row per expression: frames spread over the video, with their masks. Returns its path."""
    shown = predictor.files(sample)[:ROWS]
    rows = [(text, [_tile(sample, source, *pair) for pair in _spread(list(masks.items()))]) for text, masks in shown]
    path = folder / f"{sample.name.replace('/', '_')}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    sheet([row for row in rows if row[1]], heading=f"{source.name} {sample.name} (orange: prediction)").save(path)
    return path


def _tile(sample: Sample, source: Source, frame: str, mask: Path) -> Tile:
    image = enlarge(frame_image(source.read_frames(sample.video, (frame,))[0]))
    return Tile(overlay(image, enlarge(read_labels(mask) > 0, image.shape[0])), frame)


def _spread(pairs: Sequence[tuple[str, Path]]) -> Sequence[tuple[str, Path]]:
    """At most `FRAMES` of them, evenly spread, the first and the last among them."""
    if len(pairs) <= FRAMES:
        return pairs
    return [pairs[round(k * (len(pairs) - 1) / (FRAMES - 1))] for k in range(FRAMES)]

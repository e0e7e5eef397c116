"""Pictures of a test's results, drawn from the frames and the written masks."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from benchmarks.masks.png import read_labels
from episodes.sources.base import Source
from fewshot.evaluation.tasks.predictors import Predictor
from fewshot.evaluation.tasks.samples import Sample
from fewshot.media.pictures import Tile, colour_of, enlarge, frame_image, overlay, sheet

FRAMES, ROWS = 4, 4  # frames of a video, expressions of a sample that are shown


def draw_sample(sample: Sample, source: Source, predictor: Predictor, folder: Path) -> Path:
    """Draw a sheet with a row per expression: frames spread over the video, with their masks. Returns its path.

    Objects that share a map have a colour each, which the heading names.
    """
    shown = [(text, _spread(list(masks.items()))) for text, masks in predictor.files(sample)[:ROWS]]
    rows = [(text, [_tile(sample, source, *pair) for pair in pairs]) for text, pairs in shown]
    path = folder / f"{sample.name.replace('/', '_')}.png"
    path.parent.mkdir(parents=True, exist_ok=True)
    found = {k for _, pairs in shown for _, mask in pairs for k in objects_of(read_labels(mask))}
    legend = ", ".join(f"{colour_of(k)[0]}: {k}" for k in sorted(found)) if found - {1, 255} else "orange: prediction"
    sheet([row for row in rows if row[1]], heading=f"{source.name} {sample.name} ({legend})").save(path)
    return path


def _tile(sample: Sample, source: Source, frame: str, mask: Path) -> Tile:
    image = enlarge(frame_image(source.read_frames(sample.video, (frame,))[0]))
    labels = read_labels(mask)
    objects = {k: enlarge(labels == k, image.shape[0]) for k in objects_of(labels)}
    return Tile(overlay(image, enlarge(labels > 0, image.shape[0]), objects=objects), frame)


def objects_of(labels: np.ndarray) -> list[int]:
    """Ids in a label map `(H, W)`, or 255 in a mask, in order."""
    return [k for k in np.unique(labels).tolist() if k]


def _spread(pairs: Sequence[tuple[str, Path]]) -> Sequence[tuple[str, Path]]:
    """At most `FRAMES` of them, evenly spread, the first and the last among them."""
    if len(pairs) <= FRAMES:
        return pairs
    return [pairs[round(k * (len(pairs) - 1) / (FRAMES - 1))] for k in range(FRAMES)]

"""Tracks of objects as `results.json` of YouTube-VIS and OVIS, which their servers and evaluations read."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from episodes.sources.entries import load_json
from episodes.sources.segmentations import runs_of
from episodes.whole_files import replacing

RESULTS = "results.json"
FIELDS = {"video_id", "category_id", "score", "segmentations"}


def track_row(video_id: int, category_id: int, score: float, masks: NDArray[np.bool_]) -> dict[str, Any]:
    """A row of the file from masks `(T, H, W)` of all frames at their size on disk; frames without a pixel are null."""
    runs = [runs_of(mask) if mask.any() else None for mask in masks]
    return {"video_id": video_id, "category_id": category_id, "score": float(score), "segmentations": runs}


def write_tracks(folder: Path | str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write rows of all videos as `results.json`; the path. It appears whole or not at all."""
    path = Path(folder) / RESULTS
    path.parent.mkdir(parents=True, exist_ok=True)
    with replacing(path) as partial:
        partial.write_text(json.dumps(list(rows)), encoding="utf-8")
    return path


def read_tracks(path: Path | str) -> dict[int, list[dict[str, Any]]]:
    """Rows of a result file by video, as `benchmarks.metrics.vis.VisAccumulator.update` takes them.

    Raises FileNotFoundError, and ValueError for a file of another form.
    """
    rows = load_json(Path(path))
    if not isinstance(rows, list) or not all(isinstance(row, dict) and row.keys() >= FIELDS for row in rows):
        raise ValueError(f"{path} is no result file: it must be a list of rows with {', '.join(sorted(FIELDS))}")
    return _by_video(rows)


def _by_video(rows: Iterable[dict[str, Any]]) -> dict[int, list[dict[str, Any]]]:
    found: dict[int, list[dict[str, Any]]] = {}
    for row in rows:
        found.setdefault(row["video_id"], []).append(row)
    return found

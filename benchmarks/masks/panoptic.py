"""Panoptic results as the programs of VIPSeg read them: `pan_pred/<video>/<frame>.png` and `pred.json`."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from episodes.panoptic import PanopticFrame, Segment, colours_of_ids, ids_of_colours
from episodes.sources.entries import load_json
from episodes.sources.files import read_image
from episodes.whole_files import replacing

MAPS, LISTS = "pan_pred", "pred.json"


def write_panoptic(folder: Path | str, video: str, frames: Iterable[PanopticFrame]) -> dict[str, Any]:
    """Write the maps of a video; its row of the lists, for `write_panoptic_lists`."""
    target = Path(folder) / MAPS / video
    target.mkdir(parents=True, exist_ok=True)
    rows = []
    for frame in frames:
        file = f"{frame.name}.png"
        Image.fromarray(colours_of_ids(frame.ids)).save(target / file)
        rows.append({"file_name": file, "segments_info": [_listed(frame.ids, segment) for segment in frame.segments]})
    return {"video_id": video, "annotations": rows}


def write_panoptic_lists(folder: Path | str, rows: Sequence[Mapping[str, Any]]) -> Path:
    """Write the rows of all videos as `pred.json`; the path. It appears whole or not at all."""
    path = Path(folder) / LISTS
    with replacing(path) as partial:
        partial.write_text(json.dumps({"annotations": list(rows)}), encoding="utf-8")
    return path


def read_panoptic(folder: Path | str) -> dict[str, Iterator[PanopticFrame]]:
    """The frames of every video, read when they are asked for, as `benchmarks.metrics.vps.VpsAccumulator` takes them.

    Raises FileNotFoundError for missing lists or maps, ValueError for lists of another form or a broken map.
    """
    path = Path(folder) / LISTS
    try:
        return {str(row["video_id"]): _frames(path, row) for row in load_json(path)["annotations"]}
    except (KeyError, TypeError) as error:
        raise ValueError(f"{path} is no list of panoptic results ({error!r}): write it again") from error


def _frames(path: Path, video: Mapping[str, Any]) -> Iterator[PanopticFrame]:
    for row in video["annotations"]:
        ids = ids_of_colours(read_image(path.parent / MAPS / str(video["video_id"]) / row["file_name"]))
        segments = (Segment(s["id"], s["category_id"], bool(s.get("iscrowd", 0))) for s in row["segments_info"])
        yield PanopticFrame(Path(row["file_name"]).stem, ids, tuple(segments))


def _listed(ids: NDArray[np.integer], segment: Segment) -> dict[str, Any]:
    """A segment with its area and its box `[left, top, width, height]`. Raises ValueError if the map lacks it."""
    rows, columns = np.nonzero(ids == segment.id)
    if not rows.size:
        raise ValueError(f"segment {segment.id} has no pixel in its map: leave it out of the list")
    left, top = int(columns.min()), int(rows.min())
    return {
        "id": int(segment.id),
        "category_id": int(segment.category),
        "iscrowd": int(segment.crowd),
        "area": int(rows.size),
        "bbox": [left, top, int(columns.max()) - left + 1, int(rows.max()) - top + 1],
    }

"""Tiny panoptic data sets in the folders of VIPSeg and of COCO panoptic."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from episodes.panoptic import colours_of_ids

CATEGORIES = [
    {"id": 0, "name": "road", "isthing": 0, "color": [1, 2, 3]},
    {"id": 3, "name": "dog", "isthing": 1, "color": [4, 5, 6]},
    {"id": 7, "name": "cat", "isthing": 1, "color": [7, 8, 9]},
]
ROAD, DOG, CAT, CROWD = 5, 70_000, 9_000_000, 300  # ids of segments; their categories:
CLASSES = {ROAD: 0, DOG: 3, CAT: 7, CROWD: 3}
SIZE = (6, 8)
FRAMES = ("00000", "00002", "00010")


def panoptic_map(number: int) -> np.ndarray:
    """Void above, a road below, a dog that moves to the right, a cat from the second frame on, and a crowd."""
    ids = np.zeros(SIZE, np.uint32)
    ids[3:] = ROAD
    ids[1:4, number : number + 2] = DOG
    ids[0, 7] = CROWD
    if number:
        ids[5, 5:7] = CAT
    return ids


def segments(ids: np.ndarray) -> list[dict[str, Any]]:
    """The list of a map, largest id first."""
    return [
        {"id": k, "category_id": CLASSES[k], "iscrowd": int(k == CROWD), "area": int((ids == k).sum())}
        for k in sorted(np.unique(ids).tolist(), reverse=True)
        if k
    ]


def write_panoptic_frame(image: Path, map_file: Path, number: int) -> dict[str, Any]:
    """Write the picture and the map of a frame; its row of the list."""
    ids = panoptic_map(number)
    for path, pixels in ((image, np.full((*SIZE, 3), 30 * number, np.uint8)), (map_file, colours_of_ids(ids))):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)
    return {"file_name": map_file.name, "segments_info": segments(ids)}


def write_vipseg(root: Path, split: str = "val", videos: dict[str, int] | None = None) -> Path:
    """VIPSeg with `videos` (name -> number of frames) and, unless told, the videos `b` of three and `a` of two."""
    rows = []
    for video, number in ({"b": 3, "a": 2} if videos is None else videos).items():
        names = FRAMES[:number]
        files = [(root / "images" / video / f"{f}.jpg", root / "panomasksRGB" / video / f"{f}.png") for f in names]
        own = [write_panoptic_frame(*pair, t) for t, pair in enumerate(files)]
        rows.append({"video_id": video, "annotations": own})
    lists = {"videos": [{"video_id": row["video_id"]} for row in rows], "annotations": rows, "categories": CATEGORIES}
    (root / f"panoptic_gt_VIPSeg_{split}.json").write_text(json.dumps(lists))
    return root


def write_coco_panoptic(root: Path, split: str = "val2017") -> Path:
    """COCO panoptic with two images."""
    maps, rows = root / "annotations" / f"panoptic_{split}", []
    for number in range(2):
        name = f"{number:012d}"
        row = write_panoptic_frame(root / split / f"{name}.jpg", maps / f"{name}.png", number)
        rows.append({"image_id": number, **row})
    lists = {"images": [], "annotations": rows, "categories": CATEGORIES}
    (root / "annotations" / f"panoptic_{split}.json").write_text(json.dumps(lists))
    return root

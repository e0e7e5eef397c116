"""Videos of label maps as data sets of expressions, each object an expression of its own."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.masks.png import write_labels, write_mask
from episodes.sources.segmentations import runs_of

LAYOUTS = ("shared", "own", "mevis")  # palettes of a video, masks of each expression, or run lengths
Videos = Mapping[str, tuple[np.ndarray, Sequence[int]]]


def write_expressions(root: Path, layout: str, videos: Videos) -> tuple[str, Path]:
    """Lists and truth of `videos`, name -> (label maps `(T, H, W)`, objects); the benchmark, and the root.

    `shared` and `own` are two layouts of the validation split of Ref-YouTube-VOS. Frames are numbered; there are none.
    """
    benchmark, split = ("mevis", "valid_u") if layout == "mevis" else ("ref_youtube_vos", "valid")
    said: dict[str, Any] = {}
    runs: dict[str, list] = {}
    for name, (labels, objects) in videos.items():
        frames = [f"{t:05d}" for t in range(len(labels))]
        said[name] = {"frames": frames, "expressions": {}}
        for key, k in enumerate(objects):
            row: dict[str, Any] = {"exp": f"the thing {k}"}
            if layout == "shared":
                row["obj_id"] = str(k)
            if layout == "mevis":
                row |= {"obj_id": [k], "anno_id": [len(runs)]}
                runs[str(len(runs))] = [runs_of(m == k) if (m == k).any() else None for m in labels]
            said[name]["expressions"][str(key)] = row
            for frame, own in zip(frames, labels, strict=True):
                if layout == "own":
                    write_mask(root / split / "Annotations" / name / str(key) / f"{frame}.png", own == k)
        for frame, own in zip(frames, labels, strict=True):
            if layout == "shared":
                write_labels(root / split / "Annotations" / name / f"{frame}.png", own)
    lists = root / split if layout == "mevis" else root / "meta_expressions" / split
    lists.mkdir(parents=True, exist_ok=True)
    (lists / "meta_expressions.json").write_text(json.dumps({"videos": said}))
    if layout == "mevis":
        (lists / "mask_dict.json").write_text(json.dumps(runs))
    return benchmark, root

"""A2D-Sentences and JHMDB-Sentences in their real layouts, with tiny videos: green says which frame it is."""

from __future__ import annotations

import json
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat

SIZE = (24, 32)  # height and width
A2D_ROWS = [
    ["A dog is running", "vid_b", 1, 1],
    ["a  cat behind it", "vid_b", 1, 2],
    ["A dog is running", "vid_b", 4, 1],
    ["a ball", "vid-a", 6, 3],
]
A2D_FRAMES = {"vid_b": 5, "vid-a": 6}


def pixels(number: int) -> np.ndarray:
    """Frame `number` (from 1 on): red rises with the column, green with the frame."""
    frame = np.zeros((*SIZE, 3), np.uint8)
    frame[..., 0] = np.linspace(0, 255, SIZE[1])
    frame[..., 1] = 20 * number
    return frame


def object_mask(object_id: int, number: int) -> np.ndarray:
    """`(H, W)`: a block that is wider than high, lower for higher ids, and moves by one column a frame."""
    mask = np.zeros(SIZE, np.uint8)
    mask[6 * object_id - 5 : 6 * object_id, 4 + number : 14 + number] = 1
    return mask


def write_film(path: Path, frames: Sequence[np.ndarray]) -> Path:
    """A video file without loss."""
    av = pytest.importorskip("av")
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264rgb", rate=Fraction(5))
        stream.height, stream.width, stream.pix_fmt, stream.options = *SIZE, "rgb24", {"crf": "0"}
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
    return path


def write_annotation(root: Path, video: str, number: int, ids: Sequence[int], masks: Sequence[np.ndarray]) -> Path:
    """As MATLAB writes it: masks turned, and no axis of objects where there is one."""
    h5py = pytest.importorskip("h5py")
    path = root / "text_annotations/a2d_annotation_with_instances" / video / f"{number:05d}.h5"
    path.parent.mkdir(parents=True, exist_ok=True)
    turned = np.stack([mask.T for mask in masks])
    with h5py.File(path, "w") as file:
        file["instance"] = np.array(ids, np.float64)
        file["reMask"] = turned[0] if len(ids) == 1 else turned
    return path


def write_a2d(root: Path, rows: Sequence[Sequence[Any]] = A2D_ROWS, split: str = "test") -> Path:
    """Two videos; in frame 1 of vid_b are objects 1 and 2, in frame 4 object 1, in frame 6 of vid-a object 3."""
    for video, count in A2D_FRAMES.items():
        write_film(root / "Release/CLIPS320" / f"{video}.mp4", [pixels(k) for k in range(1, count + 1)])
    for video, number, ids in (("vid_b", 1, (1, 2)), ("vid_b", 4, (1,)), ("vid-a", 6, (3,))):
        write_annotation(root, video, number, ids, [object_mask(k, number) for k in ids])
    (root / f"a2d_sentences_single_frame_{split}_annotations.json").write_text(json.dumps(list(rows)))
    return root


def jhmdb_rows(folder: str = "jhmdb_sentences") -> list[list[Any]]:
    """Three annotated frames of one video, one of another; paths as the real list has them."""
    rows = []
    for video, number, count in (("catch_1", 1, 7), ("catch_1", 4, 7), ("catch_1", 7, 7), ("wave_2", 2, 3)):
        action = video.split("_")[0]
        frame = f"{folder}/Rename_Images/{action}/{video}/{number:05d}.png"
        rows.append([video, frame, f"{folder}/puppet_mask/{action}/{video}/puppet_mask.mat", count, "A man catches"])
    return rows


def write_jhmdb(root: Path, rows: Sequence[Sequence[Any]] | None = None) -> Path:
    """Frames and masks of two videos; `root` is the folder `jhmdb_sentences` that listed paths start with."""
    for video, count in (("catch_1", 7), ("wave_2", 3)):
        action = video.split("_")[0]
        images, masks = root / "Rename_Images" / action / video, root / "puppet_mask" / action / video
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        for number in range(1, count + 1):
            Image.fromarray(pixels(number)).save(images / f"{number:05d}.png")
        parts = np.stack([object_mask(1, number) for number in range(1, count + 1)], -1)
        savemat(masks / "puppet_mask.mat", {"part_mask": parts})
    listed = jhmdb_rows() if rows is None else rows
    (root / "jhmdb_sentences_samples_metadata.json").write_text(json.dumps(list(listed)))
    return root

"""Writes tiny data sets in the Mini-Ref-YouTube-VOS layout."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

from episodes.folds import Folds

INNER = Path("data") / "mini-ref-youtube-vos"


@dataclass
class TinyVideo:
    """`objects`: id -> category. `said`: (text, object id). `hidden`: (frame number, object id) not drawn."""

    objects: dict[int, str]
    said: list[tuple[str, int]]
    frames: int = 4
    size: tuple[int, int] = (12, 16)
    hidden: set[tuple[int, int]] = field(default_factory=set)

    def mask(self, frame: int) -> np.ndarray:
        """Object `o` is a block of 4x3 pixels that moves by one column a frame."""
        mask = np.zeros(self.size, np.uint8)
        for o in self.objects:
            if (frame, o) not in self.hidden:
                mask[5 * (o - 1) + 1 : 5 * (o - 1) + 5, 2 + frame : 5 + frame] = o
        return mask


def write_tree(root: Path, videos: Mapping[str, TinyVideo], inner: Path = INNER) -> Path:
    """Write `videos` under `root` and return `root`."""
    train, sayings = root / inner / "train", root / inner / "meta_expressions" / "train"
    train.mkdir(parents=True)
    sayings.mkdir(parents=True)
    meta, said = {}, {}
    for name, video in videos.items():
        frames = [f"{5 * f:05d}" for f in range(video.frames)]
        meta[name] = {"objects": {str(o): {"category": c, "frames": frames} for o, c in video.objects.items()}}
        said[name] = {
            "frames": frames,
            "expressions": {str(k): {"exp": text, "obj_id": str(o)} for k, (text, o) in enumerate(video.said)},
        }
        write_frames(train / "JPEGImages" / name, train / "Annotations" / name, frames, video)
    (train / "meta.json").write_text(json.dumps({"videos": meta}))
    (sayings / "meta_expressions.json").write_text(json.dumps({"videos": said}))
    return root


def write_frames(images: Path, masks: Path, frames: list[str], video: TinyVideo, suffix: str = ".jpg") -> None:
    """The files of one video. Red rises with the column and green with the frame."""
    images.mkdir(parents=True)
    masks.mkdir(parents=True)
    for f, frame in enumerate(frames):
        pixels = np.zeros((*video.size, 3), np.uint8)
        pixels[..., 0] = np.linspace(0, 255, video.size[1])
        pixels[..., 1] = 20 * f
        Image.fromarray(pixels).save(images / f"{frame}{suffix}")
        Image.fromarray(video.mask(f)).save(masks / f"{frame}.png")


def tiny_world(folds: Folds, per_class: int = 6) -> dict[str, TinyVideo]:
    """`per_class` videos of each class; in every third one a second object is of the next class of the same group."""
    videos = {}
    for k, name in enumerate(folds.classes):
        other = folds.classes[(k + len(folds.groups)) % len(folds.classes)]
        for n in range(per_class):
            said = [(f"The  LEFT {name} number {n}", 1), (f"a {name} right of it", 1)]
            objects = {1: name}
            if n % 3 == 2:
                objects[2] = other
                said.append((f"the {other} below", 2))
            videos[f"{name}-{n}"] = TinyVideo(objects, said, frames=3 + n % 4)
    return videos

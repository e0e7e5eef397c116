"""Small data of each kind of task, and somebody who knows the answers."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import torch
from PIL import Image
from torch import Tensor

from episodes.batch import ClipBatch
from episodes.sources.base import Source
from fewshot.inference.trackers import FrameMasks
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import FRAMES, write_videos

PAIR = TinyVideo({1: "dog", 2: "cat"}, [])


def write_ref_davis(root: Path, videos: dict[str, TinyVideo]) -> Path:
    """Ref-DAVIS17 as JSON: four annotators, an expression of each for each object."""
    write_videos(root / "valid", videos)
    path = root / "meta_expressions" / "valid" / "meta_expressions.json"
    path.parent.mkdir(parents=True)
    rows = {}
    for name, video in videos.items():
        said = [(f"the {what} by {a}", k) for k, what in video.objects.items() for a in range(4)]
        entries = {str(n): {"exp": text, "obj_id": str(k)} for n, (text, k) in enumerate(said)}
        rows[name] = {"frames": FRAMES[: video.frames], "expressions": entries}
    path.write_text(json.dumps({"videos": rows}))
    return root


def write_refcoco(root: Path) -> Path:
    """RefCOCO val: two objects of one image, with two expressions and one."""
    (root / "train2014").mkdir(parents=True)
    (root / "annotations").mkdir()
    Image.new("RGB", (64, 48), (9, 90, 200)).save(root / "train2014" / "a.jpg")
    size = {"file_name": "a.jpg", "height": 48, "width": 64}
    images = [{"id": 1, **size, "expressions": ["the left one", "it"]}, {"id": 2, **size, "expressions": ["right"]}]
    left, right = [0, 0, 32, 0, 32, 48, 0, 48], [32, 0, 64, 0, 64, 48, 32, 48]
    annotations = [{"image_id": 1, "segmentation": [left]}, {"image_id": 2, "segmentation": [right]}]
    content = {"images": images, "annotations": annotations}
    (root / "annotations" / "refcoco-unc_val.json").write_text(json.dumps(content))
    return root


class Knowing:
    """In place of a tracker: answers with the true masks of one video, all objects in every frame."""

    def __init__(self, source: Source, exclusive: bool = True) -> None:
        self.source, self.exclusive = source, exclusive
        self.video, self.ids, self.first = "", (1, 2), 0  # `first`: number of the frame in which objects are known
        self.given: list[dict[int, Tensor]] = []

    def start(self, size: tuple[int, int], expressions: list[str] | None = None) -> int:
        self.size, self.expressions = size, expressions
        return 0

    def step(self, state: int, frame: ClipBatch, given: dict[int, Tensor] | None = None) -> tuple[int, FrameMasks]:
        self.given.append(given or {})
        if state < self.first:
            nothing = torch.zeros(0, *self.size)
            return state + 1, FrameMasks((), nothing, nothing.bool(), ())
        masks = torch.cat([self.source.read_masks(self.video, FRAMES[state : state + 1], k) for k in self.ids])
        return state + 1, FrameMasks(self.ids, masks.float(), masks, (0.5,) * len(self.ids))


class LeftHalf(System):
    """Finds the left half of every image, and nothing where the expression says so."""

    def encode_supports(self, supports: ClipBatch, shots: int) -> None:
        raise NotImplementedError

    def encode_text(self, expressions: Sequence[str | None]) -> tuple[str | None, ...]:
        return tuple(expressions)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        count, (height, width) = len(queries), queries.frames.shape[-2:]
        logits = torch.full((count, 1, 1, height // 4, width // 4), -5.0)
        logits[..., : width // 8] = 5.0
        boxes = torch.tensor([[0.25, 0.5, 0.0 if text == "it" else 0.5, 1.0] for text in state.words])
        return Prediction(logits, torch.full((count, 1, 1), 0.7), boxes[:, None, None])

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        raise NotImplementedError

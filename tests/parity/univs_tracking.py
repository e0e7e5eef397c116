"""Runs the reference cases of UniVS' trackers, which a scripted head drives in place of the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.systems.univs.answers import Answer, Candidates
from fewshot.systems.univs.objects import ObjectState, ObjectTracker
from tests.parity.univs_reference import array, mismatches, packed, rectangle

Arrays = dict[str, Tensor]
GRID = (24, 32)
FAR = -8.0  # logit of the classes of other data sets


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of a tracker."""
    kind = case["task"].split(":")[0]
    return mismatches(case["expected"], RUNNERS[kind](case), tolerances=lambda _: 1e-5)


class ScriptedHead:
    """Blobs that move, with noisy embeddings and scores, as the cases describe them."""

    def __init__(self, inputs: Mapping[str, Any], queries: int, width: int) -> None:
        self.g, self.queries, self.width, self.classes = inputs["g"], queries, width, inputs["K"]
        self.base = array(f"{self.g}:emb", [queries, width], -1, 1)

    def masks(self, start: int, frames: int) -> Tensor:
        """Logits `(Q, T, 24, 32)`."""
        blobs = array(f"{self.g}:blob", [self.queries, 6], 0, 1)
        centre, radius, speed = 0.1 + 0.8 * blobs[:, :2], 0.08 + 0.22 * blobs[:, 2:4], 0.04 * (blobs[:, 4:] - 0.5)
        time = start + torch.arange(frames)
        at = centre[:, None] + speed[:, None] * time[:, None]  # (Q, T, 2)
        y, x = ((torch.arange(n) + 0.5) / n for n in GRID)
        down = ((y - at[..., :1]) / radius[:, None, :1]) ** 2
        right = ((x - at[..., 1:]) / radius[:, None, 1:]) ** 2
        return (6 * (1 - down[..., None] - right[..., None, :])).clamp(min=-12)

    def logits(self, start: int) -> Tensor:
        """Of the classes of the data set `(Q, K)`."""
        logits = array(f"{self.g}:logit", [self.queries, self.classes], -7, -3)
        query = torch.arange(self.queries)
        logits[query, (7 * query) % self.classes] = array(f"{self.g}:score", [self.queries], -2, 3)
        if self.g.endswith("late") and start < 2:
            logits[:8] = -7
        return logits

    def answer(self, start: int, frames: int, stored: Tensor | None, targets: int) -> Answer:
        """The answer for a clip.

        Args:
            stored: embeddings `(N, C)` of the last slot of the targets; None in the first clip.
            targets: N.
        """
        masks, logits = self.masks(start, frames), self.logits(start)
        noise = array(f"{self.g}:noise:{start}", [self.queries, frames, self.width], -0.3, 0.3)
        learnable = Candidates(masks, self.base[:, None] + noise, logits)
        if start == 0 or stored is None:
            near = torch.arange(targets) % self.queries
            own = self.base[near]
        else:
            near = (F.normalize(stored, dim=-1) @ F.normalize(self.base, dim=-1).T).argmax(1)
            own = stored
        noise = array(f"{self.g}:pnoise:{start}", [64, frames, self.width], -0.4, 0.4)[:targets]
        embeddings = own[:, None] + noise
        if start % 2:
            embeddings[4::5] = array(f"{self.g}:rnd", [1, self.width], -1, 1)
        return Answer(learnable, Candidates(masks[near] - 0.5, embeddings, logits[near]))


def annotations_of(inputs: Mapping[str, Any]) -> dict[int, dict[int, Tensor]]:
    """Masks that are given, by frame and object."""
    size = (inputs["height"], inputs["width"])
    return {
        int(frame): {
            target: rectangle(rect, *size)
            for target, rect in zip(given["ids"], given["rect_masks_y0_y1_x0_x1"], strict=True)
        }
        for frame, given in inputs["annotations"].items()
    }


def padded_size(inputs: Mapping[str, Any]) -> tuple[int, int]:
    """Height and width at multiples of 32."""
    return inputs["height"] + -inputs["height"] % 32, inputs["width"] + -inputs["width"] % 32


def run_objects(case: Mapping[str, Any]) -> Arrays:
    """VOS: objects that are given in the first frame and later."""
    inputs, config = case["inputs"], case["config"]
    head = ScriptedHead(inputs, config["num_queries"], config["hidden_dim"])
    tracker = ObjectTracker(config["num_prev_frames_memory"], config["temporal_consistency_threshold"], bounded=False)
    ids = tuple(case["object_ids_order"])
    state = ObjectState.start(ids, (inputs["height"], inputs["width"]), padded_size(inputs), head.width)
    given, frames = annotations_of(inputs), config["frames_per_clip"]
    arrays: Arrays = {}
    for start in range(inputs["frames"] - frames + 1):
        last = state.embeddings[:, -1] if start else None
        state = tracker.advance(state, start, frames, given)
        last = state.embeddings[:, -1] if start else None
        state = tracker.take(state, head.answer(start, frames, last, len(ids)), start)
        arrays.update({f"clip{start}.{name}": value for name, value in objects_stored(state).items()})
    return arrays


def objects_stored(state: ObjectState) -> Arrays:
    """What a case stores of the state of a tracker of objects."""
    return {
        "masks.packbits": packed(state.masks),
        "mask_logits.s8": state.logits[..., ::8, ::8],
        "boxes": state.boxes,
        "embds.s16": state.embeddings[..., ::16],
        "first_appear_frame_idxs": state.first,
        "ids": torch.tensor(state.ids),
    }


RUNNERS = {"vos": run_objects}

"""Runs the reference cases of UniVS' trackers, which a scripted head drives in place of the network."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from fewshot.systems.univs.answers import Answer, Candidates
from fewshot.systems.univs.entities import EntityRules, EntityState
from fewshot.systems.univs.objects import ObjectState, ObjectTracker
from fewshot.systems.univs.outputs import Segment, TrackScores, masks_of, panoptic, semantic
from fewshot.systems.univs.partners import QUERIES
from tests.parity.univs_reference import array, mismatches, packed, rectangle

Arrays = dict[str, Tensor]
GRID = (24, 32)
FAR = -8.0  # logit of the classes of other data sets
NAMES = {  # which cases may give what is written of tracks
    "score": ("score", "scores"),
    "category": ("category", "category_id", "category_ids", "categories", "labels"),
    "area": ("area", "areas"),
}


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
    tracker = tracker_of(config)
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


def tracker_of(config: Mapping[str, Any]) -> ObjectTracker:
    """The rules of a case of VOS."""
    memory, threshold = config["num_prev_frames_memory"], config["temporal_consistency_threshold"]
    queries = config.get("vos_queries", config["unified_inference_queries"])
    assert queries in QUERIES, f"unknown queries: {queries}"
    return ObjectTracker(memory, threshold, bounded=False, queries=queries)


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


def rules_of(case: Mapping[str, Any]) -> EntityRules:
    """The rules of a case of VIS or VPS."""
    config, panoptic = case["config"], case["task"].startswith("vps")
    score, match = config["apply_cls_thres"], config["detect_newly_object_threshold"]
    return EntityRules(
        memory=config["num_prev_frames_memory"],
        threshold=config["temporal_consistency_threshold"],
        candidates=config["detections_per_image"],
        stability=config["stability_score_thresh"],
        box_limit=config["box_nms_thresh"],
        mask_limit=config["overlap_threshold"],
        first_score=score if panoptic else max(score, 0.1),
        later_score=2 * score if panoptic else score,
        match=match,
        add_masks=match if panoptic else 2 * match,
        share=None if panoptic else config["overlap_threshold_entity"],
        things=58 if panoptic else None,
        start_late=False,
        padded_quality=True,
    )


def run_entities(case: Mapping[str, Any]) -> Arrays:
    """VIS and VPS: entities that are found."""
    inputs, config = case["inputs"], case["config"]
    head, rules = ScriptedHead(inputs, config["num_queries"], config["hidden_dim"]), rules_of(case)
    unpadded, frames = (inputs["height"], inputs["width"]), config["frames_per_clip"]
    state = EntityState.start(frames, unpadded, padded_size(inputs), head.width, head.classes)
    arrays, told = Arrays(), Told(case, rules)
    for start in range(inputs["frames"] - frames + 1):
        if start:
            state = rules.advance(state)
        answer = head.answer(start, frames, state.embeddings[:, -1] if start else None, len(state))
        state = rules.follow(state, answer.prompts, start)
        state = rules.discover(state, answer.learnable, start)
        arrays.update({f"clip{start}.{name}": value for name, value in entities_stored(state).items()})
        state = told.window(state, start)
    return {**arrays, **told.end(state)}


class Told:
    """What is written of a video: windows of it now and then, and the rest at the end."""

    def __init__(self, case: Mapping[str, Any], rules: EntityRules) -> None:
        self.case, self.rules = case, rules
        self.size = (case["inputs"]["out_height"], case["inputs"]["out_width"])
        self.scores, self.segments, self.frames = TrackScores(), tuple[Segment, ...](), 0
        self.areas: dict[int, list[Tensor]] = {}  # of each track
        self.labels: list[Tensor] = []

    def window(self, state: EntityState, start: int) -> EntityState:
        """The state without what is written after the clip that starts at a frame."""
        due = self.rules.due(start)
        if due:
            self.add(state, due, due)
        return state.without(due) if due else state

    def add(self, state: EntityState, frames: int, slots: int) -> None:
        """The first frames, and so many slots, that are kept."""
        if self.rules.things is not None:
            labels, self.segments = panoptic(state, self.size, self.rules.things, known=self.segments, frames=frames)
            self.labels.append(labels)
            return
        self.scores = self.scores.added(state, slots)
        for number, masks in zip(state.ids.tolist(), masks_of(state, frames, self.size), strict=True):
            before = self.areas.setdefault(number, [torch.zeros(self.frames, dtype=torch.int64)])
            before.append(masks.flatten(1).sum(1))
        self.frames += frames

    def end(self, state: EntityState) -> Arrays:
        """All arrays of the video, under the names that cases may give them."""
        self.add(state, state.logits.shape[1], state.scores.shape[1])
        if self.rules.things is not None:
            found = [{"id": s.number, "isthing": s.thing, "category_id": s.label + 1} for s in self.segments]
            said = self.case["inputs"].get("segments_infos") or self.case["final"]["segments_infos"]
            assert found == said, f"segments {found}, expected {said}"
            return {"final.panoptic": torch.cat(self.labels)}
        rows = self.scores.ranked()
        found = {
            "score": torch.tensor([row.score for row in rows]),
            "category": torch.tensor([row.label for row in rows]),
            "area": torch.stack([torch.cat(self.areas[row.id]) for row in rows]),
        }
        return {f"final.{name}": found[kind] for kind, names in NAMES.items() for name in names}


def run_semantic(case: Mapping[str, Any]) -> Arrays:
    """VSS: a class for every pixel."""
    inputs, config = case["inputs"], case["config"]
    head, frames = ScriptedHead(inputs, config["num_queries"], config["hidden_dim"]), config["frames_per_clip"]
    clips = []
    for start in range(0, inputs["frames"], frames):
        answer = head.answer(start, min(frames, inputs["frames"] - start), None, 0)
        unpadded, size = (inputs["height"], inputs["width"]), (inputs["out_height"], inputs["out_width"])
        clips.append(semantic(answer.learnable, unpadded, padded_size(inputs), size))
    return {"final.sem_mask": torch.cat(clips)}


def entities_stored(state: EntityState) -> Arrays:
    """What a case stores of the state of entities."""
    return {
        "logits.s3": state.scores[..., ::3],
        "masks.packbits": packed(state.masks),
        "mask_logits.s8": state.logits[..., ::8, ::8],
        "boxes": state.boxes,
        "embds.s16": state.embeddings[..., ::16],
        "occurrence": state.occurrence,
        "mask_quality_scores": state.quality,
        "first_appear_frame_idxs": state.first,
        "ids": state.ids,
    }


RUNNERS = {"vss": run_semantic, "vis": run_entities, "vps": run_entities, "vos": run_objects}

"""Runs the reference cases of the training of UniVS: prompts, matching, losses and gradients of one step."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from torch import Tensor

from fewshot.systems.univs.checkpoint import table
from fewshot.systems.univs.concepts import ROWS, slice_of
from fewshot.systems.univs.criterion import Criterion
from fewshot.systems.univs.decoder import Found
from fewshot.systems.univs.draws import FixedDraws
from fewshot.systems.univs.lessons import LessonRules, Looks
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.points import PointSampling
from fewshot.systems.univs.school import Lesson, Reply, School
from fewshot.systems.univs.targets import Targets, boxes_of
from tests.parity.univs_model import model_of
from tests.parity.univs_reference import array, concepts, frames_of, mismatches, packed, rectangle

Arrays = dict[str, Tensor]
LIKENESS = 0.5  # weight of re-identification


class RecordedDraws(FixedDraws):
    """The draws of the cases: everything in order, points and kinds of prompts by their recipes.

    Args:
        points: of each mask.
        visual: whether prompts are looks; drawn: whether a coin decides about that, as where there are classes.
    """

    def __init__(self, points: int, visual: bool, drawn: bool) -> None:
        super().__init__()
        self.count, self.visual, self.drawn = points, visual, drawn

    def kinds(self, count: int) -> Tensor:
        """By the recipe."""
        return array("prompt_types", [count], 0, 1)

    def points(self, rows: int, count: int) -> Tensor:
        """The same ones for every mask."""
        assert count == self.count
        return array("points", [1, count, 2], 0, 1).expand(rows, -1, -1)

    def coin(self) -> float:
        """The kind of prompt is drawn first; later coins take the position of a prompt for that of its query."""
        kind, self.drawn = self.drawn, False
        return float(not self.visual) if kind else 0.9


@dataclass
class Seen:
    """What a training step computed on its way."""

    replies: list[Reply] = field(default_factory=list)
    matches: list[Any] = field(default_factory=list)
    memories: list[Looks] = field(default_factory=list)


def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of training."""
    model, inputs, config = model_of(case, folder), case["inputs"], case["config"]
    model.train()
    kind = re.search(r"prompt=(visual|text)", case["task"])
    assert kind is not None, f"unknown kind of prompt: {case['task']}"
    lesson, school = lesson_of(case, model), school_of(case)
    draws = RecordedDraws(config["train_num_points"], kind.group(1) == "visual", lesson.concepts is not None)
    with watched() as seen:
        losses = school.losses(model, lesson, draws)
    weight = Criterion(likeness=LIKENESS / 2 if school.clip_frames else LIKENESS).weight
    got = {f"loss.{name}": (weight(name) * value)[None] for name, value in losses.terms.items()}
    got["total"] = losses.total.reshape(case["expected"]["total"].shape)
    got.update(targets_stored(inputs, seen.replies[0]))
    got.update(outputs_stored(seen.replies[0], model.sizes.num_queries, concepts(), model))
    if seen.memories:
        got.update(memory_stored(seen.memories[0], school.clip_frames))
    losses.total.backward()
    got.update({f"gradnorm.{name}": norm for name, norm in gradient_norms(model).items()})
    for name, wanted in case["expected"].items():  # what plays no part in a step may be listed as 0
        if name.startswith(("loss.", "gradnorm.")) and not wanted.any():
            got.setdefault(name, torch.zeros(wanted.shape))
    wanted = case.get("matching", {}).get("indices", [])
    found = seen.matches[: len(wanted)]
    problems = [] if found == wanted else [f"matching: {found}, expected {wanted}"]
    return problems + mismatches(case["expected"], got, tolerances=tolerance)


def tolerance(name: str) -> float:
    """Allowed error of an array relative to its largest value."""
    return 1e-5 if name.startswith(("loss.", "total")) else 1e-3 if name.startswith("gradnorm.") else 1e-4


def school_of(case: Mapping[str, Any]) -> School:
    """The released training without its random draws, which the cases replace."""
    config = case["config"]
    rules = LessonRules(0.5, config.get("max_num_masks", 20), shuffled=True, permute_time=False)
    sampling = PointSampling(config["train_num_points"], 1.0, 0.0)
    long = case["task"].startswith("stage-3")
    return School(rules, Criterion(sampling, LIKENESS, count_absent=True), config["frames_per_clip"] if long else 0)


def lesson_of(case: Mapping[str, Any], model: UniVS) -> Lesson:
    """The videos of a case."""
    inputs = case["inputs"]
    names, size = inputs["image_names"], (inputs["height"], inputs["width"])
    frames = torch.cat([frames_of(name, inputs["frames"], *size) for name in names])
    moments = torch.tensor(inputs["frame_indices"]).expand(len(names), -1)
    targets = [targets_of(objects, inputs) for objects in objects_of(inputs)]
    classes = concepts()[slice_of(inputs["dataset_name"])] if inputs["dataset_name"] in ROWS else None
    return Lesson(model.encode_frames(frames), moments, targets, classes)


def objects_of(inputs: Mapping[str, Any]) -> list[Any]:
    """The objects of each video."""
    videos: list[Any] = inputs["objects"]
    return videos if isinstance(videos[0], list) else [videos]


def targets_of(objects: list[Mapping[str, Any]], inputs: Mapping[str, Any]) -> Targets:
    """The objects of one video on its padded frames. Classes are counted from 1 in the cases."""
    size = (inputs["height"], inputs["width"])
    down, right = (-side % 32 for side in size)
    masks = torch.zeros(len(objects), inputs["frames"], *size, dtype=torch.bool)
    for own, masks_of_one in zip(objects, masks, strict=True):
        rects = own.get("rects_per_frame_y0_y1_x0_x1") or dict(enumerate(own["r"]))
        for frame, rect in rects.items():
            masks_of_one[int(frame)] = rectangle(rect, *size)
    masks = torch.nn.functional.pad(masks, (0, right, 0, down))
    ids = torch.tensor([own["id"] for own in objects])[:, None] - min(own["id"] for own in objects)
    ids = torch.where(masks.flatten(2).any(2), ids, -1)
    return Targets(torch.tensor([own["cls"] - 1 for own in objects]), ids, masks, boxes_of(masks))


@contextmanager
def watched() -> Iterator[Seen]:
    """Training while its steps are written down."""
    seen, answer, of_head, remember = Seen(), School.answer, Criterion.of_head, School.remember

    def answering(*args: Any, **options: Any) -> Reply:
        seen.replies.append(answer(*args, **options))
        return seen.replies[-1]

    def matching(*args: Any, **options: Any) -> Any:
        terms, matches = of_head(*args, **options)
        seen.matches.append([[x.tolist() for x in own] for own in matches])
        return terms, matches

    def remembering(*args: Any, **options: Any) -> Looks:
        seen.memories.append(remember(*args, **options))
        return seen.memories[-1]

    with (
        patch.object(School, "answer", answering),
        patch.object(Criterion, "of_head", matching),
        patch.object(School, "remember", remembering),
    ):
        yield seen


def targets_stored(inputs: Mapping[str, Any], reply: Reply) -> Arrays:
    """What a case stores of targets and of what was asked for."""
    arrays: dict[str, Any] = {}
    assert reply.question is not None
    for v, (objects, asked) in enumerate(zip(objects_of(inputs), reply.question[1], strict=True)):
        targets = targets_of(objects, inputs)
        arrays.update(
            {
                f"target{v}.labels": targets.labels + 1,
                f"target{v}.ids": targets.ids,
                f"target{v}.boxes": targets.boxes,
                f"target{v}.masks.packbits": packed(targets.masks),
                f"target{v}.prompt_obj_ids": asked.ids,
                f"target{v}.prompt_gt_labels": asked.labels + 1,
                f"target{v}.sem_labels": asked.labels[asked.ids >= 0] + 1,
                f"target{v}.sem_masks.packbits": packed(asked.masks[asked.ids >= 0]),
            }
        )
    return arrays


def outputs_stored(reply: Reply, learnable: int, classes: Tensor, model: UniVS) -> Arrays:
    """What a case stores of the answers to a clip."""
    last: Found = reply.found[-1]
    embeddings, scores = last.embeddings, model.decoder.heads.classes(last.embeddings, classes)
    some = embeddings.flatten(0, 2)[::37]
    arrays = {
        "out.pred_logits.s41": scores[..., ::41],
        "out.pred_masks.s16": last.masks[:, ::16],
        "out.pred_masks.prompt": last.masks[:, learnable:],
        "out.pred_embds.s": embeddings[:, ::8, :, ::8],
        "out.pred_reid_logits.s": some @ some.T / some.shape[1] ** 0.5,
    }
    means = {f"aux{k}.mask_mean": x.masks.mean((3, 4))[:, ::4] for k, x in enumerate(reply.found[:-1])}
    return {**arrays, **means}


def memory_stored(memory: Looks, frames: int) -> Arrays:
    """What a case stores of the prompts that later clips remember."""
    tokens, positions = (x[0].sum(1, keepdim=True).expand(-1, frames, -1) for x in memory)
    return {"memory.feats.sumL": tokens, "memory.pe.sumL": positions, "memory.L": torch.tensor(memory[0].shape[2])}


def gradient_norms(model: UniVS) -> Arrays:
    """Norm of the gradient of every tensor that has one, by its official name."""
    keys = table()
    own = {name: x.grad for name, x in model.named_parameters() if x.grad is not None}
    return {keys.to_official(name)[0]: gradient.norm() for name, gradient in own.items()}

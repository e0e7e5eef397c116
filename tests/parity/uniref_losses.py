"""Runs UniRef in training mode on the reference cases `loss_*`: every loss, every match, norms of gradients.

What a case may hold: `images`, each on its own, or `frames`, pairs of a reference and a target frame of each video;
rectangles of one object per image (or of several, with `labels`), expressions as token ids.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from episodes.batch import ClipBatch, References
from episodes.clip import Objects
from fewshot.systems.uniref.checkpoint import TABLE
from fewshot.systems.uniref.detection import Detection
from fewshot.systems.uniref.losses import UniRefCriterion, match_layer, match_proposals
from fewshot.systems.uniref.model import UniRef
from fewshot.systems.uniref.targets import ImageTargets, targets_of
from tests.parity.uniref_model import batch_of, expression, model_of
from tests.parity.uniref_reference import image_of, rectangle

VIDEO_TASKS = ("vos",)  # whose masks are learnt at full resolution


@dataclass(frozen=True)
class Setting:
    """What the training of a case differs in."""

    mask_stride: int
    mask_aux: bool
    box_supervision: bool


def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of the losses: names of terms, matches and gradients, with both values."""
    model = model_of(case, folder)
    numbers = numbers_of(case, folder)
    supports, queries = clips_of(case, weak=bool(numbers["boxinst"]))
    setting = Setting(
        numbers["mask_stride_vos" if case["task"] in VIDEO_TASKS else "mask_stride"],
        numbers["mask_aux_loss"],
        bool(numbers["boxinst"]),
    )
    with trained_as(model, setting):
        shots = 0 if supports is None else len(supports) // len(queries)
        found = model(queries, model.encode_reference(References(supports, shots, queries.expressions)))
        losses = model.losses(found, queries)
        losses.total.backward()
        targets = targets_of(queries)
        got = outputs(model, found, targets)
    got |= {f"raw.{name}": value for name, value in losses.terms.items()}
    got |= {f"weighted.{k}": UniRefCriterion().total({k: value})[None] for k, value in losses.terms.items()}
    got["total_backpropagated"] = losses.total
    return problems_of(case["expected"], got) + unexpected_terms(case["expected"], got)


def numbers_of(case: Mapping[str, Any], folder: Path) -> dict[str, Any]:
    """The configuration of the case's model."""
    root = next(parent for parent in folder.parents if (parent / "models.json").is_file())
    return json.loads((root / "models.json").read_text())[case["model"]]


@contextmanager
def trained_as(model: UniRef, setting: Setting) -> Iterator[None]:
    """The model in training mode with another training; put back at the end."""
    before = (model.mask_stride, model.criterion, model.box_supervision, model.exchange_red_and_blue)
    model.mask_stride, model.box_supervision = setting.mask_stride, setting.box_supervision
    model.exchange_red_and_blue = setting.box_supervision  # as the official code does
    model.criterion = UniRefCriterion(setting.mask_aux)
    model.register_buffer("mask_calls", torch.zeros((), dtype=torch.long), persistent=False)
    try:
        yield model.train() and None
    finally:
        model.mask_stride, model.criterion, model.box_supervision, model.exchange_red_and_blue = before
        del model.mask_calls
        model.eval()


# ------------------------------------------------------------------------------------------------------------- inputs


def clips_of(case: Mapping[str, Any], weak: bool) -> tuple[ClipBatch | None, ClipBatch]:
    """Supports (None without) and queries of a case."""
    count = len(case.get("images", case.get("frames")))
    rects, labels = per_image(case, count, is_rectangle), per_image(case, count, lambda x: isinstance(x, int))
    assert rects is not None, f"no rectangles of {count} images among {', '.join(case)}"
    texts = [expression(ids) for ids in case.get("token_ids", [])]
    if "frames" not in case:
        images = [image_of(recipe) for recipe in case["images"]]
        if weak or labels is not None or any(len(r) != 1 for r in rects):
            return None, with_all_objects(images, rects, labels, weak, case)
        return supports_of(case), batch_of(images, texts, masks_of(images, rects))
    frames = [image_of(recipe) for recipe in case["frames"]]
    masks = masks_of(frames, rects)
    return batch_of(frames[::2], masks=masks[::2]), batch_of(frames[1::2], texts, masks[1::2])


def supports_of(case: Mapping[str, Any]) -> ClipBatch | None:
    """The masked support images of a case without frames, image by image; None without."""
    supports = case.get("supports", [])
    if not supports:
        return None
    flat = [s for group in supports for s in (group if isinstance(group, list) else [group])]
    images = [image_of(s["image"]) for s in flat]
    return batch_of(images, masks=masks_of(images, [[s["mask_rect_xyxy"]] for s in flat]))


def per_image(case: Mapping[str, Any], images: int, wanted: Callable[[Any], bool]) -> list[list[Any]] | None:
    """The list of a case that holds a list of wanted things for each image; one that is called `xyxy` comes first."""

    def fits(value: Any) -> bool:
        lists = isinstance(value, list) and len(value) == images and all(isinstance(v, list) for v in value)
        return lists and any(value) and all(wanted(x) for v in value for x in v)

    names = sorted(case, key=lambda name: "xyxy" not in name)
    return next((case[name] for name in names if name != "token_ids" and fits(case[name])), None)


def is_rectangle(value: Any) -> bool:
    """Whether something is a list of four numbers."""
    return isinstance(value, list) and len(value) == 4 and all(isinstance(v, (int, float)) for v in value)


def masks_of(images: Sequence[Tensor], rects: Sequence[Sequence[Sequence[int]]]) -> list[Tensor]:
    """The mask of the one object of each image."""
    return [rectangle(rect, (image.shape[1], image.shape[2])) for image, (rect,) in zip(images, rects, strict=True)]


def with_all_objects(
    images: Sequence[Tensor],
    rects: list[list[Any]],
    labels: list[list[int]] | None,
    weak: bool,
    case: Mapping[str, Any],
) -> ClipBatch:
    """Images with all of their objects; `weak`: only the boxes are known."""
    batch, objects, sizes = batch_of(images), [], []
    heights = case.get("heights", case.get("height", [image.shape[1] for image in images]))
    for n, (image, boxes) in enumerate(zip(images, rects, strict=True)):
        size = (image.shape[1], image.shape[2])
        names = torch.tensor([0] * len(boxes) if labels is None else labels[n], dtype=torch.long)
        masks = None if weak else torch.stack([rectangle([int(v) for v in box], size) for box in boxes])
        height = heights[n] if isinstance(heights, list) else heights
        objects.append(Objects.of_image(torch.tensor(boxes, dtype=torch.float32).view(-1, 4), names, masks))
        sizes.append((height, size[1]))
    return replace(batch, objects=tuple(objects), original_sizes=tuple(sizes))


# ------------------------------------------------------------------------------------------------------------ outputs


def outputs(model: UniRef, found: Detection, targets: Sequence[ImageTargets]) -> dict[str, Tensor]:
    """Matches, predictions, targets and norms of gradients under their names in the cases."""
    got: dict[str, Tensor] = {}
    for layer, (logits, boxes) in enumerate(zip(found.class_logits, found.all_boxes, strict=True)):
        pairs = match_layer(logits, boxes, targets)
        got |= matches(f"match.layer{layer}", pairs, len(targets))
    objects = [replace(t, labels=torch.zeros_like(t.labels)) for t in targets]
    proposals = match_proposals(found.proposal_logits, found.proposal_boxes, objects)
    got |= matches("match.enc", proposals, len(targets))
    got["pred_logits_last"], got["pred_boxes_last"] = found.class_logits[-1], found.all_boxes[-1]
    got["pred_masks_last_sum"] = model.masks_of(found, -1, *pairs[:2], model.mask_stride).sum((1, 2))
    for n, t in enumerate(targets):
        got[f"target.boxes.image{n}"], got[f"target.mask_area.image{n}"] = t.boxes, t.masks.sum((1, 2))
    for own, parameter in model.named_parameters():
        if parameter.grad is not None:
            got |= {f"gradnorm.{name}": parameter.grad.norm() for name in TABLE.to_official(own)}
    return got


def matches(name: str, pairs: tuple[Tensor, Tensor, Tensor], images: int) -> dict[str, Tensor]:
    """`[[queries], [objects]]` of each image, by rising query."""
    got = {}
    for n in range(images):
        mine = torch.stack(pairs[1:])[:, pairs[0] == n]
        got[f"{name}.image{n}"] = mine[:, mine[0].argsort()]
    return got


def problems_of(expected: Mapping[str, np.ndarray], got: Mapping[str, Tensor]) -> list[str]:
    """Every expected array that is missing or differs."""
    problems = []
    for name, wanted in expected.items():
        if name not in got:
            problems.append(f"{name}: not computed")
            continue
        value = got[name].detach().float().numpy().reshape(-1)
        if value.size != wanted.size:
            problems.append(f"{name}: {value.size} numbers, expected {wanted.size}: {value[:8]}, {wanted.ravel()[:8]}")
            continue
        error = np.abs(value - wanted.ravel()).max(initial=0) / max(np.abs(wanted).max(initial=0), 1e-30)
        if not error <= tolerance(name):
            problems.append(f"{name}: off by {error:.2e} of the largest value ({value[:4]}, {wanted.ravel()[:4]})")
    return problems


def unexpected_terms(expected: Mapping[str, np.ndarray], got: Mapping[str, Tensor]) -> list[str]:
    """Terms of ours that the case does not have."""
    if not any(name.startswith("raw.") for name in expected):
        return []
    return [f"{name}: no such term in the case" for name in got if name.startswith("raw.") and name not in expected]


def tolerance(name: str) -> float:
    """Allowed error relative to the largest value of an array."""
    if name.startswith("match."):
        return 0.0
    if name.startswith("gradnorm."):
        return 1e-3
    if name.startswith("pred_masks"):  # sums of millions of logits, some of them large
        return 1e-3
    return 1e-4 if name.startswith("pred_") else 1e-5

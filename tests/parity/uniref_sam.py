"""Runs the reference cases of the SAM variant of UniRef++: images and videos, by words and by masks."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch, References
from fewshot.inference.trackers import RVOSTracker, VOSTracker
from fewshot.nn.sam import SAM, SAMSize
from fewshot.nn.text import BERT_CONTEXT, TextEncoder, bert, without_punctuation
from fewshot.nn.value_encoder import Stride16ValueEncoder
from fewshot.systems.uniref.sam import SAMPrediction, UniRefSAM, predicted_iou
from fewshot.systems.uniref.sam_checkpoint import plan
from fewshot.weights.key_table import check_fit, convert
from tests.parity.reference import filled
from tests.parity.uniref_model import NO_DROPOUT, GivenTokens, expression
from tests.parity.uniref_reference import image_of, label_problems, mismatches, rectangle
from tests.parity.uniref_video import (
    THRESHOLDS,
    Arrays,
    Journal,
    _add_by_expression,
    _expected,
    _name_finds,
    _vos_calls,
    margin,
    watch,
)


def model_of(case: dict[str, Any], folder: Path) -> UniRefSAM:
    """The model of a case in evaluation mode, every official tensor in it."""
    root = next(parent for parent in folder.parents if (parent / "models.json").is_file())
    return _model(root, case["model"], json.dumps(case["sam_config"]))


@lru_cache(maxsize=1)
def _model(root: Path, name: str, sam_config: str) -> UniRefSAM:
    vit = json.loads(sam_config)["vit"]
    whole = tuple(vit["global_attn_indexes"])
    widths = (vit["embed_dim"], vit["depth"], vit["num_heads"])
    size = SAMSize(*widths, whole, vit["img_size"], vit["window"], vit["out_chans"])
    fusion = json.loads((root / "models.json").read_text())[name]["fusion"]
    text = TextEncoder(bert(NO_DROPOUT), GivenTokens(), BERT_CONTEXT, without_punctuation)
    numbers = dict(heads=fusion["nheads"], fusion_head_dim=fusion["head_dim"])
    model = UniRefSAM(SAM(size), text, Stride16ValueEncoder(size.dim), **numbers)
    official = filled(json.loads((root / f"keys_{name}.json").read_text()))
    table = plan(official, model).table
    own, ignored, _ = convert(official, table)
    check_fit(own, model.state_dict())
    assert not ignored and {key for name in own for key in table.to_official(name)} == set(official)
    model.load_state_dict(own)
    return model.eval()


def batch_of(images: Sequence[Tensor], texts: Sequence[str] = (), masks: Sequence[Tensor] = ()) -> ClipBatch:
    """Normalised images `(3, h, w)` as clips of one frame; smaller ones are padded to the largest."""
    sizes = torch.tensor([image.shape[-2:] for image in images])
    height, width = sizes.max(0).values.tolist()
    frames = [F.pad(x, (0, width - x.shape[2], 0, height - x.shape[1]))[None] for x in images]
    padding = torch.ones(len(images), height, width, dtype=torch.bool)
    for rows, (h, w) in zip(padding, sizes.tolist(), strict=True):
        rows[:h, :w] = False
    expressions = tuple(texts) or (None,) * len(images)
    return ClipBatch(
        torch.stack(frames), padding, sizes, expressions, tuple(m[None] for m in masks) or (None,) * len(images)
    )


@contextmanager
def recorded(model: UniRefSAM) -> Iterator[Arrays]:
    """Everything the model computes, in the order of the calls; `backbone.` and `value_encoder.` as the videos' runner
    knows them, see `named`."""
    calls: Arrays = {}

    def add(name: str, value: Tensor) -> None:
        calls.setdefault(name, []).append(value)

    def found(_m: Any, _i: Any, prediction: SAMPrediction) -> None:
        add("fused", prediction.fused)
        add("sparse_prompt", prediction.prompts[:, None])
        add("low_res_masks", prediction.low[:, None])
        add("iou", prediction.quality)

    assert model.text is not None and model.text_projection is not None and model.value_encoder is not None
    hooks = [
        model.sam.image_encoder.register_forward_hook(
            lambda _m, _i, out: add("backbone.image_embeddings", out.last_hidden_state)
        ),
        model.value_encoder.register_forward_hook(lambda _m, _i, out: add("value_encoder.level0", out)),
        model.text.register_forward_hook(lambda _m, _i, out: add("text.last_hidden_state", out[0])),
        model.text_projection.register_forward_hook(lambda _m, _i, out: add("text.resized", out.features)),
        model.register_forward_hook(found),
    ]
    try:
        yield calls
    finally:
        for hook in hooks:
            hook.remove()


def named(calls: Arrays) -> Arrays:
    """The calls under the names of the SAM cases too."""
    names = {"backbone.image_embeddings": "image_embeddings", "text.resized": "text_resized"}
    names |= {"value_encoder.level0": "value_encoder"}
    return calls | {new: calls[old] for old, new in names.items() if old in calls}


@torch.no_grad()
def run(case: dict[str, Any], folder: Path) -> list[str]:
    """What differs in a case of the SAM variant."""
    model = model_of(case, folder)
    runner = {"grounding": image, "fss": image, "vos": vos, "rvos": rvos}[case["task"]]
    return runner(case, model)


# --------------------------------------------------------------------------------------------------------------- images


def image(case: dict[str, Any], model: UniRefSAM) -> list[str]:
    """An image segmented by words or by supports."""
    texts = [expression(case["token_ids"])] if "token_ids" in case else []
    queries = batch_of([image_of(case["image"])], texts)
    with recorded(model) as calls:
        prediction = model(queries, model.encode_reference(references_of(case, queries)))
    expected = dict(case["expected"])
    wanted, box = expected.pop("final.pred_mask", None), expected.pop("final.box_xyxy", None)
    logits = F.interpolate(prediction.masks[0], (case["height"], case["width"]), mode="nearest")[0]
    problems = [] if wanted is None else label_problems("final.pred_mask", logits > 0, wanted, logits)
    arrays = named(calls) | {"final.score": [prediction.quality[0]]}
    return mismatches(expected, arrays) + problems + ([] if box is None else box_problems(logits[0] > 0, box))


def references_of(case: dict[str, Any], queries: ClipBatch) -> References:
    """The words of the query of a case, and its supports where it has any."""
    supports = case.get("supports", [])
    if not supports:
        return References(expressions=queries.expressions)
    images = [image_of(s["image"]) for s in supports]
    sizes = [(x.shape[1], x.shape[2]) for x in images]
    masks = [rectangle(s["mask_rect_xyxy"], size) for s, size in zip(supports, sizes, strict=True)]
    return References(batch_of(images, masks=masks), len(supports), queries.expressions)


def box_problems(mask: Tensor, wanted: Any) -> list[str]:
    """SAM has no boxes: the official result carries that of the mask, or of the whole image."""
    rows, columns = mask.any(1).nonzero()[:, 0], mask.any(0).nonzero()[:, 0]
    boxes = [[0, 0, mask.shape[1], mask.shape[0]]]
    if len(rows):
        boxes.append([int(columns[0]), int(rows[0]), int(columns[-1]) + 1, int(rows[-1]) + 1])
    found = torch.from_numpy(wanted)[0]
    near = [(found - torch.tensor(box)).abs().max() <= 1 for box in boxes]
    return [] if any(near) else [f"final.box_xyxy: {wanted.tolist()}, neither of {boxes}"]


# --------------------------------------------------------------------------------------------------------------- videos

OFFICIAL = {"logits": True, "confidence": predicted_iou}


def vos(case: dict[str, Any], model: UniRefSAM) -> list[str]:
    """Objects given by masks."""
    (threshold,) = (v for start, v in THRESHOLDS.items() if case["dataset_name"].startswith(start))
    tracker = VOSTracker(model, threshold=threshold, aligned=False, **OFFICIAL)
    labels, margins, orders = [], [], []
    with recorded(model) as calls:
        journal = Journal(calls)
        watch(tracker, journal)
        state = tracker.start((case["height"], case["width"]))
        for journal.frame, (recipe, objects) in enumerate(zip(case["frames"], case["objects"], strict=True)):
            frame = batch_of([image_of(recipe)])
            size = tuple(frame.sizes[0].tolist())
            given = {int(o["ori_id"]): rectangle(o["mask_rect_xyxy"], size) for o in objects}
            state, found = tracker.step(state, frame, given)
            orders.append(_name_finds(journal, tracker, state, frame, found, given))
            if found.ids:
                labels.append(found.labels())
                margins.append(margin(found.probabilities))
    final = label_problems("final.png", torch.stack(labels), case["expected"]["final.png"], torch.stack(margins))
    attempts = [
        mismatches(_expected(case), named(_vos_calls(journal, orders, by_name, idle)))
        for by_name in (True, False)
        for idle in (False, True)
    ]
    return min(attempts, key=len) + final


def rvos(case: dict[str, Any], model: UniRefSAM) -> list[str]:
    """Objects given by expressions, with memory; those of Ref-DAVIS17 compete for pixels, without a threshold."""
    together = case["dataset_name"].startswith("refdavis")
    texts = [expression(ids) for ids in case["token_ids"]]
    frames = [batch_of([image_of(recipe)]) for recipe in case["frames"]]
    labels, margins, arrays = [], [], {}
    with recorded(model) as calls:
        for group in [texts] if together else [[text] for text in texts]:
            tracker = RVOSTracker(model, threshold=None if together else 0.3, exclusive=together, **OFFICIAL)
            journal = Journal(calls)
            watch(tracker, journal)
            state = tracker.start((case["height"], case["width"]), group)
            for journal.frame, frame in enumerate(frames):
                state, found = tracker.step(state, frame)
                labels.append(found.labels() if together else 255 * found.masks[0].to(torch.uint8))
                margins.append(margin(found.probabilities) if together else found.probabilities[0] - 0.5)
            _add_by_expression(arrays, journal, state)
    final = label_problems("final.png", torch.stack(labels), case["expected"]["final.png"], torch.stack(margins))
    return mismatches(_expected(case), named(arrays)) + final

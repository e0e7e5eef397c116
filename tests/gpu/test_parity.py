"""CUDA against the CPU and against the official code: float32 without TF32, and autocast to bfloat16."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import References
from fewshot.nn.outputs import Prediction
from tests.gpu.tiny import CONFIGS, DEVICES, ON_CUDA, error, exact_float32, predict, tiny_batch, tiny_system
from tests.parity import cma_model, reference, uniref_model, uniref_reference
from tests.shared import SHARED

# Relative to the largest value. On a GPU sums have another order, and convolutions may be computed in another way: ten
# times what another order makes on a CPU (masks 2e-5) is allowed. In bfloat16, which has eight bits, a CPU is off by up
# to 3e-2 in masks, 2e-2 in the memory, and 2e-1 in CMA's class logits, which cancel almost completely.
FLOAT32 = {"masks": 2e-4, "boxes": 2e-4, "logits": 1e-3, "memory": 2e-4}
BFLOAT16 = {"masks": 5e-2, "boxes": 5e-2, "logits": 4e-1, "memory": 5e-2}


def tensors_of(prediction: Prediction) -> dict[str, Tensor]:
    """Masks, scores and boxes of the last and of the earlier decoder layers."""
    found = {}
    for index, layer in enumerate((prediction, *prediction.layers)):
        parts = {"masks": layer.masks, "scores": layer.scores, "boxes": layer.boxes}
        found.update({f"{name}.{index}": part for name, part in parts.items() if part is not None})
    return found


def before_the_choice(prediction: Prediction) -> dict[str, Tensor]:
    """What a system computes before it chooses proposals: rounding may change the choice, and with it all the rest."""
    memory = getattr(prediction, "memory", None)
    return tensors_of(prediction) if memory is None else {f"memory.{i}": x for i, x in enumerate(memory)}


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_float32_is_that_of_the_cpu(name: str, device: str) -> None:
    batch = tiny_batch()
    wanted = tensors_of(predict(tiny_system(name).eval(), batch))
    with exact_float32():
        found = tensors_of(predict(tiny_system(name, device).eval(), batch.to(device)))
    errors = {key: error(found[key], value) for key, value in wanted.items()}
    assert max(errors.values()) <= FLOAT32["masks"], errors


@pytest.mark.parametrize("device", DEVICES)
@pytest.mark.parametrize("name", CONFIGS)
@torch.no_grad()
def test_bfloat16_is_close_to_float32(name: str, device: str) -> None:
    batch = tiny_batch()
    wanted = before_the_choice(predict(tiny_system(name).eval(), batch))
    with torch.autocast(device, torch.bfloat16):
        prediction = predict(tiny_system(name, device).eval(), batch.to(device))
    assert all(value.isfinite().all() for value in tensors_of(prediction).values())
    found = before_the_choice(prediction)
    errors = {key: error(found[key].float(), value) for key, value in wanted.items()}
    assert 0 < max(errors.values()) <= BFLOAT16["masks"], errors


# ---------------------------------------------------------------------------------------------- the official code


def whole_models(system: str) -> list[Any]:
    """The reference cases of a whole model in evaluation mode; a remark of what is missing where there are none."""
    found = []
    for path in sorted((SHARED / "parity" / system).glob("*/*/case.json")):
        case = json.loads(path.read_text())
        image = case.get("task") in ("grounding", "fss") and not str(case["model"]).startswith("sam")
        if case.get("mode") == "eval" and (system == "cma" or image) and "model" in case:
            found.append(pytest.param(path.parent, id=path.parent.name))
    missing = pytest.mark.skip(reason=f"no reference cases under {SHARED / 'parity' / system}: set FEWSHOT_SHARED")
    return found or [pytest.param(SHARED, id="none", marks=missing)]


@pytest.mark.parametrize("device", [ON_CUDA])
@pytest.mark.parametrize("folder", whole_models("cma"))
@torch.no_grad()
def test_cma_is_that_of_the_official_code(folder: Path, device: str) -> None:
    case = reference.read_case(folder)
    with exact_float32():
        assert too_large(cma_errors(case, folder, device), FLOAT32) == {}
    with torch.autocast(device, torch.bfloat16):
        assert too_large(cma_errors(case, folder, device), BFLOAT16) == {}


def cma_errors(case: dict[str, Any], folder: Path, device: str) -> dict[str, float]:
    """Errors of masks, boxes and class logits of all candidates."""
    model = copy.deepcopy(cma_model.model_of(case, folder)).to(device)  # the helper keeps its own for other tests
    support, query = (clip.to(device) for clip in cma_model.clips_of(case))
    prediction = model(query, model.encode_reference(References(support, 1, query.expressions)))
    assert prediction.scores is not None and prediction.boxes is not None
    found = {"masks": prediction.masks, "boxes": prediction.boxes, "logits": prediction.scores[..., None]}
    return {name: error(x.float(), torch.from_numpy(case["expected"][f"pred_{name}"])) for name, x in found.items()}


@pytest.mark.parametrize("device", [ON_CUDA])
@pytest.mark.parametrize("folder", whole_models("uniref"))
@torch.no_grad()
def test_uniref_is_that_of_the_official_code(folder: Path, device: str) -> None:
    case = reference.read_case(folder)
    with exact_float32():
        exact = uniref_prediction(case, folder, device)
        assert too_large(uniref_errors(case, exact), FLOAT32) == {}
    with torch.autocast(device, torch.bfloat16):
        rounded = uniref_prediction(case, folder, device)
    errors = [error(a.float(), b) for a, b in zip(rounded.memory, exact.memory, strict=True)]
    assert too_large({"memory": max(errors)}, BFLOAT16) == {}  # 300 of the proposals are chosen by their last digits


def uniref_prediction(case: dict[str, Any], folder: Path, device: str) -> Any:
    """The prediction of the model of a case for its image, with its supports or its expression."""
    model = copy.deepcopy(uniref_model.model_of(case, folder)).to(device)
    texts = [uniref_model.expression(case["token_ids"])] if "token_ids" in case else []
    queries = uniref_model.batch_of([uniref_reference.image_of(case["image"])], texts)
    references = References(expressions=queries.expressions)
    if given := case.get("supports"):
        images = [uniref_reference.image_of(support["image"]) for support in given]
        sizes = [(image.shape[1], image.shape[2]) for image in images]
        masks = [uniref_reference.rectangle(x["mask_rect_xyxy"], size) for x, size in zip(given, sizes, strict=True)]
        references = References(uniref_model.batch_of(images, masks=masks), len(images), queries.expressions)
    return model(queries.to(device), model.encode_reference(references.to(device)))


def uniref_errors(case: dict[str, Any], found: Any) -> dict[str, float]:
    """Errors of mask, box and class logit of the best candidate, whatever its rank."""
    expected = {name: torch.from_numpy(value) for name, value in case["expected"].items()}
    best = int(expected["out.best_query"])
    return {
        "masks": error(found.masks.flatten(0, 2), expected["out.pred_masks[best]"]),
        "boxes": error(found.boxes.flatten(), expected["out.pred_boxes"][:, best].flatten()),
        "logits": error(found.scores.flatten(), expected["out.pred_logits"][:, best].flatten()),
    }


def too_large(errors: dict[str, float], limits: dict[str, float]) -> dict[str, float]:
    """The errors that are above their limits."""
    return {name: value for name, value in errors.items() if value > limits[name]}

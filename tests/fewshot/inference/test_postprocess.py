"""From a prediction to the answer for an image."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.postprocess import boxes_in_pixels, image_results, masks_by_nearest
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from tests.parity.reference import read_case
from tests.shared import SHARED, require_shared


class Silent(System):
    """A system of which only the general methods are used."""

    def encode_supports(self, supports: ClipBatch, shots: int) -> None:
        raise NotImplementedError

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        raise NotImplementedError

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        raise NotImplementedError


def images(sizes: list[tuple[int, int]], multiple: int = 32) -> ClipBatch:
    height, width = (-(-max(side) // multiple) * multiple for side in zip(*sizes, strict=True))
    n = len(sizes)
    return ClipBatch(
        torch.zeros(n, 1, 3, height, width),
        torch.zeros(n, height, width, dtype=torch.bool),
        torch.tensor(sizes),
        (None,) * n,
        (None,) * n,
    )


def cases() -> list[Any]:
    """The reference cases that hold both a mask at stride 4 and the final answer."""
    root = SHARED / "parity" / "uniref"
    found = [f.parent for f in sorted(root.glob("*/*/case.json"))]
    needed = {"final.pred_mask", "out.pred_masks[best]"}
    found = [folder for folder in found if needed <= set(_outputs(folder / "case.json"))]
    return [pytest.param(f, id=f.name, marks=pytest.mark.parity) for f in found or [root / "open"]]


def _outputs(path: Path) -> dict[str, Any]:
    return json.loads(path.read_text()).get("outputs", {})


@pytest.mark.parametrize("folder", cases())
def test_official_answers_follow_from_the_official_predictions(folder: Path) -> None:
    require_shared(*folder.relative_to(SHARED).parts)
    case = read_case(folder)
    known = {name: torch.from_numpy(value) for name, value in case["expected"].items()}
    best = int(known["out.best_query"])
    prediction = Prediction(
        known["out.pred_masks[best]"][None, None],
        known["out.pred_logits"][:, best][None],
        known["out.pred_boxes"][:, best][None, None],
        tracked=False,
    )
    size = tuple(case["image"]["crop"])
    (result,) = image_results(Silent(), prediction, images([size]), [(case["height"], case["width"])])
    assert torch.equal(result.mask.float(), known["final.pred_mask"][0])
    assert torch.tensor(result.score).sigmoid() == pytest.approx(float(known["final.score"]), abs=1e-6)
    assert result.found and result.box is not None
    assert torch.allclose(result.box, known["final.box_xyxy"][0], atol=1e-3)


def test_the_binary_mask_is_resized_not_the_probability() -> None:
    probabilities = torch.tensor([[[0.1, 0.6, 0.5, 0.9]]])
    assert masks_by_nearest(probabilities, (1, 8)).tolist() == [[[False, False, True, True, False, False, True, True]]]
    assert masks_by_nearest(probabilities, (1, 2)).tolist() == [[[False, False]]]
    # a bilinear resize of the probabilities would find .35 and .7


def test_boxes_are_scaled_and_cut_at_the_border() -> None:
    boxes = torch.tensor([[0.5, 0.5, 0.5, 0.5], [0.0, 0.5, 0.5, 2.0], [1.2, 0.5, 0.2, 0.2], [0.5, 0.5, 0.0, 0.2]])
    corners, found = boxes_in_pixels(boxes, (100, 200))
    assert corners[:2].tolist() == [[50, 25, 150, 75], [0, 0, 50, 100]]
    assert found.tolist() == [True, True, False, False]


def test_each_image_has_its_own_size_and_the_padding_is_cropped() -> None:
    logits = torch.full((2, 1, 1, 16, 16), -9.0)
    logits[:, :, :, 8:, :] = 9.0  # network rows 32 to 63
    queries = images([(64, 40), (48, 64)])
    (first, second) = image_results(Silent(), Prediction(logits), queries, [(128, 80), (48, 64)])
    assert first.mask.shape == (128, 80) and first.mask.float().mean() == pytest.approx(0.5)
    assert second.mask.shape == (48, 64) and second.mask.float().mean() == pytest.approx(1 / 3)
    assert first.box is None and first.found and first.score == 0


def test_logits_may_be_resized_before_they_are_cut() -> None:
    logits = torch.linspace(-1, 2, 8).expand(1, 1, 1, 8, 8)  # 0 at 44.8 of 128 pixels
    query, size = images([(32, 32)]), [(128, 128)]
    (cut,) = image_results(Silent(), Prediction(logits), query, size)
    (smooth,) = image_results(Silent(), Prediction(logits), query, size, by_nearest=False)
    assert [int(result.mask[0].sum()) for result in (cut, smooth)] == [128 - 44, 128 - 45]


def test_a_box_without_area_is_no_prediction() -> None:
    logits: Tensor = torch.full((1, 1, 1, 8, 8), 5.0)
    boxes = torch.tensor([1.5, 0.5, 0.1, 0.1])[None, None, None]
    (result,) = image_results(Silent(), Prediction(logits, boxes=boxes), images([(32, 32)]), [(32, 32)])
    assert not result.found


def test_clips_are_refused() -> None:
    with pytest.raises(ValueError, match="clips of one frame"):
        image_results(Silent(), Prediction(torch.zeros(1, 1, 1, 8, 8)), images([(32, 32)]), [])

"""Own videos as wholes: classes by their names, and things by their first masks."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from episodes.transforms.input_rule import InputRule
from fewshot import Model
from fewshot.systems.registry import make_system, systems
from fewshot.systems.univs.config import SMALL, UniVSConfig
from tests.fewshot.inference.squares import VIDEO, picture, square
from tests.fewshot.inference.test_segment import prototype


def model_of(name: str, **changes: Any) -> Model:
    spec = systems()[name]
    settings = spec.config(name=name, **{**spec.small, **changes})
    return Model(make_system(settings, 0).eval(), InputRule("short", 64, 128), settings)


@pytest.fixture(scope="module")
def univs() -> Model:
    return model_of("univs")


@pytest.mark.parametrize("chunk", [2, 10])
def test_every_pixel_of_every_frame_gets_one_class(univs: Model, chunk: int) -> None:
    result = univs.segment(VIDEO, classes=["dax", "background"], chunk=chunk)
    assert result.names == ("dax", "background") and result.masks.shape == (2, 7, 64, 96)
    assert (result.masks.sum(0) == 1).all() and set(result.labels.unique().tolist()) <= {1, 2}
    assert torch.equal(result["dax"], result.labels == 1) and len(result.frame_names) == 7
    assert torch.equal(result.scores > 0, result.masks.flatten(2).any(2))


def test_an_image_is_a_video_of_one_frame(univs: Model) -> None:
    assert univs.segment(VIDEO[0], classes=["dax", "background"]).masks.shape == (2, 1, 64, 96)


@pytest.mark.parametrize("name", ["univs", "uniref"])
def test_things_are_followed_from_their_first_masks(name: str) -> None:
    model = model_of(name)
    masks = {"dax": square(8, 0), "toma": square(40, 60)}
    result = model.segment(VIDEO, first_masks=masks)
    assert result.names == ("dax", "toma") and result.masks.shape == (2, 7, 64, 96)
    assert torch.equal(result.masks[:, 0], torch.from_numpy(np.stack(list(masks.values())))), "given masks stay"
    assert (result.masks.sum(0) <= 1).all() and torch.equal(result.labels > 0, result.masks.any(0))
    ids = np.where(masks["dax"], 1, np.where(masks["toma"], 4, 0)).astype(np.uint8)
    again = model.segment(VIDEO, first_masks=ids)
    assert again.names == ("1", "4") and torch.equal(again.masks, result.masks)


def test_frames_may_come_one_by_one(univs: Model) -> None:
    """A clip of one frame would show the next one nothing."""
    asked = {"first_masks": {"dax": square(8, 0)}}
    one, two = (univs.segment(VIDEO, chunk=chunk, **asked) for chunk in (1, 2))
    assert torch.equal(one.masks, two.masks) and one.masks.shape == (1, 7, 64, 96)


def test_masks_below_a_score_are_empty(univs: Model) -> None:
    result = univs.segment(VIDEO, first_masks={"dax": square(8, 0)}, min_score=1.0)
    assert result.masks[0, 0].any() and not result.masks[0][result.scores[0] < 1].any()


def test_a_video_that_is_shorter_than_a_clip_is_one_clip(univs: Model) -> None:
    result = univs.segment(VIDEO[:2], first_masks={"dax": square(8, 0)})
    assert result.masks.shape == (1, 2, 64, 96)


@pytest.mark.parametrize(
    ("asked", "error", "message"),
    [
        ({"classes": "dax"}, TypeError, "give a list of names"),
        ({"classes": ["dax"]}, ValueError, "give at least two names, each once; 'background' is a name"),
        ({"classes": ["dax", "dax"]}, ValueError, "give at least two names, each once"),
        ({"classes": ["a", "b"], "first_masks": {"c": square(0, 0)}}, ValueError, "ask for different things"),
        ({"classes": ["a", "b"], "text": "the dax"}, ValueError, "asked for alone: leave support and text away"),
        ({"first_masks": {}}, ValueError, "the first mask has no pixel of a thing: mark what is to be followed"),
        ({"first_masks": np.zeros((64, 96), np.uint8)}, ValueError, "the first mask has no pixel of a thing"),
        ({"first_masks": {"dax": np.zeros((64, 96), bool)}}, ValueError, "the first mask of 'dax' is empty: mark the"),
        ({"first_masks": {"dax": np.ones((3, 64, 96), bool)}}, ValueError, "has 3 frames: give that of the first"),
        ({"first_masks": {"dax": np.ones((64, 64), bool)}}, ValueError, "'dax' is 64x64, the video 96x64"),
    ],
)
def test_bad_questions_are_refused_in_a_line(univs: Model, asked: Any, error: Any, message: str) -> None:
    with pytest.raises(error, match=message) as caught:
        univs.segment(VIDEO, **asked)
    assert "\n" not in str(caught.value)


def test_systems_that_cannot_are_refused() -> None:
    with pytest.raises(ValueError, match="'prototype' takes no classes: leave classes away, or use univs, v"):
        prototype().segment(VIDEO, classes=["dax", "background"])
    with pytest.raises(ValueError, match="'prototype' takes no first_masks: .* use uniref, uniref_sam, univs"):
        prototype().segment(VIDEO, first_masks={"dax": square(0, 0)})


def test_a_vocabulary_without_embeddings_is_told_by_its_words() -> None:
    silent = Model(make_system(UniVSConfig(**{**SMALL, "text": "none"}), 0), InputRule("short", 64, 128))
    with pytest.raises(ValueError, match=r"no embeddings .* 2 of 2 classes \('dax', 'background'\): give .* CLIP"):
        silent.segment(picture(red=(8, 8)), classes=["dax", "background"])

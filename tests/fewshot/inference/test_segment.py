"""Own images and videos, segmented: what comes out, and what systems refuse."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import Tensor, nn

from benchmarks.masks.png import write_mask
from episodes.batch import ClipBatch
from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec, Episode, EpisodeSpec
from episodes.transforms.clips import TestTransform
from episodes.transforms.input_rule import InputRule
from fewshot import Model, Support, segment_episode
from fewshot.inference.chunks import segment_clips
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from fewshot.systems.prototype.model import Prototype
from tests.fewshot.inference.squares import BLUE_SUPPORT, BOTH, RED_SUPPORT, VIDEO, square
from tests.fewshot.systems.test_uniref import tiny_uniref
from tests.fewshot.systems.test_uniref_sam import tiny as tiny_sam
from tests.fewshot.tiny import tiny_cma
from tests.shared import require_shared


class Colours(nn.Module):
    """A backbone whose features are the colours themselves, so that a prototype is a colour."""

    patches = True

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))

    def forward(self, frames: Tensor) -> list[Tensor]:
        return [F.avg_pool2d(frames * self.scale, stride) for stride in (4, 8, 16, 32)]


def prototype() -> Model:
    return Model(Prototype(Colours(), levels=(0,)), InputRule("short", 64))


def iou(found: Tensor, truth: np.ndarray) -> float:
    truth = torch.from_numpy(truth)
    return float((found & truth).sum() / (found | truth).sum())


def test_what_the_support_shows_is_found() -> None:
    result = prototype().segment(BOTH, support=[RED_SUPPORT])
    assert result.names == ("object",) and result.frame_names == ("image",)
    assert result.masks.shape == (1, 1, 64, 96) and result.masks.dtype == torch.bool
    assert iou(result["object"][0], square(32, 8)) > 0.9
    assert torch.equal(result.labels[0] == 1, result["object"][0]) and result.labels.dtype == torch.uint8
    assert 0.5 < result.scores.item() <= 1
    with pytest.raises(KeyError, match="no 'cat' in this result: it holds 'object'"):
        result["cat"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        result.names = ()


def test_several_classes_at_once_are_each_found_as_alone() -> None:
    model = prototype()
    supports = {"red thing": [RED_SUPPORT], "blue thing": [BLUE_SUPPORT, BLUE_SUPPORT]}
    result = model.segment(BOTH, support=supports)
    assert result.names == ("red thing", "blue thing")
    for k, (name, support) in enumerate(supports.items(), 1):
        alone = model.segment(BOTH, support=support)
        assert torch.equal(result[name], alone["object"]) and torch.equal(result.scores[k - 1], alone.scores[0])
    assert iou(result.labels[0] == 1, square(32, 8)) > 0.9 and iou(result.labels[0] == 2, square(8, 64)) > 0.9


@dataclasses.dataclass(frozen=True)
class Share:
    """The share of a support's mask."""

    value: Tensor

    def repeat(self, expressions: int) -> Share:
        return self


class Votes(System):
    """Finds everywhere what its support mask has in parts: the probability is the share of the mask."""

    name = "votes"
    accepts = frozenset({"support", "expression"})
    needs = frozenset()

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.zeros(()))
        self.encoded: list[tuple[str | None, ...]] = []
        self.read: list[str | None] = []

    def encode_supports(self, supports: ClipBatch, shots: int) -> Share:
        self.encoded.append(supports.expressions)
        assert supports.masks[0] is not None
        return Share(supports.masks[0].float().mean())

    def encode_text(self, expressions: Sequence[str | None]) -> tuple[str | None, ...]:
        self.read += expressions
        return tuple(expressions)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        state.check(len(queries))
        share = torch.tensor(0.9) if state.supports is None else state.supports.value
        n, t, _, height, width = queries.frames.shape
        scores = torch.stack([share.logit(), (share / 2).logit()]).expand(n, t, 2)
        return Prediction(share.logit().expand(n, t, 2, height // 4, width // 4), scores)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        raise NotImplementedError


def voting(system: Votes | None = None) -> Model:
    return Model(system or Votes(), InputRule("short", 8))


def covered(share: float) -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((10, 10), bool)
    mask[: round(10 * share)] = True
    return np.zeros((10, 10, 3), np.uint8), mask


def test_where_masks_overlap_the_most_probable_class_is_taken() -> None:
    supports = {"rare": [covered(0.3)], "likely": [covered(0.6)], "sure": [covered(0.8)], "half": [covered(0.7)]}
    result = voting().segment(np.zeros((16, 16, 3), np.uint8), support=supports)
    assert [bool(mask.all()) for mask in result.masks] == [False, True, True, True]
    assert set(result.labels.unique().tolist()) == {3}
    torch.testing.assert_close(result.scores[:, 0], torch.tensor([0.3, 0.6, 0.8, 0.7]))


def test_frames_with_a_low_score_are_emptied() -> None:
    supports = {"likely": [covered(0.6)], "sure": [covered(0.8)]}
    result = voting().segment(np.zeros((2, 16, 16, 3), np.uint8), support=supports, min_score=0.7)
    assert not result["likely"].any() and result["sure"].all() and result.labels.eq(2).all()


def test_supports_are_encoded_once_for_all_frames_and_expressions() -> None:
    system = Votes()
    model = voting(system)
    support = [covered(0.8)]
    model.segment(np.zeros((9, 16, 16, 3), np.uint8), support=support, text=["a", "b", "c"], chunk=2)
    assert system.encoded == [(None,)] and system.read == ["a", "b", "c"]
    result = model.segment(np.zeros((16, 16, 3), np.uint8), text=["a", "b"])
    assert result.names == ("a", "b") and result.masks.all()
    system.needs = frozenset({"support", "expression"})  # a system that reads supports with their words
    system.encoded = []
    model.segment(BOTH, support=[Support(*support[0], text="own words")], text=["a", "b"])
    model.segment(BOTH, support=support, text=["a", "b"])
    assert system.encoded == [("own words",), ("a",), ("b",)]


def test_words_of_an_episode_are_encoded_once_for_all_chunks() -> None:
    system = Votes()
    clips = [Clip(torch.zeros(9, 3, 16, 16), expression=text) for text in ("a", "b")]
    found = segment_clips(system, clips, None, chunk=2, device="cpu")
    assert [masks.shape for masks in found] == [(9, 16, 16)] * 2
    assert system.read == ["a", "b"]


def test_words_go_to_their_class() -> None:
    system, supports = Votes(), {"one": [covered(0.6)], "two": [covered(0.8)]}
    model = voting(system)
    system.needs = frozenset({"support", "expression"})
    model.segment(BOTH, support=supports, text={"two": "b", "one": "a"})
    model.segment(BOTH, support=supports, text="the same")
    assert system.encoded == [("a",), ("b",), ("the same",), ("the same",)]
    for text in (["a", "b"], {"one": "a"}, {"one": "a", "two": "b", "three": "c"}):
        with pytest.raises(ValueError, match="which words belong to which class.*'one', 'two'"):
            model.segment(BOTH, support=supports, text=text)


def test_a_video_is_found_frame_by_frame_whatever_the_chunk() -> None:
    model = prototype()
    whole = model.segment(VIDEO, support=[RED_SUPPORT])
    assert whole.masks.shape == (1, 7, 64, 96) and whole.labels.shape == (7, 64, 96)
    for t in range(7):
        assert iou(whole["object"][t], square(8, 8 * t)) > 0.9
    parts = model.segment(VIDEO, support=[RED_SUPPORT], chunk=3)
    assert torch.equal(whole.masks, parts.masks) and torch.equal(whole.labels, parts.labels)
    assert whole.frame_names == parts.frame_names == tuple(f"0000{t}" for t in range(7))
    one = model.segment(VIDEO[:1], support=[RED_SUPPORT])
    assert torch.equal(one.masks, whole.masks[:, :1])


def test_a_support_may_be_a_clip(tmp_path: Path) -> None:
    model, masks = prototype(), np.stack([square(8, 8 * t) for t in range(7)])
    from_arrays = model.segment(BOTH, support=[(VIDEO, masks)])
    for t in range(7):
        (tmp_path / "frames").mkdir(exist_ok=True)
        Image.fromarray(VIDEO[t]).save(tmp_path / "frames" / f"{t}.png")
        write_mask(tmp_path / "masks" / f"{t}.png", masks[t])
    from_folders = model.segment(BOTH, support=[(tmp_path / "frames", tmp_path / "masks")])
    assert iou(from_arrays["object"][0], square(32, 8)) > 0.9
    assert torch.equal(from_arrays.masks, from_folders.masks)


def test_the_size_is_that_of_the_input_rule_unless_it_is_given() -> None:
    model, seen = prototype(), []
    model.system.backbone.register_forward_hook(lambda module, inputs, output: seen.append(tuple(inputs[0].shape[-2:])))
    model.segment(BOTH, support=[RED_SUPPORT])
    model.segment(BOTH, support=[RED_SUPPORT], size=32)
    model.rule = InputRule("short", 64, 72)
    model.segment(BOTH, support=[RED_SUPPORT])
    model.segment(BOTH, support=[RED_SUPPORT], size=128)
    model.rule = InputRule("square", 64, 72)
    squashed = model.segment(BOTH, support=[RED_SUPPORT])
    model.rule = InputRule("pad", 64, 72)
    model.segment(BOTH, support=[RED_SUPPORT], size=48)
    assert seen[1::2] == [(64, 96), (32, 48), (48, 72), (96, 144), (64, 64), (32, 48)]
    assert iou(squashed["object"][0], square(32, 8)) > 0.9
    for wrong in ({"chunk": 0}, {"min_score": 1.5}):
        with pytest.raises(ValueError, match=r"at least 1.*0|between 0 and 1, got 1.5"):
            model.segment(BOTH, support=[RED_SUPPORT], **wrong)
    for size in (0, 1, 1.5, "48", 10_000):
        with pytest.raises(ValueError, match=f"size={size!r}: give a whole number of pixels from 8 to 8192"):
            model.segment(BOTH, support=[RED_SUPPORT], size=size)


def test_words_of_a_support_that_are_no_text_are_refused() -> None:
    with pytest.raises(TypeError, match="the text of support 1 is a int: give its words as a string"):
        prototype().segment(BOTH, support=[Support(*RED_SUPPORT, text=5)])


def test_the_system_is_left_as_it_was() -> None:
    model = prototype()
    model.system.train()
    result = model.segment(BOTH, support=[RED_SUPPORT])
    assert model.system.training and not result.scores.is_inference() and not torch.is_inference_mode_enabled()


def test_cma_gives_what_its_episode_gives() -> None:
    model = Model(tiny_cma(), InputRule())
    generator = np.random.default_rng(0)
    support, query = (generator.integers(0, 256, (3, 40, 48, 3), dtype=np.uint8) for _ in range(2))
    masks = np.zeros((3, 40, 48), bool)
    masks[:, 10:30, 12:40] = True
    own = Support(support, masks, text="a blue dax")
    found = model.segment(query, support=[own], text="the dax", size=32, chunk=2)
    meant = Objects.one(torch.from_numpy(masks))
    clips = [
        Clip(torch.from_numpy(support).permute(0, 3, 1, 2), meant, expression="a blue dax"),
        Clip(torch.from_numpy(query).permute(0, 3, 1, 2), expression="the dax", original_size=(40, 48)),
    ]
    names = tuple(map(str, range(3)))
    spec = EpisodeSpec("own", 1, "test", 0, 0, 1, "dax", (ClipSpec("a", 1, names),), (ClipSpec("b", 1, names),))
    support_clip, query_clip = map(TestTransform(32), clips)
    (expected,) = segment_episode(model, Episode(spec, (support_clip,), (query_clip,)), chunk=2)
    assert found.names == ("the dax",) and torch.equal(found["the dax"], expected)
    assert 0 < expected.float().mean() < 1
    assert ((found.scores > 0) & (found.scores < 1)).all()


def test_systems_refuse_what_they_cannot_take() -> None:
    cma, votes, proto = Model(tiny_cma(), InputRule()), voting(), prototype()
    for model, arguments, message in (
        (cma, {"support": [RED_SUPPORT]}, r"system 'cma' needs text, also with support=...: give text=..."),
        (cma, {"text": "the dax"}, r"system 'cma' needs supports \(images with masks\), also with text=..."),
        (proto, {"support": [RED_SUPPORT], "text": "x"}, "system 'prototype' takes no text: leave text=... away"),
        (proto, {}, r"system 'prototype' needs supports \(images with masks\): give support=..."),
        (votes, {}, "nothing says what to look for: give support=... or text=..."),
    ):
        with pytest.raises(ValueError, match=message):
            model.segment(BOTH, **arguments)


IMAGE, MASK = RED_SUPPORT


@pytest.mark.parametrize(
    "support, message",
    [
        ([], r"there are no supports: give at least one, support=\[\(image, mask\), ...\]"),
        ({}, "support names no class"),
        ({"cat": [RED_SUPPORT], "dog": []}, "there are no supports of class 'dog'"),
        ([RED_SUPPORT, (IMAGE, ~MASK & MASK)], r"support 2 \(the image of support 2\): its mask is empty"),
        ({"cat": [(IMAGE, ~MASK & MASK)]}, r"support 1 of class 'cat' .*: its mask is empty"),
        ([RED_SUPPORT, IMAGE], r"support 2 is a ndarray, not an image with its mask: write support=\[\(image"),
        ("ab", "the supports are a str"),
        (("a.jpg", "a.png"), r"support 1 is 'a.jpg', not an image with its mask"),
        ([RED_SUPPORT, (IMAGE, None)], "support 2 has no mask"),
        ([(None, MASK)], "support 1 has no image"),
        ([(IMAGE, MASK[:50])], r"support 1 .* is 96x64, its mask 96x50 \(width x height\)"),
        ([(VIDEO, MASK)], r"support 1 .*: 7 image\(s\) but 1 mask\(s\)"),
        ([(IMAGE, np.stack([MASK] * 3))], r"support 1 .*: 1 image\(s\) but 3 mask\(s\)"),
        ([RED_SUPPORT, (VIDEO, np.stack([MASK] * 7))], r"the supports have \[1, 7\] frames"),
        ([(IMAGE, MASK * 3)], "the mask of support 1 holds the values 0, 3"),
        ([(IMAGE[..., 0], MASK)], r"the image of support 1 is an array \(64, 96\): give RGB"),
    ],
)
def test_supports_that_show_nothing_are_named(support: Any, message: str) -> None:
    with pytest.raises((ValueError, TypeError), match=message):
        prototype().segment(BOTH, support=support)


@pytest.mark.parametrize(
    "text, message",
    [
        ([], "text is an empty list"),
        ("  ", "holds no words"),
        (["a dax", ""], "the expression '' holds no words"),
        (["a dax", "a dax"], "the same expression twice"),
        ([f"dax {k}" for k in range(256)], "256 classes or expressions at once: a label map holds 255"),
    ],
)
def test_texts_that_say_nothing_are_refused(text: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        voting().segment(BOTH, text=text)


def test_a_long_expression_is_cut_with_a_warning_that_names_the_words() -> None:
    text = " ".join(f"word{k}" for k in range(64))
    with pytest.warns(UserWarning, match="these words are cut: 'word62 word63'"):
        Model(tiny_cma(), InputRule()).segment(BOTH, support=[RED_SUPPORT], text=text, size=32)


def test_a_real_cat_is_found_by_its_colours() -> None:
    root = require_shared("data", "perseg-examples", "data")
    pairs = [(root / "Images" / "cat" / f"0{k}.jpg", root / "Annotations" / "cat" / f"0{k}.png") for k in range(3)]
    result = prototype().segment(pairs[0][0], support=pairs[1:], size=120)
    truth = np.asarray(Image.open(pairs[0][1])) == 1
    assert result["object"].shape == (1, *truth.shape)
    assert iou(result["object"][0], truth) > truth.mean()  # better than everything at once


@pytest.mark.parametrize("make", [tiny_uniref, tiny_sam], ids=["uniref", "uniref_sam"])
@pytest.mark.parametrize(
    "arguments, names",
    [
        ({"support": [RED_SUPPORT]}, ("object",)),
        ({"text": ["red", "blue"]}, ("red", "blue")),
        ({"support": {"a": [RED_SUPPORT]}, "text": "x"}, ("a",)),
    ],
    ids=["supports", "words", "both"],
)
def test_uniref_takes_supports_words_or_both(make: Any, arguments: dict, names: tuple[str, ...]) -> None:
    model = Model(make(), InputRule())
    result = model.segment(BOTH, **arguments, size=32)
    assert result.names == names and result.masks.shape == (len(names), 1, 64, 96)
    assert ((result.scores >= 0) & (result.scores <= 1)).all()
    with pytest.raises(ValueError, match="nothing says what to look for: give support=... or text=..."):
        model.segment(BOTH)


def test_uniref_looks_at_each_frame_of_a_video() -> None:
    model, supports = Model(tiny_uniref(), InputRule()), [RED_SUPPORT, BLUE_SUPPORT]
    video, frame = (model.segment(source, support=supports, size=32) for source in (VIDEO[:2], VIDEO[1]))
    torch.testing.assert_close(frame.scores[:, 0], video.scores[:, 1], rtol=1e-4, atol=1e-5)
    with_words = model.segment(VIDEO[1], support=supports, text="the red one", size=32)
    assert not torch.equal(with_words.scores, frame.scores)


def test_a_uniref_without_a_part_refuses_what_it_cannot_take() -> None:
    with pytest.raises(ValueError, match="system 'uniref_sam' takes no text: leave text=... away"):
        Model(tiny_sam(text=False), InputRule()).segment(BOTH, text="red")
    with pytest.raises(ValueError, match=r"system 'uniref_sam' takes no supports .*: leave support=... away"):
        Model(tiny_sam(supports=False), InputRule()).segment(BOTH, support=[RED_SUPPORT])

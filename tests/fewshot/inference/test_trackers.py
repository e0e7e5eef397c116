"""The trackers of videos, stepped with a system that answers from a script."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.trackers import RVOSTracker, VOSTracker, soft_aggregate
from fewshot.nn.outputs import Losses, Prediction
from fewshot.systems.base import ReferenceState, System
from fewshot.systems.uniref.sam import predicted_iou
from tests.fewshot.systems.test_uniref import tiny_uniref
from tests.fewshot.systems.test_uniref_sam import tiny as tiny_sam
from tests.fewshot.tiny import predicted

NETWORK, ORIGINAL = (32, 48), (16, 24)
LEFT, RIGHT = (slice(None), slice(0, 8)), (slice(None), slice(16, 24))  # thirds of the original frame


@dataclass(frozen=True)
class Seen:
    """A reference: which frames it is made of, and the masks that were given with them."""

    frames: tuple[int, ...]
    masks: tuple[Tensor, ...]

    def join(self, other: Seen) -> Seen:
        return Seen(self.frames + other.frames, self.masks + other.masks)

    def stack(self, others: Sequence[Seen]) -> list[Seen]:
        return [self, *others]


class Row(list):
    """References in a row; a part of one is that reference."""

    def __getitem__(self, rows: slice) -> Seen:
        (one,) = list(self)[rows]
        return one


class Scripted(System):
    """Answers `(frame number, expression, reference)` with a map of logits at stride 4 and a score."""

    def __init__(self, answer: Callable[[int, str | None, Seen | None], tuple[Tensor, float]]) -> None:
        super().__init__()
        self.answer = answer
        self.asked: list[tuple[int, str | None, Seen | None]] = []
        self.read: list[str | None] = []
        self.passes = 0

    def encode_supports(self, supports: ClipBatch, shots: int) -> Row:
        assert shots == 1 and set(supports.expressions) == {None}
        number = int(supports.frames[0, 0, 0, 0, 0])
        return Row([Seen((number,), (mask[0],)) for mask in supports.masks if mask is not None])

    def encode_text(self, expressions: Sequence[str | None]) -> list[str | None]:
        self.read += expressions
        return list(expressions)

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        state.check(len(queries))
        number, nothing = int(queries.frames[0, 0, 0, 0, 0]), [None] * len(queries)
        asked = [(number, *rows) for rows in zip(state.words or nothing, state.supports or nothing, strict=True)]
        self.passes, self.asked = self.passes + 1, self.asked + asked
        logits, scores = zip(*(self.answer(*one) for one in asked), strict=True)
        return Prediction(
            torch.stack(logits)[:, None, None], torch.tensor(scores).logit()[:, None, None], tracked=False
        )

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        raise NotImplementedError


def frame(number: int) -> ClipBatch:
    return ClipBatch(
        frames=torch.full((1, 1, 3, *NETWORK), float(number)),
        padding=torch.zeros(1, *NETWORK, dtype=torch.bool),
        sizes=torch.tensor([NETWORK]),
        expressions=(None,),
        masks=(None,),
    )


def area(part: tuple[slice, slice]) -> Tensor:
    mask = torch.zeros(ORIGINAL, dtype=torch.bool)
    mask[part] = True
    return mask


def logits_of(mask: Tensor, value: float = 8.0) -> Tensor:
    """Logits at stride 4 that say `mask`."""
    small = F.interpolate(mask[None, None].float(), (NETWORK[0] // 4, NETWORK[1] // 4))[0, 0]
    return value * (2 * small - 1)


def follows(number: int, text: str | None, state: Seen | None) -> tuple[Tensor, float]:
    """Finds the object where it was last."""
    assert state is not None
    return logits_of(state.masks[-1]), 0.9


def test_the_background_is_where_no_object_is_and_ties_go_to_the_lower_number() -> None:
    probabilities = torch.tensor([[0.2, 0.9, 0.5, 0.6, 0.0], [0.1, 0.95, 0.0, 0.6, 1.0]])[:, None]
    # 1 - p products: .72, .005, .5, .16, 0
    assert soft_aggregate(probabilities).tolist() == [[0, 2, 0, 1, 2]]
    assert soft_aggregate(torch.zeros(0, 1, 2)).tolist() == [[0, 0]]


def test_nothing_is_found_before_an_object_is_given() -> None:
    system = Scripted(follows)
    tracker = VOSTracker(system)
    state, found = tracker.step(tracker.start(ORIGINAL), frame(0))
    assert found.ids == () and not system.asked and not state.memories
    _, found = tracker.step(state, frame(1), {2: area(LEFT)})
    assert found.ids == (2,) and found.scores == (1.0,)
    assert torch.equal(found.labels(), 2 * area(LEFT).to(torch.uint8))
    assert not system.asked  # what is given is not looked for


def test_the_first_frame_stays_and_the_last_one_moves_on() -> None:
    system = Scripted(follows)
    tracker = VOSTracker(system)
    state, _ = tracker.step(tracker.start(ORIGINAL), frame(0), {1: area(LEFT)})
    for number in (1, 2, 3):
        state, found = tracker.step(state, frame(number))
        assert found.ids == (1,) and found.masks[0][LEFT].float().mean() > 0.8
    assert [reference.frames for _, _, reference in system.asked] == [(0,), (0, 1), (0, 2)]
    assert [text for _, text, _ in system.asked] == [None] * 3


def test_an_object_that_is_not_found_keeps_its_last_memory() -> None:
    def lost_in_frame_2(number: int, text: str | None, state: Seen) -> tuple[Tensor, float]:
        return logits_of(area(LEFT)), 0.4 if number == 2 else 0.9

    system = Scripted(lost_in_frame_2)
    tracker = VOSTracker(system, threshold=0.5)
    state, _ = tracker.step(tracker.start(ORIGINAL), frame(0), {1: area(LEFT)})
    areas = []
    for number in (1, 2, 3):
        state, found = tracker.step(state, frame(number))
        areas.append(int(found.masks.sum()))
    assert areas[1] == 0 and areas[0] == areas[2] > 0
    assert [reference.frames for _, _, reference in system.asked] == [(0,), (0, 1), (0, 1)]


def test_the_threshold_itself_is_not_enough() -> None:
    system = Scripted(lambda number, text, state: (logits_of(area(LEFT)), 0.5))
    for threshold, found_something in ((0.5, False), (0.499, True), (None, True)):
        tracker = VOSTracker(system, threshold=threshold)
        state, _ = tracker.step(tracker.start(ORIGINAL), frame(0), {1: area(LEFT)})
        assert bool(tracker.step(state, frame(1))[1].masks.any()) is found_something


def test_an_object_that_enters_later_competes_for_pixels_with_its_given_mask() -> None:
    everywhere = torch.ones(ORIGINAL, dtype=torch.bool)
    system = Scripted(lambda number, text, state: (logits_of(everywhere, 2.0), 0.9))
    tracker = VOSTracker(system)
    state, _ = tracker.step(tracker.start(ORIGINAL), frame(0), {7: area(LEFT)})
    state, found = tracker.step(state, frame(1), {3: area(RIGHT)})
    assert found.ids == (3, 7)
    labels = found.labels()
    assert (labels[RIGHT] == 3).all() and (labels[LEFT] == 7).all() and (labels[:, 8:16] == 7).all()
    assert torch.equal(state.memories[3].first.masks[0], area(RIGHT))
    assert state.memories[3].last is state.memories[3].first  # not what is left of the given mask
    # the memory of object 7 is the mask that was left to it, not what it had claimed
    assert state.memories[7].last.frames == (1,) and not state.memories[7].last.masks[0][RIGHT].any()


def test_masks_of_network_size_are_given_softly() -> None:
    tracker = VOSTracker(Scripted(follows))
    mask = torch.zeros(NETWORK, dtype=torch.bool)
    mask[:, :17] = True
    _, found = tracker.step(tracker.start(ORIGINAL), frame(0), {1: mask})
    assert set(found.probabilities[0].unique().tolist()) == {0.0, 0.5, 1.0}
    assert found.masks[0][:, :8].all() and not found.masks[0][:, 8:].any()  # 0.5 against 0.5: background


def test_the_interpolation_of_logits_is_aligned_for_vos_only() -> None:
    half = logits_of(area((slice(None), slice(0, 12))), 1.0)
    system = Scripted(lambda number, text, state: (half, 0.9))
    vos = VOSTracker(system)
    state, _ = vos.step(vos.start(NETWORK), frame(0), {1: torch.ones(NETWORK, dtype=torch.bool)})
    aligned = vos.step(state, frame(1))[1].masks[0].sum(1)
    rvos = RVOSTracker(system)
    plain = rvos.step(rvos.start(NETWORK, ["the left half"]), frame(1))[1].masks[0].sum(1)
    # cells 5 and 6 are 1 and -1; their samples lie at columns 22 and 26 (aligned) or 21.5 and 25.5 (plain)
    assert aligned.unique().tolist() == [24] and plain.unique().tolist() == [24]
    values = vos.step(state, frame(1))[1].probabilities[0, 0].logit()
    assert values[[22, 24, 26]].tolist() == pytest.approx([1, 0, -1], abs=1e-5)
    values = rvos.step(rvos.start(NETWORK, ["the left half"]), frame(1))[1].probabilities[0, 0].logit()
    assert values[[21, 23, 24, 26]].tolist() == pytest.approx([1, 0.25, -0.25, -1], abs=1e-5)


def test_the_padding_of_the_network_is_cropped() -> None:
    half = torch.zeros(NETWORK, dtype=torch.bool)
    half[:, :24] = True
    system = Scripted(lambda number, text, state: (logits_of(half), 0.9))
    padded = replace(frame(0), sizes=torch.tensor([[32, 32]]))  # 16 of the 48 columns are padding
    tracker = RVOSTracker(system)
    found = tracker.step(tracker.start((32, 32), ["the left half"]), padded)[1]
    assert found.masks[0].sum(1).unique().tolist() == [24]


def test_an_expression_is_found_by_words_until_it_has_been_seen() -> None:
    def seen_from_frame_1(number: int, text: str | None, state: Seen | None) -> tuple[Tensor, float]:
        return logits_of(area(LEFT)), 0.2 if number in (0, 3) else 0.8

    system = Scripted(seen_from_frame_1)
    tracker = RVOSTracker(system)
    state = tracker.start(ORIGINAL, ["a dog"])
    areas = []
    for number in range(5):
        state, found = tracker.step(state, frame(number))
        areas.append(int(found.masks.sum()))
    assert [bool(a) for a in areas] == [False, True, True, False, True]
    assert [None if r is None else r.frames for _, _, r in system.asked] == [None, None, (1,), (1, 2), (1, 2)]
    assert {text for _, text, _ in system.asked} == {"a dog"}


def test_words_are_encoded_once_for_a_video() -> None:
    system = Scripted(lambda number, text, state: (logits_of(area(LEFT)), 0.9))
    tracker = RVOSTracker(system)
    state = tracker.start(ORIGINAL, ["a dog", "a cat"])
    for number in range(4):
        state, _ = tracker.step(state, frame(number))
    assert system.read == ["a dog", "a cat"]
    assert [text for _, text, _ in system.asked] == ["a dog", "a cat"] * 4
    assert system.passes == 4, "both are looked for in one pass until one of them alone has been seen"


def test_without_memory_and_threshold_expressions_compete_for_pixels() -> None:
    def two(number: int, text: str | None, state: Seen | None) -> tuple[Tensor, float]:
        return (logits_of(area((slice(None), slice(0, 16))), 3.0 if text == "a dog" else 1.0)), 0.01

    system = Scripted(two)
    tracker = RVOSTracker(system, threshold=None, use_memory=False, exclusive=True)
    state = tracker.start(ORIGINAL, ["a cat", "a dog"])
    for number in range(2):
        state, found = tracker.step(state, frame(number))
        assert found.ids == (1, 2) and (found.labels()[LEFT] == 2).all()
    assert all(reference is None for _, _, reference in system.asked)
    apart = RVOSTracker(system, threshold=None, use_memory=False)
    found = apart.step(apart.start(ORIGINAL, ["a cat", "a dog"]), frame(0))[1]
    assert (found.masks[0] & found.masks[1])[LEFT].all()


def test_logits_in_place_of_probabilities_change_the_result() -> None:
    answers = {"a": 0.4, "b": 0.6}  # logits: probabilities .599 and .646
    everywhere = torch.ones(ORIGINAL, dtype=torch.bool)
    system = Scripted(lambda number, text, state: (logits_of(everywhere, answers[text]), 0.9))
    for logits, masks in ((False, [True, True]), (True, [False, True])):
        tracker = RVOSTracker(system, logits=logits)
        found = tracker.step(tracker.start(ORIGINAL, ["a", "b"]), frame(0))[1]
        assert found.masks.flatten(1).all(1).tolist() == masks


@pytest.mark.parametrize(
    ("masks", "message"),
    [
        ({300: area(LEFT)}, "object id 300: valid ids are 1 to 255"),
        ({1: torch.zeros(ORIGINAL, dtype=torch.bool)}, "object 1 must be .* at least one pixel"),
        ({1: area(LEFT)[None]}, "object 1 must be"),
    ],
)
def test_impossible_objects_are_refused(masks: dict[int, Tensor], message: str) -> None:
    tracker = VOSTracker(Scripted(follows))
    with pytest.raises(ValueError, match=message):
        tracker.step(tracker.start(ORIGINAL), frame(0), masks)


def test_impossible_numbers_and_frames_are_refused() -> None:
    with pytest.raises(ValueError, match="threshold must lie"):
        VOSTracker(Scripted(follows), threshold=1.5)
    tracker = RVOSTracker(Scripted(follows))
    with pytest.raises(ValueError, match="a list of expressions"):
        tracker.start(ORIGINAL, [])
    with pytest.raises(ValueError, match="a list of expressions"):
        tracker.start(ORIGINAL, "a dog")
    two = ClipBatch(
        torch.zeros(1, 2, 3, *NETWORK), torch.zeros(1, *NETWORK) > 0, torch.tensor([NETWORK]), (None,), (None,)
    )
    with pytest.raises(ValueError, match=r"single frames \(1, 1, 3, H, W\), got \(1, 2, 3"):
        tracker.step(tracker.start(ORIGINAL, ["a dog"]), two)


def clip_of(number: int) -> ClipBatch:
    """A frame with a bright square that moves to the right."""
    batch = frame(0)
    batch.frames[:, :, :, 8:24, 4 * number + 4 : 4 * number + 20] = 2.0
    return batch


@pytest.mark.parametrize("kind", ["uniref", "uniref_sam"])
def test_both_systems_step_through_a_video(kind: str) -> None:
    system, options = (tiny_uniref(), {}) if kind == "uniref" else (tiny_sam(), {"confidence": predicted_iou})
    given = torch.zeros(ORIGINAL, dtype=torch.bool)
    given[4:12, 2:10] = True
    with torch.inference_mode():
        vos = VOSTracker(system, threshold=None, **options)
        state, first = vos.step(vos.start(ORIGINAL), clip_of(0), {5: given})
        assert torch.equal(first.labels(), 5 * given.to(torch.uint8))
        for number in (1, 2):
            before, (state, found) = state, vos.step(state, clip_of(number))
            assert found.ids == (5,) and found.probabilities.shape == (1, *ORIGINAL)
            assert found.probabilities.isfinite().all() and 0 <= float(found.probabilities.max()) <= 1
            moved = state.memories[5].last is not before.memories[5].last
            assert moved == bool(found.masks.any()) and state.memories[5].first is before.memories[5].first
        rvos = RVOSTracker(system, threshold=None, exclusive=True, **options)
        words = rvos.start(ORIGINAL, ["the bright square", "the dark ground"])
        words, alone = rvos.step(words, clip_of(0))
        assert alone.probabilities.shape == (2, *ORIGINAL) and not (alone.masks[0] & alone.masks[1]).any()
        assert [memory is not None for memory in words.memories] == alone.masks.flatten(1).any(1).tolist()
        rvos.step(words, clip_of(1))


def test_the_official_scale_of_sam_is_that_of_logits() -> None:
    system, given = tiny_sam(), torch.ones(ORIGINAL, dtype=torch.bool)
    with torch.inference_mode():
        for logits in (False, True):
            tracker = VOSTracker(system, threshold=None, logits=logits, confidence=predicted_iou)
            state, _ = tracker.step(tracker.start(ORIGINAL), clip_of(0), {1: given})
            _, found = tracker.step(state, clip_of(1))
            if not logits:
                probabilities = found.probabilities
        # the same cells: bilinear interpolation of logits and of probabilities agree where both are constant
        assert found.probabilities.min() < 0 or found.probabilities.max() > 1
        assert torch.allclose(found.probabilities.sigmoid(), probabilities, atol=0.05)


def test_a_system_with_predicted_iou_is_judged_by_it() -> None:
    system = tiny_sam()
    with torch.inference_mode():
        quality = float(predicted_iou(predicted(system, replace(clip_of(0), expressions=("a",))))[0, 0])
        tracker = RVOSTracker(system, threshold=None, confidence=predicted_iou)
        _, found = tracker.step(tracker.start(ORIGINAL, ["a"]), clip_of(0))
    assert found.scores[0] == pytest.approx(quality)

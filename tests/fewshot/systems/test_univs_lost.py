"""UniVS on given objects: what is lost and comes back, what the rest of the frame takes, masks thinner than a cell."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.chunks import evaluating
from fewshot.systems.registry import make_system
from fewshot.systems.univs.answers import Answer, Candidates
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.decoder import Found, Prompts, Scenes
from fewshot.systems.univs.draws import FixedDraws
from fewshot.systems.univs.given_masks import BACKGROUND, with_rest
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.outputs import helped
from fewshot.systems.univs.video_tasks import task_of
from fewshot.systems.univs.visual_prompts import Scene, box_of_masks, mask_prompts, relative
from fewshot.systems.video_tasks import Settled, VideoQuestion, Vocabulary

SIZE, CLIP = (64, 64), 3
Answers = Callable[[int, int, int], Tensor]  # prompts, first frame, frames of a clip -> logits (P, T, 16, 16)


def square(rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


LEFT = square(slice(0, 64), slice(0, 32))


def scripted(answers: Answers, **settings: Any) -> UniVS:
    """A UniVS whose prompts find what `answers` says, each always with the same embedding."""
    system = make_system(UniVSConfig(**SMALL, **settings), 0)
    assert isinstance(system, UniVS)

    def segment(scenes: Scenes, asked: Prompts | None, **_: Any) -> list[Found]:
        count, frames = (0 if asked is None else asked.content.shape[1]), scenes.moments.shape[1]
        start = round(float(scenes.moments[0, 0]) * 128)
        masks = torch.cat([torch.full((system.sizes.num_queries, frames, 16, 16), -9.0), answers(count, start, frames)])
        same = torch.ones(1, len(masks), frames, system.sizes.hidden_dim)
        return [Found(masks[None], same)]

    system.segment = segment  # type: ignore[method-assign]
    return system


def walked(
    system: UniVS, frames: int, given: dict[int, dict[int, Tensor]], kind: str = "vos", **asked: Any
) -> tuple[Tensor, Any]:
    """Masks `(N, frames, H, W)` of all objects, and the last state."""
    ids = tuple(sorted({k for own in given.values() for k in own}))
    task, parts = task_of(system, kind, CLIP), list[Settled]()
    frame = ClipBatch(torch.zeros(1, 1, 3, *SIZE), torch.zeros(1, *SIZE) > 0, torch.tensor([SIZE]), (None,), (None,))
    with evaluating(system):
        state = task.start(VideoQuestion(SIZE, objects=ids, **asked))
        for n in range(frames):
            state, settled = task.step(state, frame, given.get(n, {}))
            parts.append(settled)
        parts.append(task.end(state))
    told = [part for part in parts if part.frames]
    assert all(part.ids == ids for part in told)
    return torch.cat([part.masks for part in told if part.masks is not None], 1), state


def alike(mask: Tensor, other: Tensor) -> bool:
    """The same but for a line of pixels, which bilinear resizing may move."""
    return int((mask ^ other).sum()) <= 64


def small(mask: Tensor) -> Tensor:
    """Logits of a mask at stride 4."""
    return 12.0 * mask[2::4, 2::4].float() - 6.0


def test_what_is_lost_keeps_its_first_sight_and_comes_back() -> None:
    """No frame without a mask is shown to the network: the specification of the memory."""
    away = range(4, 14)

    def answers(prompts: int, start: int, frames: int) -> Tensor:
        return torch.stack(
            [torch.full((16, 16), -9.0) if t in away else small(LEFT) for t in range(start, start + frames)]
        )[None].expand(prompts, -1, -1, -1)

    system = scripted(answers)
    seen = []
    show = system.show
    system.show = lambda *given: seen.append(given[2]) or show(*given)  # type: ignore[method-assign, func-returns-value]
    masks, state = walked(system, 20, {0: {1: LEFT}})
    there = masks[0].flatten(1).any(1).tolist()
    assert there == [t not in away for t in range(20)]
    assert alike(masks[0, -1], LEFT)
    memory = state.video[1].memory
    assert memory.origin is not None and memory.origin[0].abs().sum() > 0, "its first sight is read to the end"
    assert memory.tokens[0].flatten(1).abs().sum(1).gt(0).all(), "and by now it is seen again"


def over_the_whole_frame(prompts: int, start: int, frames: int) -> Tensor:
    """Object 1 takes everything for itself; the rest of the frame, if that is asked for, is surer of its part."""
    masks = [torch.where(small(LEFT) > 0, 3.0, 1.0), torch.where(small(LEFT) > 0, -6.0, 6.0)]
    return torch.stack(masks[:prompts])[:, None].expand(-1, frames, -1, -1)


@pytest.mark.parametrize("background", [False, True])
def test_the_rest_of_the_frame_competes_where_a_network_was_trained_so(background: bool) -> None:
    masks, state = walked(scripted(over_the_whole_frame, background=background), 6, {0: {1: LEFT}})
    assert masks.shape == (1, 6, *SIZE), "it is no object of the answer"
    assert state.video[1].tracks.ids == ((1, BACKGROUND) if background else (1,))
    assert torch.equal(masks[0, 0], LEFT)
    wanted = LEFT if background else LEFT | ~LEFT
    assert all(alike(mask, wanted) for mask in masks[0, 1:])


def test_panoptic_masks_leave_nothing_to_ask_for() -> None:
    _, state = walked(scripted(over_the_whole_frame, background=True), 3, {0: {1: LEFT, 2: ~LEFT}}, "pvos")
    assert state.video[1].tracks.ids == (1, 2)


def test_the_rest_is_that_of_the_first_frame_with_a_mask() -> None:
    late = square(slice(50, 60), slice(50, 60))
    given = {2: {1: LEFT}, 5: {4: late}}
    told = with_rest(given, -1)
    assert torch.equal(told[2][BACKGROUND], ~LEFT) and BACKGROUND not in told[5]
    assert BACKGROUND not in with_rest({5: {4: late}}, 2)[5]
    assert with_rest({}, -1) == {}
    assert set(given[2]) == {1}, "what was given stays as it is"
    full = with_rest({0: {1: LEFT | ~LEFT}}, -1)
    assert not full[0][BACKGROUND].any()


def test_an_object_that_fills_the_frame_leaves_a_rest_that_takes_nothing() -> None:
    everything = LEFT | ~LEFT
    masks, _ = walked(
        scripted(lambda p, _, t: torch.full((p, t, 16, 16), 6.0), background=True), 5, {0: {1: everything}}
    )
    assert masks.all()


def scene() -> Scene:
    """Features that name their cell, on a map of 8 x 8 cells of 8 pixels."""
    cells = torch.arange(64.0).view(8, 8)
    return Scene((cells + 1).expand(4, -1, -1), torch.zeros(4, 8, 8), torch.tensor(0.5))


def test_a_mask_that_is_thinner_than_a_cell_is_a_prompt_and_not_the_whole_frame() -> None:
    """As released its cells are the nearest ones: none, or with no other mask the whole frame."""
    dot, large = square(slice(21, 23), slice(45, 46)), square(slice(0, 16), slice(0, 16))
    both = torch.stack([dot, large])

    def cells(masks: Tensor, touched: bool) -> list[set[int]]:
        boxes = relative(box_of_masks(masks), SIZE)
        found = mask_prompts(scene(), masks.float(), boxes, 4, FixedDraws(), touched=touched)
        return [{int(x) - 1 for x in row} for row in found.tokens[..., 0].tolist()]

    own = 2 * 8 + 5
    assert cells(dot[None], touched=True) == [{own}]
    assert cells(dot[None], touched=False) == [{0, 1, 2, 3}], "the first cells of the frame"
    assert cells(both, touched=True) == [{own}, {0, 1, 8, 9}]
    assert cells(both, touched=False) == [{-1}, {0, 1, 8, 9}], "features of nothing"


@pytest.mark.parametrize("kind", ["vos", "vps"])
def test_tests_bring_thin_masks_back_as_they_were_released(kind: str) -> None:
    system = make_system(UniVSConfig(**SMALL), 0)
    assert isinstance(system, UniVS)
    ways: list[Any] = [task_of(system, kind, CLIP, faults) for faults in ((), ("erased_masks",))]
    assert [way.touched for way in ways] == [True, False]


def test_stuff_has_the_pixels_in_which_its_class_is_seen() -> None:
    """A quality and a probability decide which class a cell has; things keep their masks."""
    masks = torch.full((3, 1, 1, 4), -2.0)
    masks[0, ..., :2], masks[1, ..., 1:], masks[2] = 3.0, 2.0, -9.0
    logits = torch.tensor([[4.0, -4.0], [-4.0, 4.0], [9.0, 9.0]])
    learnable = Candidates(masks, torch.zeros(3, 1, 4), logits)
    prompts = Candidates(torch.full((3, 1, 1, 4), -5.0), torch.zeros(3, 1, 4))
    found = helped(Answer(learnable, prompts), {0: 1, 2: 0}).masks[:, 0, 0]
    assert found[0].tolist() == [-5.0, -5.0, 10.0, 10.0], "class 1"
    assert found[1].tolist() == [-5.0] * 4, "a thing"
    assert found[2].tolist() == [10.0, 10.0, -5.0, -5.0], "class 0"


def test_stuff_that_is_named_takes_its_pixels_from_what_ran_over_them() -> None:
    ground = ~LEFT
    vocabulary, small_left = Vocabulary(("dax", "ground")), small(LEFT)

    def segment(scenes: Scenes, asked: Prompts, concepts: Tensor | None = None, **_: Any) -> list[Found]:
        frames = scenes.moments.shape[1]
        learnable = torch.stack([small_left, -small_left])[:, None].expand(-1, frames, -1, -1)
        shown = torch.stack([torch.full((16, 16), 4.0), torch.full((16, 16), -10.0)])[:, None].expand(
            -1, frames, -1, -1
        )
        logits = None if concepts is None else torch.tensor([[5.0, -5.0], [-5.0, 5.0], [0.0, 0.0], [0.0, 0.0]])[None]
        return [Found(torch.cat([learnable, shown])[None], torch.ones(1, 4, frames, 32), logits)]

    found = []
    for stuff in ({}, {2: 1}):
        system = make_system(UniVSConfig(**{**SMALL, "num_queries": 2}), 0)
        assert isinstance(system, UniVS)
        system.segment = segment  # type: ignore[method-assign]
        given = {0: {1: LEFT, 2: ground}}
        masks, _ = walked(system, 4, given, "pvos", vocabulary=vocabulary, stuff=stuff)
        found.append(masks[:, -1])
    assert found[0][0].all() and not found[0][1].any()
    assert alike(found[1][0], LEFT) and alike(found[1][1], ground)

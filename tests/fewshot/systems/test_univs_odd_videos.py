"""UniVS on odd videos, in every kind of task: short ones, masks at the border, objects that come late or never."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.inference.chunks import evaluating
from fewshot.systems.registry import make_system
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.video_tasks import task_of
from fewshot.systems.video_tasks import Settled, VideoQuestion, Vocabulary

SIZE, PADDED, CLIP = (40, 56), (64, 64), 3
KINDS = ("vos", "pvos", "rvos", "vis", "vps", "vss")


@pytest.fixture(scope="module")
def system() -> UniVS:
    made = make_system(UniVSConfig(**SMALL, background=True), 0)
    assert isinstance(made, UniVS)
    return made


def question(kind: str, objects: tuple[int, ...] = (1, 2)) -> VideoQuestion:
    if kind in ("vos", "pvos"):
        return VideoQuestion(SIZE, objects=objects)
    if kind == "rvos":
        return VideoQuestion(SIZE, expressions=("a dax", "the left toma"))
    return VideoQuestion(SIZE, Vocabulary(("dax", "toma", "ground"), frozenset({2})))


def frame(seed: int) -> ClipBatch:
    frames, padding = torch.zeros(1, 1, 3, *PADDED), torch.ones(1, *PADDED, dtype=torch.bool)
    frames[..., : SIZE[0], : SIZE[1]] = torch.randn(1, 1, 3, *SIZE, generator=torch.Generator().manual_seed(seed))
    padding[:, : SIZE[0], : SIZE[1]] = False
    return ClipBatch(frames, padding, torch.tensor([SIZE]), (None,), (None,))


def square(rows: slice, columns: slice) -> Tensor:
    mask = torch.zeros(SIZE, dtype=torch.bool)
    mask[rows, columns] = True
    return mask


FIRST = {1: square(slice(4, 20), slice(4, 20)), 2: square(slice(10, 30), slice(30, 50))}


def walked(
    system: UniVS, kind: str, frames: int, given: dict[int, dict[int, Tensor]] | None = None, **options: Any
) -> list[Settled]:
    """What is told of a video; objects are given in frame 0 unless something else is."""
    given = ({0: FIRST} if kind in ("vos", "pvos") else {}) if given is None else given
    objects = options.pop("objects", tuple(sorted({k for own in given.values() for k in own})))
    task, told = task_of(system, kind, options.pop("clip", CLIP)), []
    with evaluating(system):
        state = task.start(question(kind, objects))
        for n in range(frames):
            state, settled = task.step(state, frame(n), given.get(n, {}))
            told.append(settled)
        told.append(task.end(state))
    return told


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("frames", [1, 2, 3, 4])
def test_every_frame_is_told_once_however_short_a_video_is(system: UniVS, kind: str, frames: int) -> None:
    told = walked(system, kind, frames)
    assert sum(part.frames for part in told) == frames
    for part in told:
        if part.frames and kind in ("vss", "vps"):
            assert part.labels is not None and part.labels.shape == (part.frames, *SIZE)
        elif part.frames:
            assert part.masks is not None and part.masks.shape == (len(part.ids), part.frames, *SIZE)
            assert part.masks.dtype == torch.bool
        for x in (part.scores, part.masks, part.labels):
            assert x is None or bool(torch.isfinite(x.float()).all())
    if kind in ("vos", "pvos"):
        first = next(part for part in told if part.frames)
        assert first.masks is not None
        assert all(torch.equal(first.masks[n, 0], FIRST[k]) for n, k in enumerate((1, 2)))


def masks_of(told: list[Settled]) -> Tensor:
    return torch.cat([part.masks for part in told if part.frames and part.masks is not None], 1)


@pytest.mark.parametrize("late", [1, 2, 3, 5])
@pytest.mark.parametrize("kind", ["vos", "pvos"])
def test_an_object_that_comes_later_is_nowhere_before(system: UniVS, kind: str, late: int) -> None:
    new = {4: square(slice(20, 36), slice(8, 24))}
    masks = masks_of(walked(system, kind, 6, {0: FIRST, late: new}))
    assert masks.shape == (3, 6, *SIZE) and not masks[2, :late].any()
    assert torch.equal(masks[2, late], new[4])
    assert not (masks.sum(0) > 1).any(), "a pixel belongs to one object"


def test_frames_before_the_first_object_are_empty(system: UniVS) -> None:
    masks = masks_of(walked(system, "vos", 6, {3: FIRST}))
    assert not masks[:, :3].any() and torch.equal(masks[0, 3], FIRST[1])


def test_an_object_that_is_announced_and_never_given_stays_away(system: UniVS) -> None:
    masks = masks_of(walked(system, "vos", 4, {0: {1: FIRST[1]}}, objects=(1, 7)))
    assert masks[0, 0].any() and not masks[1].any()
    assert not masks_of(walked(system, "vos", 4, {}, objects=(1,))).any()


@pytest.mark.parametrize("kind", ["vos", "pvos"])
def test_an_empty_mask_among_others_is_refused(system: UniVS, kind: str) -> None:
    with pytest.raises(ValueError, match="mask given for object 2 must be .* at least one pixel"):
        walked(system, kind, 2, {0: {1: FIRST[1], 2: FIRST[2] & False}})


BORDERS = {
    "corners": {1: square(slice(0, 8), slice(0, 8)), 2: square(slice(32, 40), slice(48, 56))},
    "last row and column": {1: square(slice(39, 40), slice(0, 56)), 2: square(slice(0, 39), slice(55, 56))},
    "the whole frame": {1: square(slice(0, 40), slice(0, 56))},
    "one pixel": {1: square(slice(39, 40), slice(55, 56)), 2: square(slice(0, 1), slice(0, 1))},
}


@pytest.mark.parametrize("kind", ["vos", "pvos"])
@pytest.mark.parametrize("border", BORDERS)
def test_masks_that_touch_the_border(system: UniVS, kind: str, border: str) -> None:
    given = BORDERS[border]
    masks = masks_of(walked(system, kind, 5, {0: given}))
    assert masks.shape == (len(given), 5, *SIZE)
    assert all(torch.equal(masks[n, 0], given[k]) for n, k in enumerate(sorted(given)))


@pytest.mark.parametrize("kind", KINDS)
def test_clips_of_one_frame_are_refused_where_one_shows_the_next_what_was_found(system: UniVS, kind: str) -> None:
    if kind in ("rvos", "vss"):
        assert sum(part.frames for part in walked(system, kind, 3, clip=1)) == 3
        return
    with pytest.raises(ValueError, match=f"clip_frames=2 or more for task {kind}"):
        walked(system, kind, 3, clip=1)

"""Images that drift along their clips."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from episodes.clip import Clip, Objects
from episodes.seeding import generator
from episodes.sources.base import boxes_of
from episodes.transforms.clips import TrainTransform
from episodes.transforms.motion import FILL, Drift


def still(frames: int = 5, names: tuple[str, ...] | None = None, top: int = 20) -> Clip:
    """A white block of 16x24 pixels in a black image of 60x80, shown in every frame."""
    masks = torch.zeros(frames, 60, 80, dtype=torch.bool)
    masks[:, top : top + 16, 30:54] = True
    pixels = 255 * masks.to(torch.uint8)[:, None].expand(-1, 3, -1, -1)
    boxes, valid = boxes_of(masks)
    return Clip(pixels, Objects.one(masks, boxes, valid), "it", "a.jpg", names or ("0",) * frames)


def test_the_object_moves_with_its_picture_and_the_middle_frame_is_as_on_disk() -> None:
    clip = still()
    out = Drift(turn=20, shift=0.2, zoom=0.3)(clip, generator("motion"))
    assert out.masks is not None and clip.masks is not None and out.boxes is not None
    assert torch.equal(out.frames[2], clip.frames[2]) and torch.equal(out.masks[2], clip.masks[2])
    for t in (0, 1, 3, 4):
        assert not torch.equal(out.masks[t], clip.masks[t])
        bright = (out.frames[t] > 190).all(0)
        assert (bright ^ out.masks[t]).sum() < 0.15 * out.masks[t].sum()
        assert torch.equal(out.boxes[t], boxes_of(out.masks[t : t + 1])[0][0])
    corner = out.frames[0, :, [0, 0, -1, -1], [0, -1, 0, -1]].T.tolist()
    assert FILL in corner, "what comes into view is as padding"


@pytest.mark.parametrize(("kind", "limit"), [("turn", 30.0), ("shift", 0.3), ("zoom", 0.5)])
def test_a_motion_is_even_and_within_its_limit(kind: str, limit: float) -> None:
    clip = still(frames=3)
    for seed in range(6):
        out = Drift(**{kind: limit})(clip, generator(kind, seed))
        assert out.masks is not None
        areas = out.masks.flatten(1).sum(1).double()
        rows, columns = zip(*((own.nonzero().double().mean(0)).tolist() for own in out.masks), strict=True)
        if kind == "shift":
            assert (areas == areas[1]).all()
            assert rows[2] - rows[1] == pytest.approx(rows[1] - rows[0], abs=1.01) and abs(rows[2] - rows[0]) <= 18
            assert columns[2] - columns[1] == pytest.approx(columns[1] - columns[0], abs=1.01)
        else:
            ratio = float(areas.max() / areas.min())
            assert ratio <= (1.5**2 * 1.1 if kind == "zoom" else 1.1)
    assert not torch.equal(*(Drift(**{kind: limit})(clip, generator(kind, k)).frames for k in (0, 1))), (
        "each clip has a draw of its own"
    )


def test_videos_single_frames_and_what_is_not_asked_for_stay() -> None:
    drift, draws = Drift(10, 0.1, 0.1), generator("stays")
    before = draws.get_state()
    moving, single = still(names=("0", "1", "1", "2", "3")), still(frames=1)
    assert drift(moving, draws) is moving and drift(single, draws) is single
    assert Drift()(still(), draws) is not None and torch.equal(draws.get_state(), before), "no draw is used up"


def test_void_pixels_and_all_objects_drift_too() -> None:
    clip = still()
    assert clip.objects is not None and clip.objects.masks is not None
    masks = clip.objects.masks.repeat(2, 1, 1, 1)
    boxes, _ = boxes_of(masks.flatten(0, 1))
    every = Objects(torch.tensor([1, 2]), torch.zeros(2).long(), masks, boxes.view(2, 5, 4), exhaustive=True)
    out = Drift(shift=0.3)(replace(clip, objects=every, ignore=masks[0]), generator("all"))
    assert out.objects is not None and out.objects.masks is not None and out.ignore is not None
    assert torch.equal(out.objects.masks[0], out.objects.masks[1]) and torch.equal(out.ignore, out.objects.masks[0])
    assert not torch.equal(out.ignore, masks[0])
    with pytest.raises(ValueError, match=r"a.jpg: boxes without masks cannot drift: set still_turn"):
        Drift(shift=0.3)(replace(clip, objects=Objects.one(boxes=boxes[:5])), generator(0))


def test_an_object_that_leaves_the_picture_is_not_visible_there() -> None:
    clip = still(top=0)
    found = []
    for seed in range(20):
        out = TrainTransform((60,), 80, crop=False, flip=False, colour=False, drift=Drift(shift=1.0))(
            clip, generator("leaves", seed)
        )
        assert out.valid is not None and out.masks is not None and out.boxes is not None
        assert torch.equal(out.valid, boxes_of(out.masks)[1]) and out.valid[2]
        found += out.valid.tolist()
    assert 50 < sum(found) < len(found)

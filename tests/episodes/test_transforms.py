from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from episodes.clip import Clip
from episodes.seeding import generator
from episodes.sources.base import boxes_of
from episodes.transforms import (
    MEAN,
    STD,
    TestTransform,
    TrainTransform,
    flip_clip,
    resize_clip,
    short_side_size,
    swap_sides,
)


def make_clip(height=40, width=60, frames=2, expression="the left dog", block=(10, 20, 15, 40), seed=0) -> Clip:
    masks = torch.zeros(frames, height, width, dtype=torch.bool)
    y0, y1, x0, x1 = block
    masks[:, y0:y1, x0:x1] = True
    boxes, valid = boxes_of(masks)
    pixels = torch.randint(0, 256, (frames, 3, height, width), dtype=torch.uint8, generator=generator("clip", seed))
    return Clip(pixels, masks, boxes, valid, expression, "v", (), (height, width))


def plain(sizes=(40,), max_size=1000, **switches) -> TrainTransform:
    return TrainTransform(sizes, max_size, **{"crop": False, "flip": False, "colour": False, **switches})


def denormalise(frames: torch.Tensor) -> torch.Tensor:
    mean, std = (torch.tensor(x)[:, None, None] for x in (MEAN, STD))
    return (frames * std + mean) * 255


def test_a_clip_of_the_wanted_size_is_only_normalised() -> None:
    clip = make_clip()
    out = plain()(clip, generator(0))
    assert out.frames.dtype == torch.float32
    assert torch.allclose(denormalise(out.frames), clip.frames.float(), atol=1e-3)
    assert torch.equal(out.masks, clip.masks) and torch.equal(out.boxes, clip.boxes)
    assert out.expression == clip.expression and out.original_size == (40, 60)
    assert clip.frames.dtype == torch.uint8, "the input is left alone"


@pytest.mark.parametrize(
    ("size", "short", "longest", "expected"),
    [
        ((360, 640), 360, None, (360, 640)),
        ((720, 1280), 360, None, (360, 640)),
        ((480, 854), 360, None, (360, 640)),
        ((640, 360), 100, None, (177, 100)),
        ((96, 64), 36, None, (54, 36)),
        ((72, 128), 36, None, (36, 64)),
        ((720, 1280), 512, 640, (360, 640)),
        ((360, 640), 512, 640, (360, 640)),
        ((100, 100), 512, 640, (512, 512)),
        ((300, 1000), 512, 640, (192, 640)),
    ],
)
def test_short_side_rule(size, short, longest, expected) -> None:
    assert short_side_size(size, short, longest) == expected


@given(st.integers(1, 2000), st.integers(1, 2000), st.integers(1, 600))
def test_short_side_rule_holds(height, width, short) -> None:
    out = short_side_size((height, width), short)
    assert min(out) == short
    assert abs(max(out) - short * max(height, width) / min(height, width)) < 1


def test_frames_are_resized_as_pil_does() -> None:
    clip = make_clip(90, 120, 1)
    out = resize_clip(clip, (36, 48))
    image = Image.fromarray(clip.frames[0].permute(1, 2, 0).numpy()).resize((48, 36), Image.BILINEAR)
    difference = np.abs(np.asarray(image).astype(int) - out.frames[0].permute(1, 2, 0).numpy().astype(int))
    assert difference.max() <= 1


def test_masks_follow_by_nearest_and_boxes_by_scale() -> None:
    clip = make_clip(40, 60)
    out = resize_clip(clip, (80, 120))
    assert torch.equal(out.masks, clip.masks.repeat_interleave(2, 1).repeat_interleave(2, 2))
    assert torch.equal(out.boxes, clip.boxes * 2)


def test_test_transform_keeps_masks_and_scales_boxes() -> None:
    clip = make_clip(40, 60)
    out = TestTransform(20)(clip)
    assert out.size == (20, 30) and out.masks is clip.masks
    assert torch.equal(out.boxes, clip.boxes / 2)
    with pytest.raises(ValueError, match="test_size must be at least 1"):
        TestTransform(0)


def test_flip_mirrors_everything_and_twice_is_nothing() -> None:
    clip = make_clip(expression="the bright dog on the left, right of a cat")
    out = flip_clip(clip)
    assert torch.equal(out.frames, clip.frames.flip(-1)) and torch.equal(out.masks, clip.masks.flip(-1))
    x0, y0, x1, y1 = clip.boxes.unbind(1)
    assert torch.equal(out.boxes, torch.stack([60 - x1, y0, 60 - x0, y1], 1))
    assert out.expression == "the bright dog on the right, left of a cat"
    back = flip_clip(out)
    assert torch.equal(back.frames, clip.frames) and back.expression == clip.expression
    assert flip_clip(make_clip(expression=None)).expression is None


def test_words() -> None:
    assert swap_sides("leftmost bright left-hand") == "leftmost bright right-hand"
    assert swap_sides("leftmost bright left", whole_words=False) == "rightmost bleft right"


@given(st.text(alphabet="lefrights ,", max_size=40), st.booleans())
def test_words_swap_back(text, whole) -> None:
    if "lleft" not in text and "rright" not in text and (whole or _stable(text)):
        assert swap_sides(swap_sides(text, whole), whole) == text


def _stable(text: str) -> bool:
    """Substring swaps may build a new word at the seams: those texts are not their own double swap."""
    swapped = swap_sides(text, False)
    return len(swapped) == len(text) + text.count("left") - text.count("right")


def test_half_the_clips_are_flipped() -> None:
    transform, clip = plain(flip=True), make_clip()
    flipped = [transform(clip, generator(i)).expression == "the right dog" for i in range(200)]
    assert 75 < sum(flipped) < 125


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10**6), tall=st.booleans(), official=st.booleans())
def test_training_clips_stay_consistent(seed, tall, official) -> None:
    """Whatever is drawn: one size for all, boxes in the frame, boxes where and only where the object is valid."""
    height, width = (60, 40) if tall else (40, 60)
    clip = make_clip(height, width, 3, seed=seed, block=(5, 12, 8, 15))
    transform = TrainTransform([24, 32], 44, official=official, crop_sizes=(40, 50), crop_range=(16, 45))
    out = transform(clip, generator("t", seed))
    h, w = out.size
    assert out.frames.dtype == torch.float32 and out.masks.shape[-2:] == (h, w)
    assert max(h, w) <= 45 and min(h, w) in range(15, 33)
    x0, y0, x1, y1 = out.boxes.unbind(1)
    assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= w + 1e-4).all() and (y1 <= h + 1e-4).all()
    assert torch.equal(out.valid, (x1 > x0) & (y1 > y0))
    if not official:
        assert (out.masks.flatten(1).any(1) | ~out.valid).all()
    for mask, box, valid in zip(out.masks, out.boxes, out.valid, strict=True):
        tight, has_area = boxes_of(mask[None])
        if valid and has_area:
            assert (tight[0] - box).abs().max() <= 3, "mask and box moved together"


@settings(max_examples=20, deadline=None)
@given(seed=st.integers(0, 10**6))
def test_one_generator_seed_is_one_draw(seed) -> None:
    """Clips that share frames get the same pixels, whatever their masks and words."""
    transform = TrainTransform([24, 32], 44, crop_sizes=(40, 50), crop_range=(16, 45))
    first, second = make_clip(), make_clip(expression=None, block=(0, 3, 0, 3))
    a, b, c = (transform(x, generator("t", seed)) for x in (first, second, first))
    assert torch.equal(a.frames, b.frames)
    assert torch.equal(a.frames, c.frames) and torch.equal(a.masks, c.masks) and torch.equal(a.boxes, c.boxes)


def test_different_seeds_differ() -> None:
    transform = TrainTransform([24, 32], 44, crop_sizes=(40, 50), crop_range=(16, 45))
    outs = [transform(make_clip(), generator(i)) for i in range(12)]
    assert len({(tuple(o.size), float(o.frames.sum())) for o in outs}) == 12


def test_an_object_that_is_cropped_away_is_not_valid() -> None:
    transform = plain((20,), crop=True, crop_sizes=(40,), crop_range=(10, 12))
    outs = [transform(make_clip(block=(0, 4, 0, 4)), generator(i)) for i in range(60)]
    gone = [o for o in outs if not o.masks.any()]
    assert gone
    for out in gone:
        assert not out.valid.any() and not out.boxes.any()


def test_a_box_without_a_pixel_is_valid_only_officially() -> None:
    """An L-shaped object whose box, but none of whose pixels, is in the crop."""
    clip = make_clip()
    empty = Clip(clip.frames, torch.zeros_like(clip.masks), clip.boxes, clip.valid)
    assert not plain()(empty, generator(0)).valid.any()
    assert plain(official=True)(empty, generator(0)).valid.all()


def test_the_official_sizes_fit_real_frames() -> None:
    transform = TrainTransform([288, 320, 352, 392, 416, 448, 480, 512], 640, colour=False)
    clip = make_clip(180, 320, 1)
    for i in range(8):
        height, width = transform(clip, generator(i)).size
        assert max(height, width) <= 640


def test_wrong_arguments() -> None:
    with pytest.raises(ValueError, match="train_sizes must be positive and at most train_max_size"):
        TrainTransform([], 640)
    with pytest.raises(ValueError, match="train_sizes"):
        TrainTransform([512], 400)
    done = plain()(make_clip(), generator(0))
    with pytest.raises(ValueError, match="'v': frames must be uint8"):
        plain()(done, generator(0))

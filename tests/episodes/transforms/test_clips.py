from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from episodes.clip import Clip, Objects
from episodes.seeding import generator
from episodes.sources.base import boxes_of
from episodes.transforms.clips import (
    MEAN,
    STD,
    EightsTransform,
    PadTransform,
    ShortLongTransform,
    SquareTransform,
    TestTransform,
    TrainTransform,
    flip_clip,
    keep_pixel,
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
    return Clip(pixels, Objects.one(masks, boxes, valid), expression, "v", (), (height, width))


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
    assert out.size == (20, 30) and out.objects.masks is clip.objects.masks
    assert torch.equal(out.boxes, clip.boxes / 2)
    with pytest.raises(ValueError, match="test_size must be at least 1"):
        TestTransform(0)


@pytest.mark.parametrize("size", [(1, 20000), (20000, 1), (10, 1001)])
def test_strips_are_refused_because_their_long_side_would_have_no_end(size) -> None:
    clip = Clip(torch.zeros(1, 3, *size, dtype=torch.uint8), video="panorama")
    message = rf"panorama is a strip of {size[1]}x{size[0]} pixels .*: the long side may be 100 times the short one"
    with pytest.raises(ValueError, match=message):
        TestTransform(64)(clip)
    with pytest.raises(ValueError, match=message):
        plain()(clip, generator(0))
    assert TestTransform(64)(Clip(torch.zeros(1, 3, 10, 1000, dtype=torch.uint8))).size == (64, 6400)


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
@given(seed=st.integers(0, 10**6), tall=st.booleans(), released=st.booleans())
def test_training_clips_stay_consistent(seed, tall, released) -> None:
    """Whatever is drawn: one size for all, boxes in the frame, boxes where and only where the object is valid."""
    height, width = (60, 40) if tall else (40, 60)
    clip = make_clip(height, width, 3, seed=seed, block=(5, 12, 8, 15))
    quirks = {"whole_words": not released, "wrap_colours": released, "visible_by_box": released}
    transform = TrainTransform([24, 32], 44, **quirks, crop_sizes=(40, 50), crop_range=(16, 45))
    out = transform(clip, generator("t", seed))
    h, w = out.size
    assert out.frames.dtype == torch.float32 and out.masks.shape[-2:] == (h, w)
    assert max(h, w) <= 45 and min(h, w) in range(15, 33)
    x0, y0, x1, y1 = out.boxes.unbind(1)
    assert (x0 >= 0).all() and (y0 >= 0).all() and (x1 <= w + 1e-4).all() and (y1 <= h + 1e-4).all()
    assert torch.equal(out.valid, (x1 > x0) & (y1 > y0))
    if not released:
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


def test_a_box_without_a_pixel_is_valid_only_by_its_switch() -> None:
    """An L-shaped object whose box, but none of whose pixels, is in the crop."""
    clip = make_clip()
    empty = clip.with_masks(torch.zeros_like(clip.masks))
    assert not plain()(empty, generator(0)).valid.any()
    assert plain(visible_by_box=True)(empty, generator(0)).valid.all()


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


def with_unknown(clip: Clip) -> Clip:
    """The columns right of the object are unknown."""
    ignore = torch.zeros_like(clip.masks)
    ignore[..., 45:] = True
    return replace(clip, ignore=ignore)


@pytest.mark.parametrize(
    ("transform", "size"),
    [
        (SquareTransform(32), (32, 32)),
        (PadTransform(32), (21, 32)),
        (PadTransform(120), (80, 120)),
        (ShortLongTransform(20, 90), (20, 30)),
        (ShortLongTransform(20, 24), (16, 24)),
    ],
)
def test_tests_of_images_resize_the_frames_only(transform, size) -> None:
    clip = with_unknown(make_clip(40, 60, frames=1, expression=None))
    out = transform(clip)
    assert out.size == size
    assert torch.equal(out.masks, clip.masks) and torch.equal(out.ignore, clip.ignore)
    assert out.boxes is not None
    scale = torch.tensor([size[1] / 60, size[0] / 40] * 2)
    assert torch.allclose(out.boxes, clip.boxes * scale, atol=1e-4)


@pytest.mark.parametrize(
    ("side", "size", "target"),
    [
        (473, (375, 500), (352, 472)),  # VOC: 354.75 and 473
        (473, (500, 333), (472, 312)),
        (641, (480, 640), (480, 640)),
        (641, (427, 640), (424, 640)),
        (473, (500, 500), (472, 472)),
        (473, (5, 900), (2, 472)),
    ],
)
def test_pfenet_cuts_sides_down_to_multiples_of_8(side, size, target) -> None:
    assert EightsTransform(side).target(size) == target


def test_a_tall_image_is_squashed_and_padded_alike() -> None:
    clip = make_clip(60, 40, frames=1)
    assert SquareTransform(30)(clip).size == (30, 30)
    assert PadTransform(30)(clip).size == (30, 20)
    assert PadTransform(30)(make_clip(600, 10, frames=1)).size == (30, 1), "a side never vanishes"


@pytest.mark.parametrize("build", [lambda: SquareTransform(0), lambda: PadTransform(-1), lambda: TestTransform(0)])
def test_sizes_of_tests_must_be_positive(build) -> None:
    with pytest.raises(ValueError, match="test_size must be at least 1"):
        build()


def test_the_long_side_cannot_be_shorter_than_the_short_one() -> None:
    with pytest.raises(ValueError, match="the limit of the long side must be at least the short side 30, got 20"):
        ShortLongTransform(30, 20)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6))
def test_unknown_pixels_go_where_the_pixels_go(seed) -> None:
    """A clip whose red plane says what is unknown keeps saying so through flip, crop and resize."""
    clip = with_unknown(make_clip(60, 80, frames=1, expression=None))
    frames = torch.zeros_like(clip.frames)
    frames[:, 0] = 255 * clip.ignore
    transform = plain(sizes=(50, 60, 70), crop=True, flip=True, crop_sizes=(60, 90), crop_range=(40, 60))
    out = transform(replace(clip, frames=frames), generator(seed))
    red = denormalise(out.frames)[:, 0]
    assert out.ignore.shape == red.shape == out.masks.shape
    sure = (red < 1) | (red > 254)  # away from the edge that the bilinear resize blurs
    assert sure.float().mean() > 0.9
    assert torch.equal((red > 254)[sure], out.ignore[sure])


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 10**6), st.integers(0, 58), st.integers(0, 78), st.integers(1, 3))
def test_a_kept_object_is_never_cropped_away_or_resized_to_nothing(seed, y, x, side) -> None:
    clip = make_clip(60, 80, frames=1, block=(y, min(60, y + side), x, min(80, x + side)))
    transform = plain(sizes=(20,), crop=True, flip=True, crop_sizes=(30, 60), crop_range=(15, 25), keep_object=True)
    assert transform(clip, generator(seed)).masks.any()


def test_without_keeping_an_object_may_be_lost() -> None:
    clip = make_clip(60, 80, frames=1, block=(0, 1, 0, 1))
    transform = plain(sizes=(20,), crop=True, crop_sizes=(60,), crop_range=(15, 25))
    assert not all(transform(clip, generator(seed)).masks.any() for seed in range(20))


def test_keeping_the_object_changes_nothing_where_it_is_not_in_danger() -> None:
    clip = make_clip(60, 80, frames=1, block=(5, 55, 5, 75))
    arguments = {"sizes": (40, 50), "crop": True, "flip": True, "crop_sizes": (60,), "crop_range": (50, 55)}
    for seed in range(10):
        free, kept = (plain(**arguments, keep_object=keep)(clip, generator(seed)) for keep in (False, True))
        assert torch.equal(free.frames, kept.frames) and torch.equal(free.masks, kept.masks)


def test_a_lost_pixel_comes_back_where_it_was() -> None:
    before = torch.zeros(3, 40, 60, dtype=torch.bool)
    before[0, 39, 59] = before[1, 10, 30] = True
    after = torch.zeros(3, 4, 6, dtype=torch.bool)
    after[1, 2, 2] = True
    kept = keep_pixel(before, after)
    assert kept[0].nonzero().tolist() == [[3, 5]]
    assert torch.equal(kept[1], after[1]) and not kept[2].any(), "only what got lost comes back"


def test_all_objects_of_a_clip_are_transformed_like_each_alone() -> None:
    """Two objects in two frames share the draw of their clip; one that no frame shows any more is taken out."""
    transform = plain(sizes=(40, 50), crop=True, flip=True, crop_sizes=(50,), crop_range=(20, 40))
    blocks, counts = ((4, 12, 6, 20), (25, 38, 30, 55)), set()
    for seed in range(20):
        alone = [transform(make_clip(block=block), generator(seed)) for block in blocks]
        singles = [make_clip(block=block).objects for block in blocks]
        masks, boxes, valid = (torch.cat([getattr(x, k) for x in singles]) for k in ("masks", "boxes", "valid"))
        objects = Objects(torch.tensor([1, 2]), torch.tensor([0, 3]), masks, boxes, valid, exhaustive=True)
        found = transform(replace(make_clip(), objects=objects), generator(seed)).objects
        shown = [k for k, clip in enumerate(alone) if clip.valid.any()]
        assert found.ids.tolist() == [k + 1 for k in shown] and found.exhaustive
        for k, mask, box, seen in zip(shown, found.masks, found.boxes, found.valid, strict=True):
            assert torch.equal(mask, alone[k].masks) and torch.equal(box, alone[k].boxes)
            assert torch.equal(seen, alone[k].valid)
        counts.add(len(found))
    assert {1, 2} <= counts
    whole = TestTransform(20)(replace(make_clip(), objects=objects))
    assert torch.equal(whole.objects.masks, masks) and torch.allclose(whole.objects.boxes, boxes / 2)


def test_a_crop_may_have_sizes_of_its_own() -> None:
    transform = TrainTransform(
        [40],
        400,
        flip=False,
        colour=False,
        crop_sizes=(),
        crop_range=(20, 20),
        cropped_sizes=[12, 16],
        cropped_max_size=14,
    )
    clip = Clip(torch.zeros(1, 3, 30, 30, dtype=torch.uint8))
    found = {transform(clip, torch.Generator().manual_seed(seed)).size for seed in range(40)}
    assert found == {(40, 40), (12, 12), (14, 14)}


def test_mirroring_and_colours_may_come_after_the_resize() -> None:
    """After it, a block of one colour is distorted at its own size; before it, at that of the file."""
    clip = make_clip(80, 120)
    seen: list[tuple[int, int]] = []

    class Watched(TrainTransform):
        def _changed(self, clip: Clip, generator: torch.Generator) -> Clip:
            seen.append(clip.size)
            return super()._changed(clip, generator)

    for first in (False, True):
        Watched((40,), 1000, crop=False, resize_first=first)(clip, generator(0))
    assert seen == [(80, 120), (40, 60)]
    out = plain(flip=True, resize_first=True)
    words = {out(clip, generator(k)).expression for k in range(8)}
    assert words == {"the left dog", "the right dog"}

"""Pictures: what a mask picks out keeps its colours, borders are drawn, small frames grow without smoothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from episodes.episode import Episode
from episodes.transforms.clips import TestTransform
from fewshot.evaluation.query import read_queries, read_supports
from fewshot.media import pictures
from fewshot.media.pictures import (
    PREDICTION,
    SUPPORT,
    TRUTH,
    contact_sheet,
    enlarge,
    episode_picture,
    frame_image,
    overlay,
    query_tiles,
    save_episode_picture,
    support_tiles,
)
from tests.episodes.memory import MemorySource, memory_specs


@pytest.fixture
def episode() -> Episode:
    source = MemorySource()
    spec = memory_specs(source)[0]
    transform = TestTransform(8)
    return Episode(spec, read_supports(source, spec, transform), read_queries(source, spec, transform))


def test_frames_come_back_as_they_were_on_disk(episode: Episode) -> None:
    raw = MemorySource().read_frames("class1_1", episode.queries[0].frame_names)[0]
    expected = raw.permute(1, 2, 0).numpy()
    assert np.array_equal(frame_image(raw), expected)
    assert np.array_equal(frame_image(episode.queries[0].frames[0]), expected)  # normalised and back


def test_overlay_keeps_colours_inside_and_draws_borders() -> None:
    image = np.zeros((60, 60, 3), np.uint8)
    image[..., 0] = 200
    found, truth = np.zeros((60, 60), bool), np.zeros((60, 60), bool)
    found[10:50, 5:25], truth[10:50, 35:55] = True, True
    picture = overlay(image, found, truth, PREDICTION)
    assert tuple(picture[30, 15]) == (200, 0, 0)  # inside what was found
    outside = picture[2, 2].astype(int)
    assert outside.max() - outside.min() < 40 and outside.min() > 60  # pale grey
    assert tuple(picture[30, 5]) == PREDICTION and tuple(picture[30, 24]) == PREDICTION
    assert tuple(picture[30, 35]) == TRUTH
    assert np.array_equal(overlay(image), image)


def test_an_empty_prediction_is_grey_all_over() -> None:
    image = np.full((10, 10, 3), (0, 255, 0), np.uint8)
    picture = overlay(image, np.zeros((10, 10), bool)).astype(int)
    assert (picture.max(-1) - picture.min(-1)).max() < 45


def test_small_frames_grow_by_whole_pixels_and_large_ones_shrink_smoothly() -> None:
    small = np.arange(4 * 4 * 3, dtype=np.uint8).reshape(4, 4, 3)
    grown = enlarge(small, 16)
    assert np.array_equal(grown, small.repeat(4, 0).repeat(4, 1))
    stripes = np.zeros((400, 600, 3), np.uint8)
    stripes[:, ::2] = 255
    shrunk = enlarge(stripes, 200)
    assert shrunk.shape == (200, 300, 3) and 100 < shrunk[100, 100, 0] < 155
    assert enlarge(np.eye(4, dtype=bool), 8).dtype == bool


def test_support_tile_shows_the_middle_frame_with_a_blue_border(episode: Episode) -> None:
    (tile,) = support_tiles(episode.supports, height=96)
    assert tile.caption == "support" and tile.image.shape == (96, 192, 3)
    column = 12 * 3  # the object begins at column 3 of 16
    assert tuple(tile.image[48, column]) == SUPPORT
    two = replace(episode, supports=episode.supports * 2)
    assert [t.caption for t in support_tiles(two.supports)] == ["support 1", "support 2"]


def test_query_tiles_spread_over_the_clip(episode: Episode) -> None:
    clip = episode.queries[0]
    tiles = query_tiles(clip, clip.masks, frames=3)
    assert [tile.caption for tile in tiles] == [f"frame {t} of 5, IoU 100 %" for t in (1, 3, 5)]
    assert len(query_tiles(clip, clip.masks, frames=9)) == 5
    with pytest.raises(ValueError, match="4 predicted masks for the 5 frames of 'class1_1'"):
        query_tiles(clip, clip.masks[:4], frames=3)


def test_episode_picture_has_a_row_per_query(episode: Episode, tmp_path: Path) -> None:
    found = [clip.masks.float() for clip in episode.queries]
    path = save_episode_picture(tmp_path / "new" / "episode.png", episode, found, frames=2, height=64)
    with Image.open(path) as both:
        width, height = both.size
    assert width >= 3 * 128
    one = episode_picture(replace(episode, queries=episode.queries[:1]), found[:1], frames=2, height=64)
    assert one.width == width and 64 < one.height < height
    with pytest.raises(ValueError, match="1 predictions for 2 queries"):
        episode_picture(episode, found[:1])


def test_probabilities_and_masks_draw_the_same(episode: Episode) -> None:
    masks = [clip.masks for clip in episode.queries]
    probabilities = [torch.where(m, 0.9, 0.1) for m in masks]
    assert np.array_equal(
        np.asarray(episode_picture(episode, masks)), np.asarray(episode_picture(episode, probabilities))
    )


def test_long_expressions_wrap(episode: Episode) -> None:
    clip = replace(episode.queries[0], expression="a very long expression " * 30)
    long = episode_picture(replace(episode, queries=(clip,)), [clip.masks], frames=2, height=32)
    short = episode_picture(replace(episode, queries=episode.queries[:1]), [clip.masks], frames=2, height=32)
    assert long.width == short.width and long.height > short.height + 40


def test_contact_sheet_side_by_side(episode: Episode, tmp_path: Path) -> None:
    found = [episode.queries[0].masks] * 3
    one = contact_sheet(tmp_path / "one.png", [episode] * 3, found, height=32)
    two = contact_sheet(tmp_path / "two.png", [episode] * 3, found, columns=2, height=32)
    with Image.open(one) as tall, Image.open(two) as wide:
        assert wide.width == 2 * tall.width and wide.height == tall.height * 2 // 3


def test_unknown_masks_are_left_out(episode: Episode) -> None:
    clip = replace(episode.queries[0], objects=None, expression=None)
    picture = episode_picture(replace(episode, queries=(clip,)), [torch.zeros(5, 8, 16)])
    assert picture.width > 0


def test_captions_name_the_iou_of_what_is_shown(episode: Episode) -> None:
    clip = episode.queries[0]
    half = clip.masks.clone()
    rows = half[0].any(1).nonzero()[:, 0]
    half[:, rows[: len(rows) // 2]] = False
    (tile,) = query_tiles(clip, half, frames=1)
    assert tile.caption == f"frame 1 of 5, IoU {100 * half[0].sum() / clip.masks[0].sum():.0f} %"
    void = replace(clip, ignore=clip.masks & ~half)  # what is left out is not scored
    assert query_tiles(void, half, frames=1)[0].caption == "frame 1 of 5, IoU 100 %"
    small = half[:, ::2, ::2]
    assert query_tiles(clip, small, frames=1)[0].caption.startswith("frame 1 of 5, IoU ")
    assert query_tiles(replace(clip, objects=None), half, frames=1)[0].caption == "frame 1 of 5"


def test_a_frame_that_was_squashed_is_shown_in_its_own_shape(episode: Episode) -> None:
    clip = episode.queries[0]
    squashed = replace(clip, frames=torch.zeros(5, 3, 8, 8), original_size=(8, 16))
    (tile,) = query_tiles(squashed, torch.ones(5, 8, 16, dtype=torch.bool), frames=1, height=64)
    assert tile.image.shape == (64, 128, 3)
    assert enlarge(np.zeros((10, 10000, 3), np.uint8), 100).shape == (1, 600, 3)


def test_a_still_is_no_video(episode: Episode, monkeypatch: pytest.MonkeyPatch) -> None:
    headings = []
    sheet = pictures.sheet
    monkeypatch.setattr(pictures, "sheet", lambda rows, heading="": headings.append((rows, heading)) or sheet(rows))
    clip = episode.queries[0]
    names = dict(frame_names=clip.frame_names[:1], objects=None)
    image = replace(clip, frames=clip.frames[:1], **names)
    episode_picture(episode, [c.masks for c in episode.queries])
    episode_picture(replace(episode, queries=(image,)), [clip.masks[:1]])
    (_, of_video), (rows, of_image) = headings
    assert f"video {clip.video}" in of_video and f"image {clip.video}" in of_image and "video" not in of_image
    assert rows[0][1][-1].caption == "query"

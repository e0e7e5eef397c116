"""Lessons from supports: each in turn is the query; a single one is changed, and its masks, boxes and words with it."""

from __future__ import annotations

from dataclasses import replace

import torch

from fewshot.adaptation.lessons import lessons
from fewshot.testing import noise_clips


def test_each_support_in_turn_is_the_query_of_the_others() -> None:
    clips = noise_clips(3)
    found = lessons(clips)
    assert found.shots == 2 and len(found.queries) == 3 and len(found.supports) == 6
    assert torch.equal(found.queries.frames, clips.frames)
    assert torch.equal(found.supports.frames, clips.frames[[1, 2, 0, 2, 0, 1]])
    assert found.queries.expressions == clips.expressions


def test_copies_of_a_single_support_change_masks_boxes_and_words_with_the_frames() -> None:
    clips = replace(noise_clips(2, 1).take([1]), expressions=("a dax on the left",))
    clips = replace(clips, frames=clips.masks[0][None, :, None].float().expand(1, 1, 3, 64, 64))
    found = lessons(clips)
    queries = found.queries
    assert found.shots == 1 and torch.equal(found.supports.frames, clips.frames.expand(3, 1, 3, 64, 64))
    assert queries.expressions == ("a dax on the right", "a dax on the left", "a dax on the right")
    assert queries.boxes is not None and queries.valid is not None and bool(queries.valid.all())
    for n, mask in enumerate(queries.masks):
        assert mask is not None
        shown = queries.frames[n, :, 0] >= 0.5 * queries.frames[n].max()
        assert torch.equal(mask, shown) and not torch.equal(mask, clips.masks[0])
        y, x = mask[0].nonzero().float().mean(0) / 64
        assert abs(float(queries.boxes[n, 0, 0] - x)) < 0.02 and abs(float(queries.boxes[n, 0, 1] - y)) < 0.02


def test_masks_of_another_size_become_those_of_the_frames_and_an_empty_one_is_not_visible() -> None:
    clips = noise_clips(2, 1)
    large = torch.zeros(1, 128, 128, dtype=torch.bool)
    queries = lessons(replace(clips, masks=(large, large))).queries
    assert all(mask is not None and mask.shape == (1, 64, 64) for mask in queries.masks)
    assert queries.valid is not None and not queries.valid.any()


def test_padding_stays_where_it_is() -> None:
    clips = noise_clips(1, 1, (64, 80))
    cut = replace(clips, sizes=torch.tensor([[64, 64]]), masks=(clips.masks[0][..., :64],))
    cut = replace(cut, frames=cut.frames * (torch.arange(80) < 64))
    frames = lessons(cut).queries.frames
    assert not frames[..., 64:].any() and all(bool(one[..., 60:64].any()) for one in frames)

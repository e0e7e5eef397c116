"""Lessons from supports: each in turn is the query; a single one is changed, and its masks, boxes and words with it."""

from __future__ import annotations

from dataclasses import replace

import torch

from fewshot.adaptation.lessons import lessons
from fewshot.testing import noise_clips


def test_each_support_in_turn_is_the_query_of_the_others() -> None:
    clips = noise_clips(3)
    for n, lesson in enumerate(lessons(clips)):
        others = [k for k in range(3) if k != n]
        assert lesson.shots == 2
        assert torch.equal(lesson.query.frames, clips.frames[n : n + 1])
        assert torch.equal(lesson.supports.frames, clips.frames[others])
        assert lesson.query.expressions == clips.expressions[n : n + 1]
    assert n == 2


def test_copies_of_a_single_support_change_masks_boxes_and_words_with_the_frames() -> None:
    clips = replace(noise_clips(2, 1).take([1]), expressions=("a dax on the left",))
    clips = replace(clips, frames=clips.masks[0][None, :, None].float().expand(1, 1, 3, 64, 64))
    found = list(lessons(clips))
    assert [lesson.query.expressions[0] for lesson in found] == [
        "a dax on the right",
        "a dax on the left",
        "a dax on the right",
    ]
    for lesson in found:
        (mask,), query = lesson.query.masks, lesson.query
        assert mask is not None and query.boxes is not None and query.valid is not None
        shown = query.frames[0, :, 0] >= 0.5 * query.frames.max()
        assert torch.equal(mask, shown) and not torch.equal(mask, clips.masks[0])
        y, x = mask[0].nonzero().float().mean(0) / 64
        assert abs(float(query.boxes[0, 0, 0] - x)) < 0.02 and abs(float(query.boxes[0, 0, 1] - y)) < 0.02
        assert bool(query.valid.all())


def test_masks_of_another_size_become_those_of_the_frames_and_an_empty_one_is_not_visible() -> None:
    clips = noise_clips(2, 1)
    large = torch.zeros(1, 128, 128, dtype=torch.bool)
    for lesson in lessons(replace(clips, masks=(large, large))):
        assert lesson.query.masks[0] is not None and lesson.query.masks[0].shape == (1, 64, 64)
        assert lesson.query.valid is not None and not lesson.query.valid.any()


def test_padding_stays_where_it_is() -> None:
    clips = noise_clips(1, 1, (64, 80))
    cut = replace(clips, sizes=torch.tensor([[64, 64]]), masks=(clips.masks[0][..., :64],))
    cut = replace(cut, frames=cut.frames * (torch.arange(80) < 64))
    for lesson in lessons(cut):
        assert not lesson.query.frames[..., 64:].any() and lesson.query.frames[..., 60:64].any()

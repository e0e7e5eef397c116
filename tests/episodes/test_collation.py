from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from episodes.clip import Clip, Objects
from episodes.collation import collate, collate_clips
from episodes.episode import ClipSpec, Episode, EpisodeSpec
from episodes.seeding import generator


def clip(height=6, width=8, frames=2, expression="it", boxes=True) -> Clip:
    pixels = torch.rand(frames, 3, height, width, generator=generator(height, width)) + 1
    box = torch.tensor([[2.0, 1.0, 6.0, 4.0]]).repeat(frames, 1)
    masks = torch.ones(frames, 2 * height, 2 * width, dtype=torch.bool)
    return Clip(
        pixels,
        Objects.one(masks, box if boxes else None, torch.ones(frames, dtype=torch.bool) if boxes else None),
        expression,
        "v",
    )


def episode(index=0, shots=1, queries=1, **size) -> Episode:
    spec = ClipSpec("v", 1, ("0",), "it")
    names = EpisodeSpec("b", 1, "train", 0, index, 1, "c", (spec,) * shots, (spec,) * queries)
    return Episode(names, (clip(4, 4),) * shots, (clip(**size),) * queries)


def test_batch_of_two_sizes_is_padded_at_the_bottom_and_right() -> None:
    batch = collate([episode(0, 2, 3), episode(1, 2, 3, height=5, width=13)], pad_multiple=4)
    queries = batch.queries
    assert len(batch) == 2 and batch.shots == 2 and len(batch.supports) == 4 and len(queries) == 6
    assert [s.index for s in batch.specs] == [0, 1]
    assert queries.frames.shape == (6, 2, 3, 8, 16) and batch.supports.frames.shape == (4, 2, 3, 4, 4)
    assert queries.sizes.tolist() == [[6, 8]] * 3 + [[5, 13]] * 3
    for n, (h, w) in enumerate(queries.sizes.tolist()):
        assert not queries.padding[n, :h, :w].any()
        assert queries.padding[n].sum() == 8 * 16 - h * w
        assert (queries.frames[n][..., :h, :w] >= 1).all(), "pixels are kept"
        assert queries.frames[n].masked_select(queries.padding[n]).abs().sum() == 0
    assert [m.shape for m in queries.masks] == [(2, 12, 16)] * 3 + [(2, 10, 26)] * 3


def test_boxes_are_fractions_of_the_unpadded_frame() -> None:
    batch = collate([episode(), episode(height=12, width=16)])
    assert batch.queries.boxes[0, 0].tolist() == pytest.approx([4 / 8, 2.5 / 6, 4 / 8, 3 / 6])
    assert batch.queries.boxes[1, 0].tolist() == pytest.approx([4 / 16, 2.5 / 12, 4 / 16, 3 / 12])
    assert batch.queries.valid.all()


def test_no_padding_when_nothing_differs() -> None:
    batch = collate([episode(), episode()])
    assert batch.queries.frames.shape[-2:] == (6, 8) and not batch.queries.padding.any()


def test_unknown_boxes_and_masks_stay_unknown() -> None:
    bare = replace(clip(boxes=False), objects=None)
    batch = collate_clips([bare, clip()])
    assert batch.boxes is None and batch.valid is None
    assert batch.masks[0] is None and batch.masks[1] is not None


def test_all_objects_of_clips_stay_apart_and_sizes_on_disk_are_kept() -> None:
    images = [Objects.of_image(torch.ones(m, 4), torch.arange(m)) for m in (0, 3)]
    clips = [replace(clip(frames=1), objects=x, original_size=(9, m)) for m, x in enumerate(images)]
    batch = collate_clips(clips)
    assert [len(x) for x in batch.objects] == [0, 3] and batch.original_sizes == ((9, 0), (9, 1))
    assert batch.masks == (None, None) and batch.boxes is None and batch.valid.tolist() == [[False], [True]]
    assert collate_clips([clip()]).objects == () and collate_clips([clip()]).original_sizes == (None,)
    with pytest.raises(ValueError, match="some clips of a batch mean one object, the others all of theirs"):
        collate_clips([clips[0], clip(frames=1)])
    several = replace(images[1], exhaustive=False)
    with pytest.raises(ValueError, match="'v' has not one but 3 objects"):
        collate_clips([replace(clips[1], objects=several)])


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(ValueError, match=r"different numbers of supports: \[1, 2\]"):
        collate([episode(shots=1), episode(shots=2)])
    with pytest.raises(ValueError, match=r"different numbers of query expressions: \[1, 2\]"):
        collate([episode(), episode(queries=2)])
    with pytest.raises(ValueError, match=r"different numbers of frames: \[2, 3\]; put clips of different length"):
        collate([episode(), episode(frames=3)])
    with pytest.raises(ValueError, match="at least one episode"):
        collate([])
    with pytest.raises(ValueError, match="pad_multiple must be at least 1, got 0"):
        collate([episode()], pad_multiple=0)
    with pytest.raises(ValueError, match="raw torch.uint8 frames: transform it"):
        collate_clips([Clip(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))])


def test_of_each_clip_one_frame_is_taken_with_its_features() -> None:
    batch = collate_clips([clip(frames=3), clip(frames=3)])
    batch = replace(batch, frames=torch.rand_like(batch.frames), features=(torch.arange(6.0)[:, None],))
    chosen = batch.one_frame([2, 0])
    assert torch.equal(chosen.frames, torch.stack([batch.frames[0, 2:], batch.frames[1, :1]]))
    assert chosen.features[0].flatten().tolist() == [2.0, 3.0]
    assert [m is not None and m.shape[0] for m in chosen.masks] == [1, 1]
    assert chosen.boxes is not None and chosen.boxes.shape == (2, 1, 4)
    for frames, copies in (([0], 1), ([0, 0], 2)):
        with pytest.raises(ValueError, match="give one per clip"):
            replace(batch, copies=copies).one_frame(frames)


def test_places_in_the_video_go_with_their_clips() -> None:
    batch = collate_clips([replace(clip(), moments=(3, 7)), replace(clip(), moments=(20, 24))])
    assert batch.take([1, 1, 0]).moments == ((20, 24), (20, 24), (3, 7))
    assert batch.repeat(2).moments == ((3, 7), (3, 7), (20, 24), (20, 24))
    assert batch.one_frame([1, 0]).moments == ((7,), (20,))
    assert collate_clips([clip()]).one_frame([0]).moments == ()

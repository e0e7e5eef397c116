from __future__ import annotations

import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from episodes import collate
from episodes.catalogue import folds_of
from episodes.dataset import EpisodeDataset
from episodes.sampling.images import image_test_episodes
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import MiniRefSource, open_source
from episodes.transforms.clips import TestTransform, TrainTransform
from tests.episodes.image_tree import blocks, write_folder, write_mask, write_picture, write_voc

YTVOS = folds_of("mini_ref_ytvos")
TRANSFORM = TrainTransform([12, 16], 24, crop_sizes=(14, 20), crop_range=(8, 18))


def training(source, seed=0, **kw) -> EpisodeDataset:
    specs = TrainEpisodes(source, YTVOS, 1, "train", shots=2, seed=0, query_frames=2, support_frames=3, **kw)
    return EpisodeDataset(source, specs, TRANSFORM, seed=seed)


def same(a, b) -> bool:
    pairs = zip((*a.supports, *a.queries), (*b.supports, *b.queries), strict=True)
    return a.spec == b.spec and all(
        x.size == y.size and torch.equal(x.frames, y.frames) and torch.equal(x.masks, y.masks) for x, y in pairs
    )


def test_an_item_is_the_same_whenever_it_is_read(tiny) -> None:
    dataset = training(tiny)
    first = dataset[7]
    dataset[3]
    assert same(first, dataset[7]) and same(first, training(tiny)[7]) and same(first, dataset.load(first.spec))
    assert not same(first, dataset[8])
    other = training(tiny, seed=1)[7]
    assert other.spec == first.spec and not same(first, other), "the seed of the transforms is its own"


def test_queries_of_an_episode_share_their_draw_and_supports_do_not(tiny) -> None:
    dataset = training(tiny, expressions=2)
    episodes = [dataset[i] for i in range(12)]
    for episode in episodes:
        a, b = episode.queries
        assert torch.equal(a.frames, b.frames)
    sizes = [tuple(c.size for c in (*e.supports, e.queries[0])) for e in episodes]
    assert any(len(set(s)) > 1 for s in sizes), "query and supports are augmented independently"


def test_a_whole_episode_turns_its_hue_by_one_angle(tiny) -> None:
    """A red frame shows the angle: supports and query of an episode agree, episodes differ."""

    def red(clip, _generator):
        return replace(clip, frames=clip.frames.float() / 255)

    class Red:
        def __getattr__(self, name):
            return getattr(tiny, name)

        def read(self, spec):
            return replace(tiny.read(spec), frames=self.read_frames(spec.video, spec.frames))

        def read_frames(self, video, names):
            frames = torch.zeros_like(tiny.read_frames(video, names))
            frames[:, 0] = 255
            return frames

    specs = training(tiny).specs
    colours = []
    for episode in (EpisodeDataset(Red(), specs, red, seed=0, hue=0.2)[i] for i in range(6)):
        seen = torch.cat([c.frames.mean((2, 3)) for c in (*episode.supports, *episode.queries)])
        assert torch.allclose(seen, seen[:1].expand_as(seen)), "supports and query turn together"
        colours.append(tuple(seen[0].tolist()))
    assert len(set(colours)) > 3, "each episode has its own angle"
    plain = EpisodeDataset(Red(), specs, red, seed=0)[0].queries[0].frames
    assert torch.equal(plain[:, 0], torch.ones_like(plain[:, 0])) and plain[:, 1:].max() == 0
    with pytest.raises(ValueError, match="0 to 0.5"):
        EpisodeDataset(tiny, specs, red, seed=0, hue=0.6)


def test_a_share_of_the_episodes_shows_nothing_that_is_meant(tiny) -> None:
    """Their supports are those of another episode; the classes of supports and query are not seen in each other."""
    plain, absent = (
        EpisodeDataset(tiny, training(tiny, expressions=2).specs, TRANSFORM, seed=0, absent_share=share)
        for share in (0.0, 0.5)
    )
    changed = 0
    for i in range(24):
        before, after = plain[i], absent[i]
        for old, new in zip(before.queries, after.queries, strict=True):
            assert torch.equal(old.frames, new.frames) and old.expression == new.expression
        if after.spec == before.spec:
            assert same(before, after)
            continue
        changed += 1
        assert after.spec == replace(before.spec, supports=after.spec.supports)
        seen = {said.class_id for clip in after.spec.supports for said in tiny.expressions(clip.video)}
        assert before.spec.class_id not in seen
        assert any(clip.masks.any() for clip in after.supports), "they keep their masks"
        for clip in after.queries:
            assert not clip.masks.any() and not clip.valid.any() and clip.boxes.eq(0).all()
    assert 4 < changed < 20, "about half of them"
    with pytest.raises(ValueError, match="absent_share"):
        EpisodeDataset(tiny, plain.specs, TRANSFORM, seed=0, absent_share=1.5)


def test_an_episode_stays_as_it_is_where_every_other_one_shows_its_class(tiny) -> None:
    alone = [training(tiny).specs[0]] * 20
    dataset = EpisodeDataset(tiny, alone, TRANSFORM, seed=0, absent_share=1.0)
    assert same(dataset[0], EpisodeDataset(tiny, alone, TRANSFORM, seed=0)[0])


def test_workers_read_the_same_episodes(tiny) -> None:
    dataset = training(tiny)
    loader = DataLoader(dataset, sampler=range(6), batch_size=None, num_workers=2, multiprocessing_context="fork")
    assert all(same(episode, dataset[i]) for i, episode in enumerate(loader))


def test_test_episodes_load_whole_videos_at_two_resolutions(tiny) -> None:
    specs = test_episodes(tiny, YTVOS, 2, shots=1, seed=0, support_frames=3, limit=5)
    dataset = EpisodeDataset(tiny, specs, TestTransform(6), seed=0)
    assert len(dataset) == 5
    for k, spec in enumerate(specs):
        batch = collate([dataset[k]])
        assert batch.queries.frames.shape == (len(spec.queries), len(spec.queries[0].frames), 3, 6, 8)
        assert batch.queries.masks[0].shape[-2:] == (12, 16)
        assert batch.queries.expressions == tuple(q.expression for q in spec.queries)


def test_endless_episodes_have_a_length_only_where_one_is_given(tiny) -> None:
    with pytest.raises(TypeError, match="TrainEpisodes is endless: give EpisodeDataset a length"):
        len(training(tiny))
    endless = training(tiny)
    dataset = EpisodeDataset(tiny, endless.specs, TRANSFORM, seed=0, length=5)
    assert len(dataset) == 5 and [e.spec.index for e in dataset] == [0, 1, 2, 3, 4]
    assert same(dataset[np.int64(4)], endless[4]) and same(dataset[torch.tensor(-1)], endless[4])
    for index in (5, -6):
        with pytest.raises(IndexError, match=f"there are 5 episodes, so none with index {index}"):
            dataset[index]
    with pytest.raises(TypeError):
        dataset[1.0]


def test_the_length_of_a_list(tiny) -> None:
    specs = test_episodes(tiny, YTVOS, 2, shots=1, seed=0, support_frames=3, limit=4)
    assert [e.spec for e in EpisodeDataset(tiny, specs, TestTransform(6), seed=0)] == specs
    assert len(EpisodeDataset(tiny, specs, TestTransform(6), seed=0, length=2)) == 2
    for length, message in ((0, "length must be at least 1"), (5, "length is 5, but the list has 4 episodes")):
        with pytest.raises(ValueError, match=message):
            EpisodeDataset(tiny, specs, TestTransform(6), seed=0, length=length)


@pytest.mark.parametrize("context", ["fork", "spawn"])
def test_a_plain_data_loader_with_workers(tiny, context) -> None:
    dataset = EpisodeDataset(tiny, training(tiny).specs, TRANSFORM, seed=0, length=5)
    loader = DataLoader(
        dataset, batch_size=2, num_workers=2, collate_fn=collate, shuffle=True, multiprocessing_context=context
    )
    batches = list(loader)
    assert [len(batch) for batch in batches] == [2, 2, 1]
    assert sorted(spec.index for batch in batches for spec in batch.specs) == [0, 1, 2, 3, 4]
    for batch in batches:
        here = collate([dataset[spec.index] for spec in batch.specs])
        assert torch.equal(batch.queries.frames, here.queries.frames)
        assert torch.equal(batch.supports.frames, here.supports.frames)


def test_decoded_frames_are_not_sent_to_other_processes(tiny) -> None:
    source = MiniRefSource(tiny.root, YTVOS, cache_frames=1 << 20)
    dataset = EpisodeDataset(source, training(source).specs, TRANSFORM, seed=0, length=3)
    before = len(pickle.dumps(dataset))
    first = dataset[0]
    assert source._cache.used > 1000
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.source._cache.used == 0 and copy.source._cache.limit == 1 << 20
    assert len(pickle.dumps(dataset)) < before + 5000 and same(copy[0], first)


def test_a_support_image_that_shows_nothing_is_named(tmp_path) -> None:
    write_voc(tmp_path, {name: [1] for name in "abcd"}, val=["c", "d"])
    source = open_source("pascal5i", tmp_path)
    specs = image_test_episodes(source, source.folds, 0, shots=1, seed=0, count=1, queries="list")
    whole = EpisodeDataset(source, specs, TestTransform(8), seed=0)[0]
    assert whole.supports[0].masks.any() and whole.supports[0].ignore.any()

    def lose(clip, _):
        return TestTransform(8)(clip).with_masks(torch.zeros_like(clip.masks))

    name = specs[0].supports[0].video
    with pytest.raises(ValueError, match=f"mask of support 1, image '{name}' for class 'aeroplane', is empty after"):
        EpisodeDataset(source, specs, lose, seed=0)[0]


def test_images_of_different_sizes_make_a_batch(tmp_path) -> None:
    write_folder(tmp_path, {"cat": 3})
    write_picture(tmp_path / "cat" / "1.jpg", (20, 12))
    write_mask(tmp_path / "cat" / "1.png", np.pad(255 * blocks([1]), ((0, 8), (0, 0)))[:, :12])
    source = open_source("folder", tmp_path)
    specs = image_test_episodes(source, source.folds, 0, shots=2, seed=0, count=None, queries="each")
    data = EpisodeDataset(source, specs, TestTransform(8), seed=0)
    batch = collate([data[i] for i in range(3)], pad_multiple=4)
    assert batch.supports.frames.shape == (6, 1, 3, 16, 12) and batch.queries.frames.shape == (3, 1, 3, 16, 12)
    assert {tuple(m.shape) for m in batch.queries.masks} == {(1, 12, 16), (1, 20, 12)}
    assert batch.queries.ignore == (), "this data set knows all pixels"

from __future__ import annotations

import time
from dataclasses import replace

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from episodes.catalogue import folds_of
from episodes.collate import collate
from episodes.dataset import EpisodeDataset
from episodes.sampling.images import image_test_episodes
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import open_source
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
            return self.painted(tiny.read(spec))

        def with_object(self, spec, frames):
            return self.painted(tiny.with_object(spec, frames))

        def painted(self, clip):
            frames = torch.zeros_like(clip.frames)
            frames[:, 0] = 255
            return replace(clip, frames=frames)

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


def test_endless_episodes_have_no_length(tiny) -> None:
    with pytest.raises(TypeError):
        len(training(tiny))


def test_small_clips_load_quickly(world) -> None:
    """The embedded default reads hundreds of clips a second: below 3 ms of one core for a clip of two 64x64 frames."""
    specs = TrainEpisodes(world, folds_of("synthetic"), 1, "train", shots=1, seed=0, query_frames=2, support_frames=2)
    dataset = EpisodeDataset(world, specs, TrainTransform([64], 96, crop=False), seed=0)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for i in range(120):
            dataset[i]
        start = time.process_time()
        for i in range(50):
            dataset[i]
        assert (time.process_time() - start) / 100 < 3e-3
    finally:
        torch.set_num_threads(threads)


def test_a_support_image_that_shows_nothing_is_named(tmp_path) -> None:
    write_voc(tmp_path, {name: [1] for name in "abcd"}, val=["c", "d"])
    source = open_source("pascal5i", tmp_path)
    specs = image_test_episodes(source, source.folds, 0, shots=1, seed=0, count=1, queries="list")
    whole = EpisodeDataset(source, specs, TestTransform(8), seed=0)[0]
    assert whole.supports[0].masks.any() and whole.supports[0].ignore.any()

    def lose(clip, _):
        return replace(TestTransform(8)(clip), masks=torch.zeros_like(clip.masks))

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

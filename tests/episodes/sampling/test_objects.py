"""Clips with all of their objects: which frames are drawn, and what a batch of them carries."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from episodes.collation import collate
from episodes.dataset import EpisodeDataset
from episodes.sampling.objects import ObjectClipEpisodes, near_frames
from episodes.sources.tasks import open_task_source
from episodes.transforms.clips import TrainTransform
from tests.episodes.tree import TinyVideo
from tests.episodes.videos import write_videos

FRAMES = tuple(f"{k:02d}" for k in range(30))


@pytest.mark.parametrize("again", [False, True])
def test_frames_lie_near_one_another_in_order(again: bool) -> None:
    generator, repeated = np.random.default_rng(0), False
    for _ in range(200):
        drawn = [int(name) for name in near_frames(FRAMES, 4, 5, again, generator)]
        assert drawn == sorted(drawn) and max(drawn) - min(drawn) <= 10
        repeated |= len(set(drawn)) < 4
    assert repeated == again


def test_an_image_stands_still_and_a_short_video_comes_again() -> None:
    generator = np.random.default_rng(0)
    assert near_frames(("a",), 3, 5, False, generator) == ("a", "a", "a")
    assert set(near_frames(("a", "b"), 4, 5, False, generator)) == {"a", "b"}


def test_a_batch_has_all_objects_of_given_masks_and_the_places_of_the_frames(tmp_path: Path) -> None:
    write_videos(tmp_path, {name: TinyVideo({1: "dog", 2: "cat"}, []) for name in ("v", "w")})
    source = open_task_source("vos_folder", tmp_path, "all")
    episodes = ObjectClipEpisodes(source, seed=0, frames=2)
    assert episodes[3] == ObjectClipEpisodes(source, seed=0, frames=2)[3] != episodes[4]
    dataset = EpisodeDataset(source, episodes, TrainTransform([32], 64, crop=False), seed=0)
    batch = collate([dataset[0], dataset[1]], 32)
    assert batch.supports is None and batch.queries.vocabulary == ()
    for own, moments, spec in zip(batch.queries.objects, batch.queries.moments, batch.specs, strict=True):
        assert set(own.ids.tolist()) <= {1, 2} and own.masks is not None and own.masks.any()
        frames = source.frames(spec.queries[0].video)
        assert tuple(frames[k] for k in moments) == spec.queries[0].frames


def test_classes_have_names_in_a_batch_and_do_not_mix() -> None:
    source = open_task_source("synthetic_vps", None, "train")
    things = open_task_source("synthetic_vis", None, "train")
    clips = [s.read(s.clip_spec(s.names()[0], 0, 2)) for s in (source, things)]
    assert clips[0].vocabulary[-1] == "ground" and clips[1].vocabulary == clips[0].vocabulary[:-1]
    assert clips[0].moments == (0, 1) and clips[0].objects is not None
    assert torch.equal(clips[0].objects.labels.max(), torch.tensor(len(things.categories)))

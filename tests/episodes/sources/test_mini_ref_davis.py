"""Real frames, masks and expressions in the Mini-Ref-YouTube-VOS layout, with empty and one-video classes."""

from __future__ import annotations

import logging

import pytest
import torch

from episodes.catalogue import folds_of
from episodes.collation import collate
from episodes.dataset import EpisodeDataset
from episodes.episode import ClipSpec
from episodes.sampling.cma_official import CMATrainEpisodes, cma_test_episodes
from episodes.sampling.manifest import read_manifest
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import MiniRefSource, open_source
from episodes.transforms.clips import TestTransform, TrainTransform
from tests.commands import typed
from tests.shared import require_shared

YTVOS = folds_of("mini_ref_ytvos")
COUNTS = {"person": 7, "sedan": 4, "dog": 2, "motorbike": 2, "bird": 1, "camel": 1, "cow": 1, "horse": 1, "sheep": 1}


@pytest.fixture(scope="module")
def davis() -> MiniRefSource:
    return open_source("mini_ref_ytvos", require_shared("data", "mini-ref-davis"), cache_frames=1 << 28)


def test_counts_are_those_of_its_readme(davis) -> None:
    found = {YTVOS.class_name(c): len(davis.videos(c)) for c in range(1, 49) if davis.videos(c)}
    assert found == COUNTS
    videos = [v for c in range(1, 49) for v in davis.videos(c)]
    assert len(videos) == len(set(videos)) == 20
    assert sum(len(davis.frames(v)) for v in videos) == 349
    assert sum(len(davis.expressions(v)) for v in videos) == 60


def test_it_says_which_classes_are_empty_or_have_one_video(davis) -> None:
    problems = davis.problems()
    assert sum("has no video" in p for p in problems) == 39
    single = [p for p in problems if "has one video" in p]
    assert len(single) == 5 and any("class 'bird' has one video (blackswan)" in p for p in single)
    assert len(problems) == 44


@pytest.mark.parametrize(
    ("group", "train", "val", "test"),
    [
        (1, {"motorbike", "dog", "person"}, {"person"}, {"sedan": 3}),
        (2, {"motorbike", "dog", "sedan", "person"}, {"person", "sedan"}, None),
        (3, {"dog", "sedan", "person"}, {"person", "sedan"}, {"motorbike": 1}),
        (4, {"motorbike", "sedan"}, {"sedan"}, {"dog": 1, "person": 6}),
    ],
)
def test_what_is_feasible_goes_on(davis, caplog, group, train, val, test) -> None:
    def classes(split: str) -> set[str]:
        episodes = TrainEpisodes(davis, YTVOS, group, split, shots=1, seed=0, query_frames=5, support_frames=5)
        return {YTVOS.class_name(c) for c in episodes.classes}

    with caplog.at_level(logging.WARNING):
        assert (classes("train"), classes("val")) == (train, val)
    assert "left out: 1 video: " in caplog.text
    if test is None:
        with pytest.raises(ValueError, match="group 2 with 1 shot need 2 videos of a class, and no class has them"):
            test_episodes(davis, YTVOS, group, shots=1, seed=0, support_frames=5)
        return
    specs = test_episodes(davis, YTVOS, group, shots=1, seed=0, support_frames=5)
    assert {n: sum(s.class_name == n for s in specs) for n in test} == test
    assert len(specs) == sum(test.values())
    assert all(len(s.queries) == 3 for s in specs)


def test_every_object_is_where_the_lists_say(davis) -> None:
    for class_id in range(1, 49):
        for video in davis.videos(class_id):
            clip = davis.read(ClipSpec(video, 1, davis.frames(video)))
            assert clip.size == (360, 640) and clip.masks.shape[-2:] == (360, 640)
            assert clip.valid.any() and torch.equal(clip.valid, clip.masks.flatten(1).any(1))


def test_training_and_test_batches(davis) -> None:
    specs = TrainEpisodes(davis, YTVOS, 1, "train", shots=2, seed=0, query_frames=5, support_frames=3)
    dataset = EpisodeDataset(davis, specs, TrainTransform([288, 320], 640), seed=0)
    batch = collate([dataset[0], dataset[1]], pad_multiple=32)
    assert batch.queries.frames.shape[:3] == (2, 5, 3) and batch.supports.frames.shape[:3] == (4, 3, 3)
    assert all(side % 32 == 0 for side in batch.queries.frames.shape[-2:])
    assert batch.queries.valid.any(1).all()
    tests = test_episodes(davis, YTVOS, 1, shots=1, seed=0, support_frames=5)
    episode = EpisodeDataset(davis, tests, TestTransform(180), seed=0)[0]
    assert episode.queries[0].size == (180, 320) and episode.queries[0].masks.shape[-2:] == (360, 640)


def test_official_recipe_runs_on_it(davis) -> None:
    source = MiniRefSource(davis.root, YTVOS, class_of_last_expression=True, exchange_box_limits=True)
    episodes = CMATrainEpisodes(source, YTVOS, 1, seed=0)
    assert len(episodes) == 3600
    specs = [episodes[i] for i in range(0, 3600, 180)]
    assert {s.class_name for s in specs} == {"motorbike", "dog", "person"}
    assert [s.class_id for s in specs] == sorted(s.class_id for s in specs), "class by class, unshuffled"
    assert all(s.supports[0].video != s.queries[0].video for s in specs)
    assert episodes[5] == episodes[5] != episodes[6]
    transform = TrainTransform([288], 640, whole_words=False, wrap_colours=True, visible_by_box=True)
    assert collate([EpisodeDataset(source, specs, transform, seed=0)[0]]).queries.frames.shape[1] == 5
    assert len(cma_test_episodes(source, YTVOS, 1, seed=0)) == 3


def test_freeze_and_read_again(davis, tmp_path) -> None:
    words = ["benchmark=mini_ref_ytvos", f"data.root={davis.root}", "group=4", "shots=1", "seed=0"]
    assert typed("freeze", [*words, f"out={tmp_path / 'm.jsonl'}"]) == 0
    expected = test_episodes(davis, YTVOS, 4, shots=1, seed=0, support_frames=5)
    assert read_manifest(tmp_path / "m.jsonl", davis) == expected

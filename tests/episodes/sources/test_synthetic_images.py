from __future__ import annotations

import numpy as np
import pytest

from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sources import open_source
from episodes.sources.mini_ref import MiniRefSource
from episodes.sources.synthetic import CLASS_NAMES

VIDEOS = 2  # of each class, see the fixture `world`


@pytest.fixture(scope="module")
def stills(world):
    return open_source("synthetic_images", world.root)


def test_there_is_one_still_of_each_video(stills) -> None:
    assert len(stills.files) == VIDEOS * len(CLASS_NAMES)
    assert stills.problems() == []
    frames = {picture.stem for picture, _ in stills.files.values()}
    assert len(frames) > 4, "not always the same frame"


def test_the_mask_of_a_class_holds_all_of_its_things(stills) -> None:
    videos = MiniRefSource(stills.root, open_source("synthetic", stills.root).folds)
    twins = 0
    for video in stills.files:
        frame = stills.files[video][0].stem
        things = videos.index[video].objects
        for class_id, name in enumerate(CLASS_NAMES, start=1):
            of_class = [number for number, category in things.items() if category == name]
            if not of_class or not stills.area(video, class_id):
                continue
            seen = [n for n in of_class if videos.visible(video, frame, n)]
            masks = [videos.read_masks(video, (frame,), n)[0].numpy() for n in of_class]
            assert np.array_equal(stills.read_masks(video, ("0",), class_id)[0].numpy(), np.any(masks, axis=0))
            twins += len(seen) > 1
    assert twins > 5, "the world has twins"


@pytest.mark.parametrize("group", [0, 1, 2, 3])
def test_all_things_of_an_image_are_of_one_group(stills, group) -> None:
    held_out = set(stills.folds.test_classes(group))
    for image in stills.files:
        assert set(stills.classes_in(image)) <= held_out or not set(stills.classes_in(image)) & held_out
    train = ImageEpisodes(stills, stills.folds, group, "train", shots=1, seed=0)
    shown = {c for pool in train.pools.values() for image in pool for c in stills.classes_in(image)}
    assert not shown & held_out, "a held-out class is never seen in training"
    tests = image_test_episodes(stills, stills.folds, group, shots=1, seed=0, count=None, queries="each")
    assert {s.class_id for s in tests} == held_out
    assert CLASS_NAMES[tests[0].class_id - 1] == tests[0].class_name

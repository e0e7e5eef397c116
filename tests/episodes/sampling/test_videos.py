from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.catalogue import folds_of
from episodes.sampling.videos import TrainEpisodes, test_episodes, training_videos, validation_videos, window
from episodes.sources import MiniRefSource
from tests.episodes.tree import TinyVideo, write_tree

YTVOS = folds_of("mini_ref_ytvos")
GROUPS = st.sampled_from(YTVOS.groups)


def train(source, group=1, split="train", shots=1, seed=0, query_frames=2, support_frames=3, **kw) -> TrainEpisodes:
    return TrainEpisodes(
        source,
        YTVOS,
        group,
        split,
        shots=shots,
        seed=seed,
        query_frames=query_frames,
        support_frames=support_frames,
        **kw,
    )


def episodes_of_test(source, group=1, shots=1, seed=0, limit=None):
    return test_episodes(source, YTVOS, group, shots=shots, seed=seed, support_frames=3, limit=limit)


@settings(max_examples=40, deadline=None)
@given(group=GROUPS, split=st.sampled_from(["train", "val"]), seed=st.integers(0, 99), index=st.integers(0, 5000))
def test_an_episode_is_a_pure_function_of_its_index(tiny, tiny_root, group, split, seed, index) -> None:
    episodes = train(tiny, group, split, seed=seed)
    spec = episodes[index]
    episodes[index + 1], episodes[0]  # other reads leave it alone
    fresh = train(MiniRefSource(tiny_root, YTVOS), group, split, seed=seed)
    assert spec == episodes[index] == fresh[index]
    assert (spec.group, spec.split, spec.seed, spec.index, spec.shots) == (group, split, seed, index, 1)


@pytest.mark.parametrize("share", [0.0, 0.7, 1.0])
def test_a_share_of_the_query_videos_shows_a_twin(world, share) -> None:
    settings = dict(shots=1, seed=0, query_frames=1, support_frames=2, twin_share=share)
    episodes = TrainEpisodes(world, folds_of("synthetic"), 1, "train", **settings)
    having = {c for c, videos in episodes.twinned.items() if 0 < len(videos) < len(episodes.pools[c])}
    specs = [spec for spec in (episodes[k] for k in range(600)) if spec.class_id in having]
    shown = [bool(world.twins(q.video, q.object_id)) for spec in specs for q in spec.queries]
    assert len(specs) > 100 and abs(sum(shown) / len(shown) - share) < 0.1
    assert all(spec.queries[0].video not in {s.video for s in spec.supports} for spec in specs)


def test_without_a_share_of_twins_the_draws_are_as_they_come(tiny) -> None:
    assert [train(tiny)[k] for k in range(20)] == [train(tiny, twin_share=None)[k] for k in range(20)]
    assert train(tiny).twinned == {}


def test_more_expressions_of_a_query_are_first_of_its_twin(world) -> None:
    settings = dict(shots=1, seed=0, query_frames=1, support_frames=2, twin_share=1.0, expressions=4)
    episodes = TrainEpisodes(world, folds_of("synthetic"), 1, "train", **settings)
    for spec in (episodes[k] for k in range(40)):
        objects = [query.object_id for query in spec.queries]
        if world.twins(spec.queries[0].video, objects[0]):
            assert objects[1:3] == [objects[1]] * 2 != [objects[0]] * 2 and objects[3] == objects[0]
            assert len({query.expression_id for query in spec.queries}) == 4
        assert len({(query.video, query.frames) for query in spec.queries}) == 1


@settings(max_examples=40, deadline=None)
@given(group=GROUPS, split=st.sampled_from(["train", "val"]), shots=st.integers(1, 2), index=st.integers(0, 2000))
def test_an_episode_is_well_formed(tiny, group, split, shots, index) -> None:
    spec = train(tiny, group, split, shots=shots, expressions=2)[index]
    videos = [c.video for c in (*spec.supports, *spec.queries[:1])]
    assert len(set(videos)) == shots + 1, "supports and query are different videos"
    assert spec.class_id in YTVOS.train_classes(group)
    assert len(spec.queries) == 2 and spec.queries[0].frames == spec.queries[1].frames
    choices = [e for e in tiny.expressions(videos[-1]) if e.class_id == spec.class_id]
    assert len({q.expression_id for q in spec.queries}) == min(2, len(choices))
    for clip, length in [(c, 3) for c in spec.supports] + [(c, 2) for c in spec.queries]:
        said = {e.id: e for e in tiny.expressions(clip.video)}[clip.expression_id]
        assert said.class_id == spec.class_id, "the target is never an object of another class"
        assert said.object_id == clip.object_id
        assert clip.expression == " ".join(said.text.lower().split())
        frames = tiny.frames(clip.video)
        at = frames.index(clip.frames[0])
        assert len(clip.frames) == length
        assert clip.frames == frames[at : at + length], "consecutive listed frames"


@pytest.mark.parametrize("group", YTVOS.groups)
@pytest.mark.parametrize("shots", [1, 2])
def test_splits_never_share_a_video_nor_a_class(tiny, group, shots) -> None:
    splits = {s: train(tiny, group, s, shots=shots) for s in ("train", "val")}
    videos = {s: {v for pool in e.pools.values() for v in pool} for s, e in splits.items()}
    assert not videos["train"] & videos["val"]
    test_classes = set(YTVOS.test_classes(group))
    tested = {v for c in test_classes for v in tiny.videos(c)}
    for split, episodes in splits.items():
        assert not videos[split] & tested, "no labelled object of a test class is ever shown in training"
        drawn = [episodes[i] for i in range(2 * len(episodes.classes))]
        assert not {s.class_id for s in drawn} & test_classes
        assert {c.video for s in drawn for c in (*s.supports, *s.queries)} <= videos[split]
    tests = episodes_of_test(tiny, group, shots=shots)
    assert {s.class_id for s in tests} == test_classes
    assert not {c.video for s in tests for c in (*s.supports, *s.queries)} & (videos["train"] | videos["val"])


@pytest.mark.parametrize("name", ["synthetic", "mini_ref_ytvos", "mini_ref_sailvos"])
def test_no_training_episode_is_of_a_test_class_in_any_video_benchmark(name, tmp_path) -> None:
    folds = folds_of(name)
    root = write_tree(
        tmp_path,
        {f"{c}-{n}": TinyVideo({1: c}, [("it", 1)], frames=2) for c in folds.classes for n in range(4)},
    )
    source = MiniRefSource(root, folds)
    for group in folds.groups:
        tests = test_episodes(source, folds, group, shots=1, seed=0, support_frames=1)
        assert {s.class_id for s in tests} == set(folds.test_classes(group))
        if folds.test_only:
            with pytest.raises(ValueError, match="for testing only"):
                TrainEpisodes(source, folds, group, "train", shots=1, seed=0, query_frames=1, support_frames=1)
            continue
        for split in ("train", "val"):
            episodes = TrainEpisodes(source, folds, group, split, shots=1, seed=0, query_frames=1, support_frames=1)
            seen = {episodes[i].class_id for i in range(len(episodes.classes))}
            assert seen == set(folds.train_classes(group))


@pytest.mark.parametrize("split", ["train", "val"])
def test_every_class_comes_once_in_a_round_in_shuffled_order(tiny, split) -> None:
    episodes = train(tiny, 2, split)
    n = len(episodes.classes)
    rounds = [[episodes[r * n + k].class_id for k in range(n)] for r in range(4)]
    assert all(sorted(r) == sorted(YTVOS.train_classes(2)) for r in rounds)
    assert len({tuple(r) for r in rounds}) == 4, "each round has its own order"
    assert rounds[0] != sorted(rounds[0])


def test_validation_videos_are_a_part_of_each_class_and_independent_of_the_seed(tiny) -> None:
    held = validation_videos(tiny, YTVOS, 1, 1)
    for class_id, videos in training_videos(tiny, YTVOS, 1).items():
        share = sum(v in held for v in videos)
        assert 2 <= share <= len(videos) - 2, (class_id, share, len(videos))
        assert share <= 4
    for seed in (0, 1):
        assert {v for p in train(tiny, split="val", seed=seed).pools.values() for v in p} == held


def test_a_class_with_few_videos_keeps_them_for_training(tmp_path, caplog) -> None:
    def video(category: str) -> TinyVideo:
        return TinyVideo({1: category}, [("it", 1)], frames=2)

    counts = {"plant": 3, "hand": 4, "horse": 1, "hat": 2}
    root = write_tree(tmp_path, {f"{c}{n}": video(c) for c, k in counts.items() for n in range(k)})
    source = MiniRefSource(root, YTVOS)
    with caplog.at_level(logging.WARNING):
        episodes = train(source, 1)
    assert {YTVOS.class_name(c): len(episodes.pools[c]) for c in episodes.classes} == {"plant": 3, "hand": 2}
    assert "1 video: horse;" in caplog.text and "0 videos: raccoon" not in caplog.text
    assert [YTVOS.class_name(c) for c in train(source, 1, "val").classes] == ["hand"]
    assert [s.class_name for s in episodes_of_test(source, 1)] == ["hat"]
    with pytest.raises(ValueError, match=r"3 shots need 4 videos of a class, and no class has them \(2 videos: hat; 0"):
        episodes_of_test(source, 1, shots=3)
    with pytest.raises(ValueError, match=r"no class has them \(4 videos: hand; 3 videos: plant; 1 video: horse; 0 v"):
        train(source, 1, shots=4)


@pytest.mark.parametrize("name", ["shots", "query_frames", "support_frames", "expressions"])
@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_counts_must_be_positive(tiny, name, value) -> None:
    with pytest.raises(ValueError, match=f"{name} must be a whole number of at least 1, got {value}"):
        train(tiny, **{name: value})


def test_other_wrong_arguments(tiny) -> None:
    with pytest.raises(ValueError, match="no group 9; valid groups: 1, 2, 3, 4"):
        train(tiny, 9)
    with pytest.raises(ValueError, match="no group 0"):
        episodes_of_test(tiny, 0)
    with pytest.raises(ValueError, match="split must be 'train' or 'val', got 'test'"):
        train(tiny, split="test")
    with pytest.raises(ValueError, match="shots must be a whole number"):
        episodes_of_test(tiny, shots=0)
    with pytest.raises(ValueError, match="limit must be"):
        episodes_of_test(tiny, limit=0)
    with pytest.raises(IndexError, match="counted from 0"):
        train(tiny)[-1]


def test_every_video_but_the_support_is_a_query_with_all_expressions_of_the_class(tiny) -> None:
    specs = episodes_of_test(tiny, 3, shots=2, seed=5)
    assert [s.index for s in specs] == list(range(len(specs)))
    for class_id in YTVOS.test_classes(3):
        mine = [s for s in specs if s.class_id == class_id]
        assert len({s.supports for s in mine}) == 1, "one support draw per class"
        supports = [c.video for c in mine[0].supports]
        assert sorted(supports + [s.queries[0].video for s in mine]) == list(tiny.videos(class_id))
        for spec in mine:
            video = spec.queries[0].video
            wanted = [e.id for e in tiny.expressions(video) if e.class_id == class_id]
            assert [q.expression_id for q in spec.queries] == wanted
            assert all(q.frames == tiny.frames(video) for q in spec.queries)


def test_test_supports_follow_the_seed_and_more_shots_extend_fewer(tiny) -> None:
    def supports(seed: int, shots: int) -> dict:
        return {s.class_id: s.supports for s in episodes_of_test(tiny, 1, shots=shots, seed=seed)}

    assert supports(0, 1) == supports(0, 1) != supports(1, 1)
    one, three = supports(0, 1), supports(0, 3)
    assert all(three[c][:1] == one[c] and len(three[c]) == 3 for c in one)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 50), small=st.integers(1, 40), more=st.integers(0, 40))
def test_a_limit_is_balanced_and_a_subset_of_a_larger_one(tiny, seed, small, more) -> None:
    everything = episodes_of_test(tiny, 1, seed=seed)
    few, many = (episodes_of_test(tiny, 1, seed=seed, limit=k) for k in (small, small + more))
    assert len(few) == min(small, len(everything))
    assert [s for s in many if s in few] == few and [s for s in everything if s in many] == many
    counts = [sum(s.class_id == c for s in few) for c in YTVOS.test_classes(1)]
    assert max(counts) - min(counts) <= 1 or small > 12 * 4


@given(n=st.integers(1, 12), count=st.integers(1, 12), data=st.data())
def test_window(n, count, data) -> None:
    frames = tuple(f"{k:02d}" for k in range(n))
    end = data.draw(st.integers(0, n - 1))
    chosen = window(frames, end, count)
    assert len(chosen) == count
    if n < count:
        assert chosen == frames + (frames[-1],) * (count - n)
    elif end < count:
        assert chosen == frames[:count]
    else:
        assert chosen == frames[end - count + 1 : end + 1]


def test_clips_show_their_object_where_possible(tmp_path) -> None:
    """The object is in one of 12 frames: the query must hold it, and the support must hold it in the middle."""
    hidden = {(f, 1) for f in range(12) if f != 7}
    videos = {f"v{n}": TinyVideo({1: "plant"}, [("it", 1)], frames=12, hidden=hidden, size=(12, 24)) for n in range(3)}
    source = MiniRefSource(write_tree(tmp_path, videos), YTVOS)
    episodes = train(source, 1, query_frames=3, support_frames=3)
    specs = [episodes[i] for i in range(20)]
    shown = [any(source.visible(c.video, f, 1) for f in c.frames) for s in specs for c in s.queries]
    middle = [source.visible(c.video, c.frames[1], 1) for s in specs for c in s.supports]
    assert sum(shown) >= 18 and sum(middle) >= 13  # each draw hits with 1/4 and 1/12, sixteen draws
    for spec in specs:
        source.read(spec.queries[0])

from __future__ import annotations

import logging

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from episodes.catalogue import folds_of
from episodes.sampling.draws import QUERIES
from episodes.sampling.images import ImageEpisodes, image_test_episodes
from episodes.sampling.pools import NotFeasible
from tests.episodes.image_tree import MemoryImages

VOC = folds_of("pascal5i")


def world(per_class: int = 8) -> MemoryImages:
    """For each class `per_class` training and as many test images; every third shows a class of the next group too."""
    shows = {}
    for c in range(1, 21):
        for k in range(per_class):
            other = {(c + 4) % 20 + 1: 30} if k % 3 == 2 else {}
            shows[f"a{c:02d}_{k}"] = {c: 10 + k, **other}
            shows[f"t{c:02d}_{k}"] = {c: 10 + k, **other}
    return MemoryImages(shows)


WORLD = world()


def train(split: str = "train", group: int = 0, shots: int = 1, seed: int = 0, **more) -> ImageEpisodes:
    return ImageEpisodes(WORLD, VOC, group, split, shots=shots, seed=seed, **more)


def episodes_of_test(
    group: int = 0, shots: int = 1, seed: int = 0, count: int | None = None, queries: str = "list", **more
):
    source = more.pop("source", WORLD)
    return image_test_episodes(source, VOC, group, shots=shots, seed=seed, count=count, queries=queries, **more)


def images_of(specs) -> set[str]:
    return {clip.video for spec in specs for clip in (*spec.supports, *spec.queries)}


any_group, any_seed, any_shots = st.integers(0, 3), st.integers(0, 10**6), st.integers(1, 3)
either, any_queries = st.sampled_from(["train", "val"]), st.sampled_from(QUERIES)


@settings(max_examples=25, deadline=None)
@given(any_group, any_seed, any_shots, either, st.booleans(), st.integers(0, 500))
def test_a_training_episode_is_of_a_training_class_and_shows_it(group, seed, shots, split, drop, index) -> None:
    episodes = train(split, group, shots, seed, drop_novel=drop)
    spec = episodes[index]
    assert spec.class_id in VOC.train_classes(group) and spec.class_name == VOC.class_name(spec.class_id)
    assert spec.shots == shots and len({c.video for c in (*spec.supports, *spec.queries)}) == shots + 1
    for clip in (*spec.supports, *spec.queries):
        assert clip.frames == ("0",) and clip.expression is None and clip.object_id == spec.class_id
        assert WORLD.area(clip.video, spec.class_id) > 0 and WORLD.in_split(clip.video, "train")
        novel = set(WORLD.classes_in(clip.video)) & set(VOC.test_classes(group))
        assert not (drop and novel), "no image that shows a held-out class"


@settings(max_examples=25, deadline=None)
@given(any_group, any_seed, any_shots, any_queries)
def test_a_test_episode_is_of_a_held_out_class_and_never_shows_its_query(group, seed, shots, queries) -> None:
    specs = episodes_of_test(group, shots, seed, 50, queries)
    assert len(specs) == (
        50 if queries in ("list", "images", "uniform") else min(50, len(episodes_of_test(group, queries="each")))
    )
    assert sorted({s.index for s in specs}) == [s.index for s in specs]
    for spec in specs:
        assert spec.class_id in VOC.test_classes(group)
        assert len({c.video for c in (*spec.supports, *spec.queries)}) == shots + 1, "all different, so no query"
        assert all(WORLD.area(c.video, spec.class_id) > 0 for c in (*spec.supports, *spec.queries))
        assert all(WORLD.in_split(c.video, "test") for c in (*spec.supports, *spec.queries))


@settings(max_examples=15, deadline=None)
@given(any_group, any_seed, any_queries, st.integers(1, 60), st.integers(1, 60))
def test_a_smaller_count_is_a_subset_and_shows_no_other_supports(group, seed, queries, few, many) -> None:
    few, many = sorted((few, many))
    some, more = (episodes_of_test(group, 2, seed, n, queries) for n in (few, many))
    assert [s for s in more if s.index in {x.index for x in some}] == some


@settings(max_examples=15, deadline=None)
@given(any_group, any_seed, any_queries)
def test_supports_of_fewer_shots_are_the_first_of_more(group, seed, queries) -> None:
    one, three = episodes_of_test(group, 1, seed, 30, queries), episodes_of_test(group, 3, seed, 30, queries)
    assert [(s.queries, s.supports) for s in one] == [(s.queries, s.supports[:1]) for s in three]


def test_training_supports_of_fewer_shots_are_the_first_of_more() -> None:
    many = world(per_class=25)  # so many that the images set apart for validation are the same for 1 and 3 shots
    one, three = (ImageEpisodes(many, VOC, 1, "train", shots=shots, seed=0) for shots in (1, 3))
    assert one.pools == three.pools
    assert [one[i].supports for i in range(50)] == [three[i].supports[:1] for i in range(50)]


def test_an_episode_depends_on_its_own_index_only() -> None:
    episodes = train(seed=3)
    forwards, backwards = [episodes[i] for i in range(40)], [episodes[i] for i in reversed(range(40))]
    assert forwards == backwards[::-1] == [train(seed=3)[i] for i in range(40)]
    assert forwards != [train(seed=4)[i] for i in range(40)]
    with pytest.raises(IndexError, match="counted from 0"):
        episodes[-1]


def test_every_class_comes_once_a_round_in_shuffled_order() -> None:
    episodes = train()
    n = len(episodes.classes)
    rounds = [[episodes[n * turn + k].class_id for k in range(n)] for turn in range(3)]
    assert all(sorted(r) == list(VOC.train_classes(0)) for r in rounds)
    assert rounds[0] != rounds[1]


def test_training_may_go_through_pairs_or_images_instead_of_classes() -> None:
    pairs, images = train(sampling="pairs", shots=2), train(sampling="images", shots=2)
    listed = sorted((x, c) for c, pool in pairs.pools.items() for x in pool)
    rounds = [[pairs[len(listed) * turn + k] for k in range(len(listed))] for turn in range(2)]
    asked = [[(s.queries[0].video, s.class_id) for s in specs] for specs in rounds]
    assert asked[0] != asked[1] and sorted(asked[0]) == sorted(asked[1]) == listed
    names = sorted({x for pool in images.pools.values() for x in pool})
    assert len(names) < sum(map(len, images.pools.values())), "some show two classes"
    drawn = [images[k] for k in range(6 * len(names))]
    assert sorted(s.queries[0].video for s in drawn[: len(names)]) == names
    assert {(s.queries[0].video, s.class_id) for s in drawn} > {(x, c) for x, c in listed if x == names[2]}
    for spec in (*rounds[0], *drawn):
        clips = (*spec.supports, *spec.queries)
        assert len({clip.video for clip in clips}) == len(clips)
        assert all(clip.video in images.pools[spec.class_id] for clip in clips)
    assert train(sampling="images", shots=2)[7] == drawn[7], "a pure function of the index"


@pytest.mark.parametrize("group", [0, 1, 2, 3])
def test_validation_images_never_train_whatever_the_seed(group) -> None:
    pools = [train(split, group, seed=seed).pools for split, seed in (("train", 0), ("val", 1))]
    shared = {x for pool in pools[0].values() for x in pool} & {x for pool in pools[1].values() for x in pool}
    assert not shared
    for class_id in VOC.train_classes(group):
        assert len(pools[1][class_id]) >= 2, "each class can be validated on"
        assert len(pools[0][class_id]) > len(pools[1][class_id])


def test_dropping_novel_images_drops_those_and_no_others() -> None:
    kept, dropped = train().pools, train(drop_novel=True).pools
    everything = {c: set(kept[c]) | set(train("val").pools[c]) for c in kept}
    without = {c: set(dropped[c]) | set(train("val", drop_novel=True).pools[c]) for c in kept}
    novel = {x for x in WORLD.files if set(WORLD.classes_in(x)) & set(VOC.test_classes(0))}
    assert without == {c: pool - novel for c, pool in everything.items()}
    assert any(everything[c] & novel for c in kept), "the world has such images"


def test_list_goes_through_the_pairs_in_order_and_begins_again_with_other_supports() -> None:
    pairs = sorted((x, c) for c in VOC.test_classes(1) for x in WORLD.images_of(c, "test"))
    specs = episodes_of_test(1, count=2 * len(pairs))
    assert [(s.queries[0].video, s.class_id) for s in specs] == pairs * 2
    assert episodes_of_test(1) == specs[: len(pairs)], "without a count the list comes once"
    again = [a.supports != b.supports for a, b in zip(specs, specs[len(pairs) :], strict=False)]
    assert sum(again) > len(pairs) / 2


def test_a_limit_takes_episodes_of_the_list_from_all_classes() -> None:
    specs = episodes_of_test(1, count=1000)
    few = episodes_of_test(1, count=1000, limit=10)
    assert all(spec == specs[spec.index] for spec in few), "they are episodes of the whole test"
    assert {s.class_id: sum(x.class_id == s.class_id for x in few) for s in few} == dict.fromkeys(range(6, 11), 2)
    assert len({s.queries[0].video for s in few}) > 1 and few == [s for s in episodes_of_test(1, limit=20) if s in few]
    pairs = len(episodes_of_test(1))
    assert episodes_of_test(1, count=1000, limit=pairs + 3) == specs[: pairs + 3]
    assert episodes_of_test(1, count=pairs, limit=2 * pairs) == specs[: 2 * pairs]
    uniform = episodes_of_test(1, count=50, queries="uniform")
    assert episodes_of_test(1, count=50, queries="uniform", limit=7) == uniform[:7]
    assert episodes_of_test(0, queries="each", limit=10) == episodes_of_test(0, queries="each", count=10)


def test_images_are_gone_through_in_order_with_any_of_their_classes() -> None:
    source = MemoryImages({f"t{k:02d}": {1 + k % 5: 40, 1 + (k + 1) % 5: 3, 20: 90} for k in range(40)})
    specs = episodes_of_test(0, 2, queries="images", min_area=40, count=200, source=source)
    assert [s.queries[0].video for s in specs] == sorted(source.files) * 5
    assert all(s.class_id in source.classes_in(s.queries[0].video) for s in specs), "a test class that it shows"
    small = [s for s in specs if source.area(s.queries[0].video, s.class_id) < 40]
    assert 60 <= len(small) <= 140, "as often as the large one"
    assert all(source.area(clip.video, s.class_id) == 40 for s in specs for clip in s.supports)


@settings(max_examples=15, deadline=None)
@given(any_group, any_seed, st.sampled_from(["list", "images", "uniform", "each"]))
def test_supports_may_come_twice_where_the_protocol_says_so(group, seed, queries) -> None:
    one, five, distinct = (
        episodes_of_test(group, shots, seed, 60, queries, supports=supports)
        for shots, supports in ((1, "repeats"), (5, "repeats"), (1, "distinct"))
    )
    assert one == distinct, "with one shot it is the same"
    assert [(s.queries, s.supports) for s in one] == [(s.queries, s.supports[:1]) for s in five]
    assert all(s.queries[0].video not in {clip.video for clip in s.supports} for s in five)
    assert any(len({clip.video for clip in s.supports}) < 5 for s in five)
    assert any(len({clip.video for clip in s.supports}) > 1 for s in five)


def test_of_ten_images_three_in_four_episodes_of_five_shots_have_a_repeat() -> None:
    source = MemoryImages({f"t{k:03d}": {1 + k % 5: 5} for k in range(50)})  # ten of a class, as in FSS-1000
    specs = episodes_of_test(0, 5, count=1000, source=source, supports="repeats")
    share = sum(len({clip.video for clip in s.supports}) < 5 for s in specs) / len(specs)
    assert abs(share - (1 - 8 * 7 * 6 * 5 / 9**4)) < 0.03


def test_with_repeats_two_images_of_a_class_are_enough() -> None:
    source = MemoryImages({f"t{k}": {3: 5} for k in (1, 2)})
    specs = episodes_of_test(0, 5, source=source, supports="repeats")
    assert [[clip.video for clip in s.supports] for s in specs] == [["t2"] * 5, ["t1"] * 5]
    with pytest.raises(NotFeasible, match="with 5 shots need 6 images"):
        episodes_of_test(0, 5, source=source)


@pytest.mark.parametrize(("queries", "supports"), [("list", "repeats"), ("images", "distinct")])
def test_a_stream_is_one_list_whatever_part_of_it_is_tested(queries, supports) -> None:
    rule = {"queries": queries, "supports": supports, "draws": "stream", "shots": 3}
    long = episodes_of_test(1, count=200, **rule)
    assert episodes_of_test(1, count=50, **rule) == long[:50] != episodes_of_test(1, count=50, seed=1, **rule)
    few = episodes_of_test(1, count=200, limit=10, **rule)
    assert len(few) == 10 and all(spec == long[spec.index] for spec in few)
    assert all(s.queries[0].video not in {clip.video for clip in s.supports} for s in long)


def test_uniform_draws_classes_and_queries_alike() -> None:
    specs = episodes_of_test(2, count=600, queries="uniform")
    drawn = {c: [s.queries[0].video for s in specs if s.class_id == c] for c in VOC.test_classes(2)}
    assert all(90 <= len(queries) <= 150 for queries in drawn.values()), "600 episodes, 5 classes"
    assert all(set(queries) == set(WORLD.images_of(c, "test")) for c, queries in drawn.items())


def test_each_has_every_pair_once_class_after_class() -> None:
    specs = episodes_of_test(0, queries="each")
    expected = [(c, x) for c in VOC.test_classes(0) for x in WORLD.images_of(c, "test")]
    assert [(s.class_id, s.queries[0].video) for s in specs] == expected
    few = episodes_of_test(0, queries="each", count=10)
    assert {s.class_id: sum(x.class_id == s.class_id for x in few) for s in few} == dict.fromkeys(range(1, 6), 2)


def test_first_takes_the_first_others_by_name() -> None:
    source = MemoryImages({f"t/{k}": {3: 5} for k in (1, 2, 10)})
    specs = episodes_of_test(0, 2, queries="first", source=source)
    assert [(s.queries[0].video, *(c.video for c in s.supports)) for s in specs] == [
        ("t/1", "t/10", "t/2"),
        ("t/10", "t/1", "t/2"),
        ("t/2", "t/1", "t/10"),
    ]


def test_min_area_counts_the_pixels_of_the_class() -> None:
    specs = episodes_of_test(0, min_area=12)
    assert min(WORLD.area(x.video, s.class_id) for s in specs for x in (*s.supports, *s.queries)) == 12
    assert len(specs) < len(episodes_of_test(0, min_area=11)) < len(episodes_of_test(0))
    pools = train(min_area=15).pools
    assert all(WORLD.area(x, c) >= 15 for c, pool in pools.items() for x in pool)


def test_classes_with_too_few_images_are_named_and_left_out(caplog) -> None:
    source = MemoryImages({"t1": {1: 4}, "t2": {2: 4}, "t3": {2: 4}, "t4": {2: 4}, "t5": {3: 4}, "t6": {3: 4}})
    with caplog.at_level(logging.WARNING):
        specs = episodes_of_test(0, 2, source=source)
    assert {s.class_name for s in specs} == {"bicycle"}
    assert (
        "need 3 images of a class; left out: 2 images: bird; 1 image: aeroplane; 0 images: boat, bottle" in caplog.text
    )
    with pytest.raises(NotFeasible, match="with 3 shots need 4 images of a class, and no class has them"):
        episodes_of_test(0, 3, source=source)


def test_lists_replace_the_images_of_the_source() -> None:
    lists = {c: [f"t{c:02d}_{k}" for k in (0, 3, 5)] for c in VOC.test_classes(0)}
    assert images_of(episodes_of_test(0, images=lists)) == {x for names in lists.values() for x in names}
    mine = {c: [f"a{c:02d}_{k}" for k in range(6)] for c in VOC.train_classes(0)}
    pools = train(lists=mine).pools
    assert all(set(pools[c]) <= set(mine[c]) for c in pools)


def test_lists_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match=r"the lists name 2 images that pascal5i .* does not have \(x, y\): complete"):
        episodes_of_test(0, images={1: ["t01_0", "y", "x"]})
    with pytest.raises(ValueError, match="for a class of which their mask has no pixel .t02_0: aeroplane."):
        episodes_of_test(0, images={1: ["t01_0", "t01_1", "t02_0"]})


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: train("test"), "split must be 'train' or 'val'"),
        (lambda: train(sampling="blocks"), "sampling must be one of balanced, pairs, images, got 'blocks'"),
        (lambda: train(shots=0), "shots must be a whole number"),
        (lambda: train(min_area=-1), "min_area must be a number of pixels"),
        (
            lambda: episodes_of_test(queries="all"),
            "queries must be one of list, images, uniform, each, first, got 'all'",
        ),
        (lambda: episodes_of_test(supports="few"), "supports must be one of distinct, repeats, got 'few'"),
        (lambda: episodes_of_test(draws="dice"), "draws must be one of indexed, stream, official, got 'dice'"),
        (lambda: episodes_of_test(draws="stream"), "not of queries=list, supports=distinct: take draws=indexed"),
        (lambda: episodes_of_test(count=0), "count must be a whole number"),
        (lambda: episodes_of_test(limit=0), "limit must be a whole number"),
        (lambda: episodes_of_test(7), "no group 7; valid groups: 0, 1, 2, 3"),
        (
            lambda: ImageEpisodes(WORLD, folds_of("coco2pascal"), 0, "train", shots=1, seed=0),
            "coco2pascal, group 0, has no training classes",
        ),
    ],
)
def test_wrong_arguments(call, message) -> None:
    with pytest.raises(ValueError, match=message):
        call()

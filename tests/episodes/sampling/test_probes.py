"""Probes change what they say and nothing else."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from episodes.sampling.images import image_test_episodes
from episodes.sampling.probes import derangement, no_support, probe_specs, probe_supports, shuffled_text, wrong_support
from episodes.sources.base import Expression
from tests.episodes.image_tree import MemoryImages
from tests.episodes.memory import MemorySource, memory_specs

SPECS = memory_specs(MemorySource())


def test_wrong_support_gives_each_class_the_supports_of_one_other_class() -> None:
    changed = wrong_support(SPECS, MemorySource())
    assert changed == wrong_support(SPECS, MemorySource())
    taken = {spec.class_id: spec.supports[0].video for spec in changed}
    assert sorted(taken.values()) == ["class1_0", "class2_0", "class3_0"]
    for before, after in zip(SPECS, changed, strict=True):
        assert after.supports[0].video[:6] != before.class_name
        assert after.supports == next(s.supports for s in SPECS if s.supports[0].video == taken[before.class_id])
        assert replace(after, supports=before.supports) == before


def test_wrong_support_needs_two_classes() -> None:
    with pytest.raises(ValueError, match="at least 2 classes, the list has 1"):
        wrong_support(SPECS[:2], MemorySource())


class Together(MemorySource):
    """In the first video of class 2, and in all of class 3 where `all_of_them`, a thing of class 1 is seen as well."""

    all_of_them = False

    def expressions(self, video: str) -> tuple[Expression, ...]:
        more = video == "class2_0" or (self.all_of_them and video.startswith("class3"))
        return (*super().expressions(video), *([Expression("9", "a thing", 9, 1)] if more else []))


def test_a_wrong_support_shows_the_class_nowhere() -> None:
    source, seeds = Together(), range(8)
    for seed in seeds:
        specs = [replace(spec, seed=seed) for spec in SPECS]
        taken = {s.class_id: s.supports[0].video for s in wrong_support(specs, source)}
        assert taken[1] == "class3_0" and taken[2] != "class2_0" and taken[3] != "class3_0"
    source.all_of_them = True
    with pytest.raises(ValueError, match="supports that do not show class1, and all of the list do"):
        wrong_support(SPECS, source)


@pytest.mark.parametrize("shots", [1, 3])
def test_each_image_has_wrong_supports_of_its_own(shots: int) -> None:
    """Of the images a third shows the next class too, and is no support for that one."""
    source = MemoryImages({f"t{k:02d}": {1 + k % 5: 9, **({1 + (k + 1) % 5: 9} if k % 3 else {})} for k in range(60)})
    specs = image_test_episodes(source, source.folds, 0, shots=shots, seed=4, count=300, queries="images")
    changed = wrong_support(specs, source)
    assert changed == wrong_support(specs, source)
    for before, after in zip(specs, changed, strict=True):
        assert replace(after, supports=before.supports) == before
        images = {clip.video for clip in after.supports}
        assert len(images) == shots and len({clip.object_id for clip in after.supports}) == 1
        assert not any(before.class_id in source.classes_in(image) for image in images), "so never the query"
        assert all(clip.object_id in source.classes_in(clip.video) for clip in after.supports)
    assert len({after.supports for after in changed}) > 45 and len({a.supports[0].object_id for a in changed}) == 5


def test_the_name_of_the_class_stands_where_a_query_has_no_words() -> None:
    asked = replace(SPECS[0], class_name="giant_panda")
    silent = replace(asked, queries=tuple(replace(query, expression=None) for query in asked.queries))
    said, unsaid = probe_specs([asked, silent], "name_only", MemorySource())
    assert said.queries == asked.queries and {query.expression for query in unsaid.queries} == {"giant panda"}
    assert [clip.expression for clip in said.supports] == ["giant panda"]
    assert replace(unsaid, supports=silent.supports, queries=silent.queries) == silent
    images = MemoryImages({f"t{k}": {1 + k % 2: 9} for k in range(6)})
    specs = image_test_episodes(images, images.folds, 0, shots=1, seed=0, count=3, queries="list")
    changed = probe_specs(specs, "name_only", images)
    assert [spec.supports for spec in changed] == [spec.supports for spec in specs], "supports without words keep none"
    assert [spec.queries[0].expression for spec in changed] == [spec.class_name for spec in specs]


def test_shuffled_text_permutes_expressions_between_classes() -> None:
    changed = shuffled_text(SPECS)
    assert changed == shuffled_text(SPECS)
    texts = [q.expression for spec in SPECS for q in spec.queries]
    assert Counter(q.expression for spec in changed for q in spec.queries) == Counter(texts)
    for before, after in zip(SPECS, changed, strict=True):
        for old, new in zip(before.queries, after.queries, strict=True):
            assert not new.expression.startswith(before.class_name)
            assert replace(new, expression=old.expression) == old
        assert replace(after, queries=before.queries) == before


def test_shuffled_text_falls_back_to_other_objects_of_the_class() -> None:
    """With a single class each query gets words that were written for another object."""
    changed = shuffled_text(SPECS[:2])
    for before, after in zip(SPECS[:2], changed, strict=True):
        for old, new in zip(before.queries, after.queries, strict=True):
            assert new.expression != old.expression
    only = replace(SPECS[0], queries=SPECS[0].queries[:1])
    with pytest.raises(ValueError, match="shuffled_text needs"):
        shuffled_text([only])


@given(st.lists(st.integers(0, 4), max_size=20), st.integers(0, 5))
def test_derangement_moves_everything_or_is_impossible(kinds: list[int], seed: int) -> None:
    found = derangement(kinds, seed)
    if found is None:
        assert not kinds or 2 * max(Counter(kinds).values()) > len(kinds)
        return
    assert sorted(found) == list(range(len(kinds)))
    assert all(kinds[j] != kinds[i] for i, j in enumerate(found))


def test_no_support_keeps_shapes() -> None:
    clip = MemorySource().read(SPECS[0].supports[0])
    empty = no_support(clip)
    assert not empty.frames.any() and not empty.masks.any() and not empty.valid.any() and not empty.boxes.any()
    assert empty.frames.shape == clip.frames.shape and empty.masks.shape == clip.masks.shape
    assert (empty.video, empty.expression) == (clip.video, "object")
    assert clip.masks.any()


def test_probes_go_where_they_belong() -> None:
    clip = MemorySource().read(SPECS[0].supports[0])
    assert probe_specs(SPECS, "", MemorySource()) == SPECS and probe_specs(SPECS, "no_support", MemorySource()) == SPECS
    assert probe_supports([clip], "wrong_support") == (clip,)
    assert not probe_supports([clip], "no_support")[0].frames.any()
    with pytest.raises(ValueError, match="unknown probe 'wrong'.*wrong_support"):
        probe_specs(SPECS, "wrong", MemorySource())
    with pytest.raises(ValueError, match="has no masks"):
        no_support(clip.with_masks(None))
    assert torch.equal(clip.frames, MemorySource().read(SPECS[0].supports[0]).frames)

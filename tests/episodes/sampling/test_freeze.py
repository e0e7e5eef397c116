"""`freeze` and `draw`: episode lists from plain arguments."""

from __future__ import annotations

from pathlib import Path

import pytest

from episodes.catalogue import folds_of
from episodes.sampling.cma_official import cma_test_episodes
from episodes.sampling.freeze import Drawing, draw, freeze
from episodes.sampling.images import ImageEpisodes
from episodes.sampling.manifest import read_header, read_manifest
from episodes.sampling.videos import TrainEpisodes, test_episodes
from episodes.sources import MiniRefSource, Source
from tests.episodes.image_tree import MemoryImages

YTVOS = folds_of("mini_ref_ytvos")


def test_a_list_is_drawn_as_the_samplers_draw(tiny: MiniRefSource, world: Source) -> None:
    expected = test_episodes(tiny, YTVOS, 1, shots=1, seed=0, support_frames=5)
    assert draw(tiny, Drawing()) == expected, "group 1 and five frames are the default"
    official = cma_test_episodes(tiny, YTVOS, 2, seed=4, support_frames=5)
    assert draw(tiny, Drawing(2, seed=4, queries="cma")) == official
    episodes = TrainEpisodes(world, folds_of("synthetic"), 2, "val", shots=1, seed=3, query_frames=2, support_frames=4)
    assert draw(world, Drawing(2, "val", seed=3, count=4, support_frames=4)) == [episodes[i] for i in range(4)]


def test_a_list_of_images() -> None:
    images = MemoryImages({f"{split}{k}": {1: 9, 2: 9} for split in "at" for k in range(8)})
    specs = draw(images, Drawing(group=1, split="train", count=3, drop_novel=False))
    episodes = ImageEpisodes(images, images.folds, 1, "train", shots=1, seed=0)
    assert specs == [episodes[i] for i in range(3)]
    complete = Drawing().of(images)
    assert (complete.group, complete.queries, complete.min_area, complete.drop_novel) == (0, "list", 0, False)
    assert complete.query_frames is None and complete.of(images) == complete


def test_what_does_not_concern_a_benchmark_is_refused(tiny: MiniRefSource) -> None:
    with pytest.raises(ValueError, match="min_area is for benchmarks of images, and mini_ref_ytvos is not one"):
        draw(tiny, Drawing(min_area=0))
    with pytest.raises(ValueError, match="queries of videos must be one of clean, cma, got 'list'"):
        draw(tiny, Drawing(queries="list"))
    with pytest.raises(ValueError, match="support_frames is for benchmarks of videos, and pascal5i is not one"):
        draw(MemoryImages({"a": {1: 4}}), Drawing(support_frames=2))
    with pytest.raises(ValueError, match="draws is for split=test, not for split=train: leave it out"):
        draw(MemoryImages({"a": {1: 4}}), Drawing(split="train", count=1, draws="stream"))
    with pytest.raises(ValueError, match="split=train is endless: say how many episodes"):
        draw(tiny, Drawing(split="train"))


def test_freezing_opens_draws_and_writes(tiny: MiniRefSource, tmp_path: Path) -> None:
    drawing = Drawing(group=4, shots=2, seed=1)
    specs = freeze(tmp_path / "list.jsonl", "mini_ref_ytvos", drawing, root=tiny.root)
    assert specs == draw(tiny, drawing) == read_manifest(tmp_path / "list.jsonl", tiny)
    assert read_header(tmp_path / "list.jsonl")["arguments"] == {
        **{"benchmark": "mini_ref_ytvos", "group": 4, "split": "test", "shots": 2, "seed": 1, "count": None},
        **{"query_frames": 5, "support_frames": 5, "queries": None, "min_area": None, "drop_novel": None},
        **{"supports": None, "draws": None},
        **{"world_seed": 0, "world_videos": 24},
    }

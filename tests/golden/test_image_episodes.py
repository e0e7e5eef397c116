"""Test episodes of images as HSNet and PFENet draw them: recorded rows of the released programs, without any mask."""

from __future__ import annotations

import gzip
import json
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import pytest

from episodes.episode import EpisodeSpec
from episodes.sampling.freeze import Drawing, draw
from episodes.sampling.lists import read_lists
from episodes.sources.areas import MaskCounts
from fewshot.cli.runs import MetaTestConfig
from fewshot.config.sections import BenchmarkConfig, DataConfig
from fewshot.evaluation.benchmark import open_benchmark
from tests.episodes.image_tree import MemoryImages
from tests.golden.values import read_json
from tests.shared import require_shared, shared_cases

FOLDER = "golden", "protocols"


class AreaImages(MemoryImages):
    """The validation images of VOC 2012, of whose masks only the pixel counts are known."""

    def __init__(self, areas: dict[str, dict[str, int]]) -> None:
        super().__init__({image: {int(c): n for c, n in found.items()} for image, found in areas.items()})

    @cached_property
    def counts(self) -> dict[str, MaskCounts]:
        return {image: MaskCounts((1, 1), dict(found)) for image, found in self.shows.items()}

    def in_split(self, image: str, split: str) -> bool:
        return split == "test"


@cache
def voc() -> AreaImages:
    """The images, read once."""
    with gzip.open(require_shared(*FOLDER, "voc_val_areas.json.gz"), "rt", encoding="utf-8") as file:
        return AreaImages(json.load(file))


def cases(protocol: str) -> list:
    """The recorded folds of a protocol; a fold that is added to the folder is a further case."""
    return shared_cases(*FOLDER, marker="golden", want=lambda path: path.name.startswith(f"{protocol}_fold"))


def fold_of(case: Path) -> int:
    """The fold in the name of a case."""
    return int(case.stem.rpartition("fold")[2])


def episodes_of(protocol: str, fold: int, shots: int, seed: int, draws: str = "stream", lists: str | None = None):
    """The test episodes of PASCAL-5i, as `python -m fewshot.meta_test` draws them."""
    config = MetaTestConfig(
        group=fold,
        shots=shots,
        seed=seed,
        benchmark=BenchmarkConfig(name="pascal5i", protocol=protocol, draws=draws),
        data=DataConfig(lists=lists),
    )
    return open_benchmark(config, voc()).drawn(fold, seed, None)


def rows(specs: list[EpisodeSpec]) -> list[Any]:
    """Query, class and supports of each episode, as they were recorded."""
    return [[s.queries[0].video, s.class_id, [clip.video for clip in s.supports]] for s in specs]


@pytest.mark.parametrize("case", cases("hsnet"))
@pytest.mark.parametrize("shots", [1, 5])
def test_hsnet_draws_the_recorded_episodes(case: Path, shots: int) -> None:
    require_shared(*FOLDER)
    expected, fold = read_json(case), fold_of(case)
    lists = str(require_shared("data", "lists", "hsnet"))
    pools = {int(c): tuple(images) for c, images in expected["pools"].items() if images}
    assert read_lists(lists, "pascal5i", fold, "test") == pools
    assert sum(map(len, pools.values())) == expected["pairs"]
    specs = episodes_of("hsnet", fold, shots, 0, lists=lists)
    assert rows(specs) == expected[f"shots_{shots}"]
    frozen = Drawing(
        group=fold, shots=shots, count=1000, queries="list", supports="repeats", draws="stream", lists=lists
    )
    assert draw(voc(), frozen) == specs


@pytest.mark.parametrize("case", cases("pfenet"))
@pytest.mark.parametrize("shots", [1, 5])
def test_pfenet_draws_the_recorded_episodes(case: Path, shots: int) -> None:
    require_shared(*FOLDER)
    expected, fold = read_json(case)[f"shots_{shots}_seed321"], fold_of(case)
    specs = episodes_of("pfenet", fold, shots, 321)
    assert len(specs) == 5001 and rows(specs[: len(expected)]) == expected
    frozen = Drawing(group=fold, shots=shots, seed=321, count=600, queries="images", draws="stream", min_area=2048)
    assert draw(voc(), frozen) == specs[:600]


@pytest.mark.golden
@pytest.mark.parametrize("fold", range(4))
@pytest.mark.parametrize(("protocol", "seed"), [("hsnet", 0), ("pfenet", 321)])
def test_the_lists_that_come_with_the_package_are_those_of_the_streams(protocol: str, seed: int, fold: int) -> None:
    lists = str(require_shared("data", "lists", "hsnet")) if protocol == "hsnet" else None
    for shots in (1, 5):
        assert episodes_of(protocol, fold, shots, seed, "official") == episodes_of(
            protocol, fold, shots, seed, "stream", lists
        )


@pytest.mark.golden
@pytest.mark.parametrize(("fold", "pairs"), list(enumerate((365, 467, 734, 357))))
def test_without_lists_hsnet_tests_nearly_as_many_pairs_as_its_lists_have(fold: int, pairs: int) -> None:
    listed = read_lists(require_shared("data", "lists", "hsnet"), "pascal5i", fold, "test")
    asked = {(s.queries[0].video, s.class_id) for s in episodes_of("hsnet", fold, 1, 0, draws="indexed")}
    assert len(asked) == pairs and abs(pairs - sum(map(len, listed.values()))) <= 25


@pytest.mark.golden
@pytest.mark.parametrize("protocol", ["pfenet", "bam"])
def test_queries_are_images_with_a_class_of_theirs_however_small(protocol: str) -> None:
    specs = episodes_of(protocol, 1, 1, 510, draws="indexed")
    assert len(specs) == {"pfenet": 5001, "bam": 1000}[protocol]
    images = sorted({s.queries[0].video for s in specs})
    assert len(images) == 445, "with a class of at least 2048 pixels"
    assert [s.queries[0].video for s in specs[:1000]] == (3 * images)[:1000]
    assert all(0 < voc().area(s.queries[0].video, s.class_id) for s in specs)
    assert any(voc().area(s.queries[0].video, s.class_id) < 2048 for s in specs)
    assert all(voc().area(clip.video, s.class_id) >= 2048 for s in specs for clip in s.supports)

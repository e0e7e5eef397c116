"""Official test lists that come with the package."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable

import pytest

from episodes.episode import EpisodeSpec
from episodes.sampling.images import image_test_episodes
from episodes.sampling.official import FOLDER, OfficialList, official_list, pack
from fewshot.cli.checks import check_draws_of
from fewshot.evaluation.benchmark import open_benchmark
from fewshot.evaluation.report import places
from tests.episodes.image_tree import MemoryImages
from tests.fewshot.evaluation.oracle import settings

HSNET, PFENET = ("list", "repeats"), ("images", "distinct")


class VOC(MemoryImages):
    """Every image of a list, which shows the classes that are asked of it."""

    def __init__(self, official: OfficialList, without: str = "") -> None:
        shows: dict[str, dict[int, int]] = {}
        for class_id, pool in official.pools.items():
            for image in pool:
                shows.setdefault(image, {})[class_id] = 2048
        for group, of_group in official.episodes.items():
            for shots in of_group:
                for draw in official.draws(group, shots):
                    shows[draw.query].setdefault(draw.class_id, 1)
        super().__init__({name: areas for name, areas in shows.items() if name != without})
        self.name = "pascal5i"

    def in_split(self, image: str, split: str) -> bool:
        return split == "test"


def episodes(source: MemoryImages, kind: tuple[str, str], shots: int = 1, **changed) -> list[EpisodeSpec]:
    options = {"seed": 0, "count": 1000, "draws": "official", **changed}
    queries, supports = kind
    return image_test_episodes(source, source.folds, 1, shots=shots, queries=queries, supports=supports, **options)


@pytest.mark.parametrize(
    ("name", "digest"),
    [
        ("hsnet_pascal5i", "4e3e2a9a6c74e903a251c7fafe05718172d5e1168e313df30eb9efa67c380d34"),
        ("pfenet_pascal5i", "54d568aaf0b6853f6b122799179ee94ca23e28ecb4f2468ffdc52c5133ce0b49"),
    ],
)
def test_the_lists_stay_as_they_are(name: str, digest: str) -> None:
    path = FOLDER / f"{name}.json.gz"
    assert hashlib.sha256(gzip.decompress(path.read_bytes())).hexdigest() == digest
    assert path.stat().st_size < 170_000


def test_the_episodes_of_a_list_are_its_rows() -> None:
    official = official_list("pascal5i", *HSNET, 0)
    source = VOC(official)
    for shots in (1, 5):
        specs = episodes(source, HSNET, shots)
        assert len(specs) == 1000 and {spec.shots for spec in specs} == {shots}
        assert all(spec.queries[0].video not in {clip.video for clip in spec.supports} for spec in specs)
    drawn = episodes(source, HSNET, draws="stream", images={c: p for c, p in official.pools.items()})
    assert episodes(source, HSNET) == drawn, "the stream over the lists of HSNet gives them too"
    assert episodes(source, HSNET, count=7) == drawn[:7]
    many = official_list("pascal5i", *PFENET, 321)
    assert len(episodes(VOC(many), PFENET, 5, seed=321, count=5001)) == 5001


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda s: episodes(s, HSNET, seed=1), "hsnet_pascal5i.json.gz is the list of seed=0, not of 1: of other"),
        (lambda s: episodes(s, HSNET, 3), "has group 1 with 1, 5 shots, not with 3: take draws=stream"),
        (lambda s: episodes(s, HSNET, count=1001), "has 1000 episodes of a fold, not 1001"),
        (lambda s: episodes(s, HSNET, images={6: ("a",)}), "takes the images of hsnet_pascal5i.*leave data.lists away"),
        (lambda s: episodes(s, ("uniform", "repeats")), "draws=official is known of HSNet on PASCAL-5i"),
    ],
)
def test_what_a_list_does_not_have_is_said(call: Callable, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call(VOC(official_list("pascal5i", *HSNET, 0)))


def test_other_data_are_refused() -> None:
    official = official_list("pascal5i", *HSNET, 0)
    query = official.draws(1, 1)[3]
    with pytest.raises(ValueError, match=f"the lists name 1 images that pascal5i in .*{query.query}"):
        episodes(VOC(official, without=query.query), HSNET)
    other = VOC(many := official_list("pascal5i", *PFENET, 321))
    small = next(d for d in many.draws(1, 1) if d.query not in many.pools[d.class_id])
    del other.shows[small.query][small.class_id]
    with pytest.raises(ValueError, match=f"do not show their class .*{small.query}: class {small.class_id}"):
        episodes(other, PFENET, seed=321, count=5001)


def test_a_test_takes_the_seed_of_the_list_and_the_card_its_name() -> None:
    config = settings()
    config.benchmark.name, config.benchmark.protocol, config.benchmark.draws = "pascal5i", "hsnet", "official"
    config.group, config.seed = 1, 7
    check_draws_of(config)
    benchmark = open_benchmark(config, VOC(official_list("pascal5i", *HSNET, 0)))
    assert [s.seed for s in benchmark.validation("test")[:1]] == [0], "also where a checkpoint is chosen on the test"
    assert benchmark.seeds == (0,) and benchmark.tests(1)[0] == episodes(benchmark.source, HSNET)
    card = benchmark.card(shots=1, **places(config))
    assert "frozen in hsnet_pascal5i.json.gz, all of them" in card and "of the lists hsnet_pascal5i.json.gz" in card


@pytest.mark.parametrize(
    ("protocol", "name", "message"),
    [
        ("bam", "pascal5i", "is the list of seed=321, not of 510: of other seeds take draws=stream"),
        ("pfenet", "coco20i", "no official list of coco20i with queries=images.*draws were not recorded"),
        ("hsnet", "fss1000", "is known of HSNet on PASCAL-5i"),
    ],
)
def test_programs_of_which_no_draws_are_known_are_refused_at_once(protocol: str, name: str, message: str) -> None:
    config = settings()
    config.benchmark.name, config.benchmark.protocol, config.benchmark.draws = name, protocol, "official"
    with pytest.raises(ValueError, match=message):
        check_draws_of(config)
    config.benchmark.name, config.benchmark.protocol, config.test.seeds = "pascal5i", "hsnet", 3
    with pytest.raises(ValueError, match="test.seeds=3: benchmark.draws=official is one list"):
        check_draws_of(config)


def test_packed_lists_read_back(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("episodes.sampling.official.FOLDER", tmp_path)
    rows = [((2, "b"), ["c", "c"]), ((1, "c"), ["a", "b"])]
    (tmp_path / "hsnet_small.json.gz").write_bytes(pack(5, {1: ("a", "b", "c"), 2: ("b", "c")}, {3: {2: rows}}))
    found = official_list("small", *HSNET, 5)
    assert [((d.class_id, d.query), list(d.supports())) for d in found.draws(3, 2)] == rows
    with pytest.raises(ValueError, match="has group 0 with no shots"):
        found.draws(0, 1)

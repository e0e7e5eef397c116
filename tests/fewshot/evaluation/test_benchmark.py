"""`Benchmark`: what it is opened from, and which probes it has."""

from __future__ import annotations

import pytest

from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.config.sections import BenchmarkConfig
from fewshot.evaluation.benchmark import open_benchmark
from fewshot.evaluation.report import ways
from tests.episodes.image_tree import MemoryImages
from tests.episodes.memory import MemorySource
from tests.fewshot.evaluation.oracle import settings


def test_a_reader_without_folds_is_refused() -> None:
    source = MemorySource()
    del source.folds
    with pytest.raises(ValueError, match="benchmark memory: MemorySource has no `folds`"):
        open_benchmark(settings(), source)


def test_probes_are_asked_for_once_and_images_have_no_words_to_shuffle() -> None:
    config = settings(probes=["no_support", "shuffled_text", "no_support"])
    words = {"support", "expression"}
    assert open_benchmark(config, MemorySource()).probes(words) == ["", "no_support", "shuffled_text"]
    config.benchmark.protocol = "hsnet"
    assert open_benchmark(config, MemorySource()).probes(words) == ["", "no_support"]


def test_words_alone_are_a_probe_of_systems_that_read_words() -> None:
    benchmark = open_benchmark(settings(probes=["name_only", "no_support"]), MemorySource())
    assert benchmark.probes({"support", "expression"}) == ["", "name_only", "no_support"]
    assert benchmark.probes({"support"}) == ["", "no_support"]


def test_what_a_run_brings_limits_no_frozen_list() -> None:
    config = MetaTestConfig(group=1, benchmark=BenchmarkConfig(name="synthetic", test_episodes=4))
    assert open_benchmark(config, MemorySource()).limit == 4
    config.manifest = "list.jsonl"
    assert open_benchmark(config, MemorySource()).limit is None


@pytest.mark.parametrize(
    ("protocol", "size", "rule", "seeds"),
    [
        ("hsnet", None, "400x400", (0,)),
        ("pfenet", None, "long side 473", (321,)),
        ("bam", None, "long side 473", (510, 365, 382, 322, 988)),
        ("bam", 96, "long side 96", (510, 365, 382, 322, 988)),
    ],
)
def test_where_nothing_is_given_size_and_seeds_are_the_protocols_own(protocol, size, rule, seeds) -> None:
    config = settings(seeds=None)
    config.benchmark = BenchmarkConfig(name="pascal5i", protocol=protocol, test_size=size)
    images = MemoryImages({f"t{k}": {1 + k % 2: 2048} for k in range(8)})
    benchmark = open_benchmark(config, images)
    assert f"({rule})" in (card := benchmark.card(seeds=benchmark.seeds)) and "official" not in card
    assert benchmark.seeds == seeds == tuple(specs[0].seed for specs in benchmark.tests(0))
    config.test.seeds, config.seed = 2, 7
    assert benchmark.seeds == (7, 8)


@pytest.mark.parametrize("sampling", ["balanced", "pairs", "images"])
def test_training_draws_as_configured_and_validation_as_ever(sampling: str) -> None:
    config = MetaTrainConfig(group=0, benchmark=BenchmarkConfig(name="pascal5i", protocol="pfenet", sampling=sampling))
    images = MemoryImages({f"a{k:02d}": {6 + k % 2: 2048, 8: 2048} for k in range(30)})
    benchmark = open_benchmark(config, images)
    assert (benchmark.training().sampling, benchmark.training("val").sampling) == (sampling, "balanced")
    assert ways(config) == {"stream": False, "sampling": sampling} != ways(settings())


def test_an_open_source_is_read_by_training_and_test_unless_a_switch_says_otherwise() -> None:
    benchmark = open_benchmark(settings(), source := MemorySource())
    assert benchmark.source is benchmark.train_source is source and benchmark.folds is source.folds

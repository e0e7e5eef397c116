"""`Benchmark`: what it is opened from, and which probes it has."""

from __future__ import annotations

import pytest

from fewshot.evaluation.benchmark import open_benchmark
from tests.episodes.memory import MemorySource
from tests.fewshot.evaluation.oracle import settings


def test_a_reader_without_folds_is_refused() -> None:
    source = MemorySource()
    del source.folds
    with pytest.raises(ValueError, match="benchmark memory: MemorySource has no `folds`"):
        open_benchmark(settings(), source)


def test_probes_are_asked_for_once_and_images_have_no_words_to_shuffle() -> None:
    config = settings(probes=["no_support", "shuffled_text", "no_support"])
    assert open_benchmark(config, MemorySource()).probes() == ["", "no_support", "shuffled_text"]
    config.benchmark.protocol = "hsnet"
    assert open_benchmark(config, MemorySource()).probes() == ["", "no_support"]


def test_an_open_source_is_read_by_training_and_test_unless_a_switch_says_otherwise() -> None:
    benchmark = open_benchmark(settings(), source := MemorySource())
    assert benchmark.source is benchmark.train_source is source and benchmark.folds is source.folds

"""What given weights bring along to a test, and which tests they are refused for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from episodes.catalogue import folds_of
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig
from fewshot.config.sections import BenchmarkConfig
from fewshot.evaluation.given_weights import as_trained, check_held_out, filled, first_weights
from fewshot.evaluation.meta import trained_elsewhere
from fewshot.meta_test import PROGRAM
from fewshot.meta_test import run as meta_test
from fewshot.systems.cma.config import CMAConfig
from fewshot.weights.trained_on import read_trained_on
from tests.fewshot.inference.saved import BENCHMARK, CONFIGS, SYSTEM, write_run


def command(*overrides: str) -> Command:
    return Command(overrides, {"system": "cma_tiny", "benchmark": "synthetic", "logging": "wandb"})


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def test_a_run_brings_its_system_and_its_benchmark(run_folder: Path) -> None:
    config = MetaTestConfig(weights=str(run_folder), system=CMAConfig())
    config.benchmark = BenchmarkConfig(name="synthetic", test_size=64, test_episodes=7)
    tested, typed = as_trained(config, command("benchmark.test_episodes=7"))
    assert tested.system == SYSTEM
    assert tested.benchmark == replace(BENCHMARK, test_episodes=7)
    assert typed.options == {"logging": "wandb"}  # the defaults of the command line are not what is tested
    tested, typed = as_trained(config, command("benchmark=synthetic"))
    assert tested.benchmark == config.benchmark and "benchmark" in typed.options


def test_a_typed_system_must_be_that_of_the_weights(run_folder: Path, tmp_path: Path) -> None:
    config = MetaTestConfig(weights=str(run_folder), system=CMAConfig(backbone="tiny"))
    config.benchmark = replace(BENCHMARK)
    with pytest.raises(ValueError, match=r"name=prototype \(typed: cma\).*Leave system away"):
        as_trained(config, command("system=cma_tiny"))
    write_run(tmp_path / "words", settings=CONFIGS["cma"])
    config.weights = str(tmp_path / "words")
    config.system = replace(CONFIGS["cma"], text_weights="/here/roberta")
    tested, _ = as_trained(config, command("system=cma_tiny", "system.text_weights=/here/roberta"))
    assert tested.system == replace(CONFIGS["cma"], text_weights="/here/roberta")


def test_weights_are_not_tested_on_classes_they_were_trained_on(run_folder: Path, tmp_path: Path) -> None:
    config = MetaTestConfig(group=2, weights=str(run_folder), system=SYSTEM, benchmark=BENCHMARK)
    trained = read_trained_on(run_folder) or ()
    check_held_out("synthetic", 1, trained, "it")
    with pytest.raises(ValueError, match="has seen the classes of group 2. Test group=1, .*runs/name-g{group}"):
        check_held_out("synthetic", 2, trained, "it")
    with pytest.raises(ValueError, match="has seen the classes of group 2. Test group=1"):
        meta_test(config, command())


def test_models_of_coco_are_tested_on_the_same_group_of_pascal(tmp_path: Path) -> None:
    write_run(tmp_path / "run", group=3, benchmark=replace(BENCHMARK, name="coco20i", protocol="hsnet"))
    trained = read_trained_on(tmp_path / "run") or ()
    check_held_out("coco2pascal", 3, trained, "it")
    with pytest.raises(ValueError, match="has seen the classes of group 0. Test group=3"):
        check_held_out("coco2pascal", 0, trained, "it")


@pytest.mark.parametrize(
    ("benchmark", "group", "said"),
    [
        ("coco2pascal", 1, [""]),
        ("pascal5i", 2, ["; training classes there, so not held out: diningtable, dog, motorbike, person"]),
        ("coco20i", 1, []),
    ],
)
def test_weights_of_another_benchmark_are_told_with_the_classes_they_have_seen(
    tmp_path: Path, benchmark: str, group: int, said: list[str]
) -> None:
    write_run(tmp_path / "run", 1, BenchmarkConfig(name="coco20i", protocol="hsnet"))
    config = MetaTestConfig(weights=str(tmp_path / "run"), group=group)
    notes = trained_elsewhere(config, group, folds_of(benchmark))
    assert [note.partition("trained on coco20i with group 1 held out")[2] for note in notes] == said


def test_every_group_has_weights_of_its_own(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run-g1").symlink_to(run_folder)
    write_run(tmp_path / "run-g2", group=2)
    config = MetaTestConfig(group="all", weights=str(tmp_path / "run-g{group}"), system=SYSTEM, benchmark=BENCHMARK)
    assert first_weights(config) == tmp_path / "run-g1"  # there is no run-g0
    assert as_trained(config, command())[0].system == SYSTEM
    for group in (1, 2):
        check_held_out("synthetic", group, read_trained_on(filled(config.weights, group)) or (), "it")
    config.group = 3
    with pytest.raises(FileNotFoundError, match="run-g3"):
        as_trained(config, command())
    config.group = "all"
    with pytest.raises(FileNotFoundError, match="run-g3"):  # of the four groups of the benchmark
        meta_test(config, command())
    config.weights = str(tmp_path / "other-g{group}")
    with pytest.raises(FileNotFoundError, match=r"no weights at .*other-g\{group\}, whatever the group: group=all"):
        as_trained(config, command())


def test_a_frozen_list_is_tested_whole_and_a_limit_beside_it_is_refused() -> None:
    config = MetaTestConfig(manifest="list.jsonl", system=SYSTEM, benchmark=BENCHMARK)
    with pytest.raises(ValueError, match="manifest=list.jsonl is tested whole: leave benchmark.test_episodes away"):
        meta_test(config, command("manifest=list.jsonl", "benchmark.test_episodes=2"))


def test_a_system_that_needs_training_needs_weights() -> None:
    config = MetaTestConfig(system=CMAConfig(), benchmark=BENCHMARK)
    with pytest.raises(ValueError, match="system cma needs training: give weights="):
        as_trained(config, command())
    config.system = SYSTEM
    assert as_trained(config, command())[0] is config


def test_braces_are_filled_in_and_quoted_for_hydra() -> None:
    assert filled("runs/g{group}/x", 3) == Path("runs/g3/x")
    quoted = PROGRAM._quoted
    assert quoted("weights=runs/g{group}") == "weights='runs/g{group}'"
    for plain in ("weights=runs/g1", "weights='runs/g{group}'", "group=all", "--help", "name={group}"):
        assert quoted(plain) == plain

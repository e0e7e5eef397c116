"""Systems from their folders, and what the weights bring along to a test."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

import fewshot
from episodes.folds import FOLDS
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.config.sections import BenchmarkConfig, TrainConfig
from fewshot.inference.loading import stored_run, stored_system
from fewshot.meta_test import as_trained, check_held_out, filled, first_weights, quoted, run, trained_elsewhere
from fewshot.systems.config import SystemConfig
from fewshot.systems.registry import build_system
from fewshot.weights.checkpoint import FORMAT, CheckpointFolder, save_checkpoint

SYSTEM = SystemConfig(name="prototype", backbone="tiny", backbone_width=8)
BENCHMARK = BenchmarkConfig(name="invented", test_size=48, test_chunk=3, support_frames=2)


def write_run(folder: Path, group: int = 1, benchmark: BenchmarkConfig = BENCHMARK) -> torch.nn.Module:
    """A run folder with one checkpoint, as a training run leaves it; returns the system that is in it."""
    folder.mkdir(parents=True)
    config = MetaTrainConfig(group=group, system=SYSTEM, benchmark=benchmark, train=TrainConfig(steps=1))
    (folder / "config.yaml").write_text(yaml.safe_dump(asdict(config)))
    system = build_system(SYSTEM)
    checkpoints = CheckpointFolder(folder, keep=1)
    checkpoints.folder.mkdir()
    state = {"format": FORMAT, "system": "prototype", "step": 1, "model": system.state_dict()}
    save_checkpoint(checkpoints.best, state)
    return system


def command(*overrides: str) -> Command:
    return Command(overrides, {"system": "cma_tiny", "benchmark": "invented", "tracking": "wandb"})


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def test_load_gives_the_trained_weights_in_eval_mode(tmp_path: Path) -> None:
    expected = write_run(tmp_path / "run").state_dict()
    before = torch.random.get_rng_state()
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "best.pt"):
        system = fewshot.load(path)
        assert not system.training and system.name == "prototype"
        found = system.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_cannot_be_loaded_is_said(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at .*nowhere"):
        fewshot.load(tmp_path / "nowhere")
    (tmp_path / "alone.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="no configuration beside it"):
        fewshot.load(tmp_path / "alone.pt")
    (run_folder / "config.yaml").write_text("group: 1\nshoes: 2\n")
    with pytest.raises(ValueError, match="is not the configuration of a training run.*shoes"):
        stored_run(run_folder)


def test_the_public_names_are_there_and_no_others() -> None:
    assert set(fewshot.__all__) <= set(dir(fewshot))
    assert callable(fewshot.segment)
    with pytest.raises(AttributeError, match="no attribute 'sgement'"):
        _ = fewshot.sgement


def test_six_lines_from_a_run_to_a_picture(tmp_path: Path, run_folder: Path) -> None:
    episode = fewshot.example_episode(group=2, index=3, videos=2, cache=tmp_path)
    masks = fewshot.segment(fewshot.load(run_folder), episode)
    fewshot.save_episode_picture(tmp_path / "episode.png", episode, masks)
    assert (tmp_path / "episode.png").is_file()
    assert [m.shape for m in masks] == [(8, 64, 64)] * len(episode.queries)
    assert episode.spec.class_id % 4 == 2 and episode.spec.index == 3
    with pytest.raises(ValueError, match="group 2 has the test episodes 0 to"):
        fewshot.example_episode(group=2, index=999, videos=2, cache=tmp_path)


def test_a_run_brings_its_system_and_its_benchmark(run_folder: Path) -> None:
    config = MetaTestConfig(weights=str(run_folder), system=SystemConfig(name="cma"))
    config.benchmark = BenchmarkConfig(name="invented", test_size=64, test_episodes=7)
    tested, typed = as_trained(config, command("benchmark.test_episodes=7"))
    assert tested.system == SYSTEM
    assert tested.benchmark == replace(BENCHMARK, test_episodes=7)
    assert typed.options == {"tracking": "wandb"}  # the defaults of the command line are not what is tested
    tested, typed = as_trained(config, command("benchmark=invented"))
    assert tested.benchmark == config.benchmark and "benchmark" in typed.options


def test_a_typed_system_must_be_that_of_the_weights(run_folder: Path) -> None:
    config = MetaTestConfig(weights=str(run_folder), system=SystemConfig(name="cma", backbone="tiny"))
    config.benchmark = replace(BENCHMARK)
    with pytest.raises(ValueError, match=r"name=prototype \(typed: cma\).*Leave system away"):
        as_trained(config, command("system=cma_tiny"))
    config.system = replace(SYSTEM, text_weights="/here/roberta")
    tested, _ = as_trained(config, command("system=prototype", "system.text_weights=/here/roberta"))
    assert tested.system == replace(SYSTEM, text_weights="/here/roberta")


def test_weights_are_not_tested_on_classes_they_were_trained_on(run_folder: Path, tmp_path: Path) -> None:
    config = MetaTestConfig(group=2, weights=str(run_folder), system=SYSTEM, benchmark=BENCHMARK)
    check_held_out(config, 1, stored_run(run_folder))
    with pytest.raises(ValueError, match="has seen the classes of group 2. Test group=1"):
        check_held_out(config, 2, stored_run(run_folder))
    with pytest.raises(ValueError, match="has seen the classes of group 2. Test group=1"):
        run(config, command())
    check_held_out(config, 2, None)  # an official checkpoint tells nothing of its training


def test_models_of_coco_are_tested_on_the_same_group_of_pascal(tmp_path: Path) -> None:
    write_run(tmp_path / "run", group=3, benchmark=replace(BENCHMARK, name="coco20i", protocol="hsnet"))
    trained = stored_run(tmp_path / "run")
    shifted = MetaTestConfig(
        weights=str(tmp_path / "run"), system=SYSTEM, benchmark=replace(BENCHMARK, name="coco2pascal")
    )
    check_held_out(shifted, 3, trained)
    with pytest.raises(ValueError, match="has seen the classes of group 0. Test group=3"):
        check_held_out(shifted, 0, trained)


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
    notes = trained_elsewhere(config, group, FOLDS[benchmark])
    assert [note.partition("trained on coco20i with group 1 held out")[2] for note in notes] == said


def test_every_group_has_weights_of_its_own(run_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "run-g1").symlink_to(run_folder)
    write_run(tmp_path / "run-g2", group=2)
    config = MetaTestConfig(group="all", weights=str(tmp_path / "run-g{group}"), system=SYSTEM, benchmark=BENCHMARK)
    assert first_weights(config) == tmp_path / "run-g1"  # there is no run-g0
    assert as_trained(config, command())[0].system == SYSTEM
    for group in (1, 2):
        check_held_out(config, group, stored_run(filled(config.weights, group)))
    config.group = 3
    with pytest.raises(FileNotFoundError, match="run-g3"):
        as_trained(config, command())
    config.group = "all"
    with pytest.raises(FileNotFoundError, match="run-g3"):  # of the four groups of the benchmark
        run(config, command())


def test_a_system_that_needs_training_needs_weights() -> None:
    config = MetaTestConfig(system=SystemConfig(name="cma"), benchmark=BENCHMARK)
    with pytest.raises(ValueError, match="system cma needs training: give weights="):
        as_trained(config, command())
    config.system = SYSTEM
    assert as_trained(config, command())[0] is config


def test_the_configuration_of_a_checkpoint_in_a_run_is_found(run_folder: Path) -> None:
    assert stored_system(run_folder / "checkpoints" / "best.pt") == SYSTEM
    assert filled("runs/g{group}/x", 3) == Path("runs/g3/x")


def test_braces_are_quoted_for_hydra() -> None:
    assert quoted("weights=runs/g{group}") == "weights='runs/g{group}'"
    for plain in ("weights=runs/g1", "weights='runs/g{group}'", "group=all", "--help", "name={group}"):
        assert quoted(plain) == plain


def test_an_official_file_beside_a_foreign_config_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    (tmp_path / "checkpoint.pth").touch()
    assert stored_system(tmp_path / "checkpoint.pth") is None

"""Systems from their folders: what lies there, what is refused, and what a test takes of it."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
import torch
import yaml

import fewshot
from episodes.transforms.input_rule import InputRule
from fewshot.cli.errors import is_user_error
from fewshot.cli.runs import StageConfig
from fewshot.config.sections import TrainConfig
from fewshot.inference.loading import (
    converted_system,
    load_into,
    same_system,
    stored_rule,
    stored_run,
    stored_stage,
    stored_system,
)
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.registry import build_system
from fewshot.weights.checkpoint import CheckpointError
from tests.fewshot.inference.saved import BENCHMARK, CONFIGS, SYSTEM, tiny, write_run
from tests.fewshot.systems.own import write_module


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    write_run(tmp_path / "run")
    return tmp_path / "run"


def test_load_gives_the_trained_weights_in_eval_mode(tmp_path: Path) -> None:
    expected = write_run(tmp_path / "run").state_dict()
    before = torch.random.get_rng_state()
    for path in (tmp_path / "run", tmp_path / "run" / "checkpoints" / "best.pt"):
        model = fewshot.load(path)
        assert not model.system.training and model.name == "prototype" and model.settings == SYSTEM
        found = model.system.state_dict()
        assert all(torch.equal(found[name], tensor) for name, tensor in expected.items())
    assert torch.equal(torch.random.get_rng_state(), before)


def test_what_cannot_be_loaded_is_said(tmp_path: Path, run_folder: Path) -> None:
    with pytest.raises(FileNotFoundError, match="no weights at .*nowhere"):
        fewshot.load(tmp_path / "nowhere")
    (tmp_path / "alone.pt").write_bytes(b"")
    with pytest.raises(ValueError, match="no configuration beside it"):
        fewshot.load(tmp_path / "alone.pt")
    (run_folder / "config.yaml").write_text("group: 1\nsystem: {name: cma}\nshoes: 2\n")
    with pytest.raises(ValueError, match="is not the configuration of a training run.*shoes"):
        stored_run(run_folder)
    for system in ("", "system: {name: sgmg}\n", "system: {}\n"):
        (run_folder / "config.yaml").write_text(f"group: 1\n{system}")
        with pytest.raises(ValueError, match="config.yaml is not the configuration of a training run: "):
            stored_run(run_folder)


@pytest.mark.parametrize("text", ["a: !!python/object/apply:os.system [ls]\n", "a: [1\nb: 2", "- 1\n", "5\n", "\0", ""])
def test_a_configuration_that_is_no_plain_yaml_is_told_in_one_line(run_folder: Path, text: str) -> None:
    (run_folder / "config.yaml").write_text(text)
    with pytest.raises(ValueError, match="config.yaml is not the configuration of a training run: ") as told:
        stored_run(run_folder)
    assert "\n" not in str(told.value) and is_user_error(told.value)


def test_weights_of_another_system_are_not_loaded_into_this_one(run_folder: Path) -> None:
    settings = CONFIGS["cma"]
    with pytest.raises(CheckpointError, match="'prototype'.*'cma'"):
        load_into(build_system(settings), settings, run_folder)


def test_the_configuration_of_a_checkpoint_in_a_run_is_found(run_folder: Path) -> None:
    assert stored_system(run_folder / "checkpoints" / "best.pt") == SYSTEM
    run = stored_run(run_folder / "checkpoints" / "best.pt")
    assert run is not None and (run.group, run.benchmark) == (1, BENCHMARK) and stored_stage(run_folder) is None
    assert stored_rule(run_folder) == InputRule("short", 48)


def test_the_backbones_file_is_not_named_once_the_weights_are_there(tmp_path: Path) -> None:
    folder = tmp_path / "run"
    write_run(folder)
    content = yaml.safe_load((folder / "config.yaml").read_text())
    content["system"]["backbone_weights"] = "/gone/resnet.pth"
    (folder / "config.yaml").write_text(yaml.safe_dump(content))
    assert stored_system(folder) == SYSTEM
    assert fewshot.load(folder).settings == SYSTEM


def test_the_configuration_of_a_stage_is_found_and_leaves_the_input_rule_open(tmp_path: Path) -> None:
    write_run(tmp_path / "stage", settings=CONFIGS["uniref"])
    stage = StageConfig(stage="uniref_image", system=CONFIGS["uniref"], train=TrainConfig(steps=1))
    (tmp_path / "stage" / "config.yaml").write_text(yaml.safe_dump(asdict(stage)))
    assert stored_stage(tmp_path / "stage") == stage and stored_run(tmp_path / "stage") is None
    model = fewshot.load(tmp_path / "stage")
    assert (model.name, model.settings, model.rule) == ("uniref", CONFIGS["uniref"], InputRule("short", 480, 768))


def test_an_official_file_beside_a_foreign_config_stands_alone(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "roberta"}')
    (tmp_path / "checkpoint.pth").touch()
    assert stored_system(tmp_path / "checkpoint.pth") is None


def test_a_converted_folder_of_an_unknown_system_or_with_unknown_keys_is_refused(tmp_path: Path) -> None:
    tiny("prototype").save_pretrained(tmp_path)
    assert converted_system(tmp_path) == SYSTEM
    content = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**content, "config": {**content["config"], "wings": 2}}))
    with pytest.raises(CheckpointError, match="config.json has unknown keys: wings"):
        fewshot.load(tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({**content, "config": {"name": "blobs"}}))
    with pytest.raises(ValueError, match="unknown system 'blobs'"):
        fewshot.load(tmp_path)


def test_a_system_of_ones_own_comes_back_from_a_run_and_from_a_saved_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "code").mkdir()
    module = write_module(tmp_path / "code", monkeypatch)
    settings = __import__(module).BlobsConfig(name=f"{module}:Blobs", width=3)
    write_run(tmp_path / "run", settings=settings)
    model = fewshot.load(tmp_path / "run")
    assert (model.name, model.settings, model.rule) == ("blobs", settings, InputRule("short", 48))
    model.save_pretrained(tmp_path / "saved")
    again = fewshot.load(tmp_path / "saved")
    assert again.settings == settings and again.system.weight.shape == (3,)


def test_stored_settings_have_the_places_of_this_machine() -> None:
    stored = replace(CONFIGS["cma"], text_weights="/there/roberta", backbone_weights=None)
    typed = replace(stored, text_weights="/here/roberta")
    assert same_system(typed, stored, {"system", "system.text_weights"}, "w") == typed
    assert same_system(CMAConfig(), stored, set(), "w") == stored  # nothing was typed: the defaults do not count
    with pytest.raises(
        ValueError, match=r"weights=w bring their own system.*heads=4 \(typed: 8\).*Leave system.heads away"
    ):
        same_system(replace(stored, heads=8), stored, {"system.heads", "group"}, "w")

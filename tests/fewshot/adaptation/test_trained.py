"""Training through the steps of an adaptation: killed and resumed, in two processes, and tested as it was trained."""

from __future__ import annotations

import json
import signal
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

import fewshot
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig
from fewshot.config.sections import AdaptationConfig
from fewshot.evaluation.given_weights import as_trained
from fewshot.inference.loading import stored_run
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.weights.checkpoint import CheckpointError
from tests.fewshot.inference.saved import BENCHMARK, write_run
from tests.fewshot.training.runs import assert_same_run, program, run, weights
from tests.fewshot.training.tiny_system import Rows, train
from tests.learn2learn import require_learn2learn

METASGD: dict[str, Any] = {"name": "metasgd", "parts": ["all"], "rates": [0.1], "steps": 2, "second_order": True}
SETTINGS = {"adaptation": METASGD}
TRAINED = AdaptationConfig("anil", ["head"], 3, [0.5])


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    require_learn2learn()
    torch.set_num_threads(1)


def test_killed_and_resumed_is_bit_identical_with_its_learnt_rates(tmp_path: Path) -> None:
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole", adaptation=METASGD)
    given = ("--settings", json.dumps(SETTINGS))
    killed = run(program(tmp_path / "broken", *given, "--episodes", json.dumps({"stop_at": 4 * 10 + 1})))
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    resumed = run(program(tmp_path / "broken", *given, "--resume"))
    assert resumed.returncode == 0, resumed.stderr
    assert_same_run(tmp_path / "whole", tmp_path / "broken", 12)
    rates = weights(tmp_path / "whole", 12)["adaptation.rates"]
    assert (rates != 0.1).sum() >= 4, rates


def test_two_processes_are_one(tmp_path: Path) -> None:
    """Each with one of the two micro-batches of a step, as torchrun starts them."""
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2"]
    given = ("--settings", json.dumps({**SETTINGS, "accumulate": 1}))
    two = run([*launch, *program(tmp_path / "two", *given)[1:]])
    assert two.returncode == 0, two.stderr
    (tmp_path / "one").mkdir()
    train(tmp_path / "one", adaptation=METASGD)
    ours, theirs = Rows(tmp_path / "one" / "rows.jsonl").losses(), Rows(tmp_path / "two" / "rows.jsonl").losses()
    assert [step for step, _ in ours] == [step for step, _ in theirs]
    for (_, one), (_, other) in zip(ours, theirs, strict=True):
        assert one == pytest.approx(other, rel=1e-5)
    for name, tensor in weights(tmp_path / "one", 12).items():
        torch.testing.assert_close(tensor, weights(tmp_path / "two", 12)[name], rtol=1e-4, atol=1e-6)


def test_other_adaptation_is_no_continuation(tmp_path: Path) -> None:
    train(tmp_path, adaptation=METASGD)
    with pytest.raises((CheckpointError, RuntimeError, ValueError), match="adaptation|tensor"):
        train(tmp_path, resume=True, steps=14)


@pytest.fixture
def run_folder(tmp_path: Path) -> Path:
    """A run that was trained to adapt."""
    folder = tmp_path / "run"
    write_run(folder, settings=PrototypeConfig(backbone="tiny", backbone_width=8, freeze_backbone=False))
    stored = yaml.safe_load((folder / "config.yaml").read_text())
    stored["adaptation"] = asdict(TRAINED)
    (folder / "config.yaml").write_text(yaml.safe_dump(stored))
    return folder


def adaptation_of_test(folder: Path, *typed: str, **changes: Any) -> AdaptationConfig:
    """The adaptation of a test of these weights, where `changes` were typed."""
    found = stored_run(folder)
    assert found is not None
    config = MetaTestConfig(weights=str(folder), system=PrototypeConfig(), benchmark=found.benchmark)
    config.adaptation = replace(config.adaptation, **changes)
    command = Command(typed, {"system": "prototype", "benchmark": "synthetic", "logging": "wandb"})
    return as_trained(config, command)[0].adaptation


def test_a_test_adapts_as_the_weights_were_trained_to_unless_it_is_told_otherwise(run_folder: Path) -> None:
    assert adaptation_of_test(run_folder) == TRAINED
    assert adaptation_of_test(run_folder, "adaptation.steps=7", steps=7) == replace(TRAINED, steps=7)
    assert adaptation_of_test(run_folder, "adaptation=none") == AdaptationConfig()
    assert adaptation_of_test(run_folder, "adaptation=linear_probe", name="linear_probe") == AdaptationConfig(
        "linear_probe"
    )


def test_a_saved_model_is_tested_as_it_was_trained_too(run_folder: Path, tmp_path: Path) -> None:
    fewshot.load(run_folder).save_pretrained(tmp_path / "saved")
    config = MetaTestConfig(weights=str(tmp_path / "saved"), system=PrototypeConfig(), benchmark=BENCHMARK)
    assert as_trained(config, Command((), {"system": "prototype"}))[0].adaptation == TRAINED

"""`--help`: every key with its meaning and its value, every option of a group, of the chosen system."""

from __future__ import annotations

import sys
from importlib import import_module
from pathlib import Path

import pytest

import experiments
from fewshot.cli.runs import MetaTrainConfig
from fewshot.config.keys import schema_keys
from fewshot.systems.registry import systems

PROGRAMS = ("meta_train", "meta_test", "task_test", "train_stage", "predict", "convert")
FOLDER = Path(experiments.__file__).parent


def test_help_names_every_key_and_three_examples(call):
    code, out, _, calls = call("--help", "shots=3")
    assert code == 0
    assert calls == []
    for key in schema_keys(MetaTrainConfig, types={"system": systems()["uniref"].config}):
        assert f"{key.name}=" in out
        assert key.meaning.split()[0] in out
    assert out.count("python -m fewshot.meta_train ") == 4  # usage and three examples
    assert "fewshot meta_train [key=value ...]" in out
    assert "shots=3" in out
    assert "evaluation fold" in out
    for group in ("benchmark", "train", "optim", "logging"):
        options = sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))
        assert f"  {group}={' | '.join(options)}\n" in out
    options = sorted({*systems(), *(path.stem for path in (FOLDER / "system").glob("*.yaml"))})
    assert f"  system={' | '.join(options)}\n" in out


def test_help_shows_the_keys_of_the_chosen_system_alone(call):
    for system, own, foreign in (
        ("prototype", "backbone", "num_queries"),
        ("uniref_tiny", "value_encoder", "variant"),
        ("cma_tiny", "train_affinity", "value_encoder"),
    ):
        code, out, err, _ = call(f"system={system}", "--help")
        assert code == 0, err
        assert f"system.{own}=" in out and f"system.{foreign}=" not in out


def test_help_with_a_wrong_override_says_so(call):
    code, _, err, _ = call("--help", "optim.lr=abc")
    assert code == 1
    assert "optim.lr=abc" in err and "Traceback" not in err


@pytest.mark.parametrize("name", PROGRAMS)
def test_every_program_helps(name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture) -> None:
    program = import_module(f"fewshot.{name}").PROGRAM
    monkeypatch.setattr(sys, "argv", [name, "--help"])
    program.main()
    out, err = capsys.readouterr()
    assert err == ""
    assert program.name == name and f"\nUsage: python -m fewshot.{name} " in out
    assert all(arguments.split()[0] in out and what in out for arguments, what in program.examples)
    for key in schema_keys(program.schema):
        if not key.name.startswith("system."):
            assert f"\n  {key.name}=" in out

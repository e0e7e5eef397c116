"""Every YAML file under `experiments/` composes, and what a sweep agent would type starts the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import experiments
from fewshot.cli import checked, register_schemas
from fewshot.config import MetaTrainConfig
from fewshot.help import composed
from fewshot.keys import schema_keys

FOLDER = Path(experiments.__file__).parent
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))
OPTIONS = [
    f"{path.parent.name}={path.stem}"
    for name in ("benchmark", "optim", "recipe", "system", "tracking")
    for path in sorted((FOLDER / name).glob("*.yaml"))
]


@pytest.fixture(autouse=True)
def schemas():
    register_schemas()


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_gives_a_valid_configuration(option):
    extra = ["data.root=somewhere"] if "mini_ref" in option else []
    if option == "benchmark=mini_ref_sailvos":
        checked(composed("meta_test", [option, *extra]))  # it only tests
    else:
        checked(composed("meta_train", [option, *extra]))


@pytest.mark.parametrize("name", ["meta_train", "meta_test"])
def test_the_defaults_are_valid_and_every_value_of_the_program_is_written_down(name):
    config = composed(name, [])
    checked(config)
    for path in FOLDER.glob("*.yaml"):
        for section in ("data", "test"):
            if path.stem == name:
                assert set(OmegaConf.load(path)[section]) == set(config[section]), section
    if name == "meta_train":
        for benchmark in ("invented", "mini_ref_ytvos"):
            assert set(OmegaConf.load(FOLDER / "train" / f"{benchmark}.yaml")) == set(config["train"]), benchmark


def expanded(command: list[str], values: dict) -> list[str]:
    """The command line as W&B's agent builds it: its own functions for the macros, then its replacement."""
    utils = pytest.importorskip("wandb.sdk.launch.sweeps.utils")
    macros = utils.create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": [sys.executable]}
    typed: list[str] = []
    for part in map(str, utils.create_sweep_command(list(command))):
        typed += macros[part[2:-1]] if part.startswith("${") else [part]
    return typed


def drawn(parameters: dict) -> dict:
    """One value of each parameter of a sweep."""
    return {
        name: spec["value"] if "value" in spec else spec["values"][-1] if "values" in spec else spec["min"]
        for name, spec in parameters.items()
    }


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_command_of_a_sweep_agent_starts_the_program(path, tmp_path):
    sweep = yaml.safe_load(path.read_text())
    values = drawn(sweep["parameters"])
    command = expanded(sweep["command"], values)
    assert f"group={values['group']}" in command
    done = subprocess.run([*command, "--cfg", "job"], capture_output=True, text=True, cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    config = OmegaConf.create(done.stdout)
    for name, value in values.items():
        assert OmegaConf.select(config, name) == pytest.approx(value), name


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_optimises_what_the_program_returns_over_keys_that_exist(path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep["metric"] == {"name": "optimized_metric", "goal": "maximize"}
    assert set(sweep["parameters"]) <= {key.name for key in schema_keys(MetaTrainConfig)}
    assert "program" not in sweep


def test_the_folds_sweep_covers_the_folds():
    from episodes.folds import FOLDS

    sweep = yaml.safe_load((FOLDER / "sweeps" / "folds.yaml").read_text())
    assert tuple(sweep["parameters"]["group"]["values"]) == FOLDS["invented"].groups

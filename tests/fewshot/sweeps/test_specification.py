"""Files of sweeps: read as W&B reads them, and refused in one line where they cannot be run as written."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from optuna.distributions import CategoricalDistribution, FloatDistribution, IntDistribution
from optuna.pruners import NopPruner, SuccessiveHalvingPruner

import experiments
from fewshot.sweeps.space import cells, distribution, pruner, sampler, space_of
from fewshot.sweeps.specification import read_sweep
from fewshot.sweeps.trial import command_of
from tests.fewshot.sweeps.studies import write

SWEEPS = sorted((Path(experiments.__file__).parent / "sweeps").glob("*.yaml"))


@pytest.mark.parametrize(
    ("spec", "expected"),
    [
        ({"values": [1, 2.5, "a", True]}, CategoricalDistribution([1, 2.5, "a", True])),
        ({"values": [[1, 2], [3]]}, CategoricalDistribution(["[1, 2]", "[3]"])),
        ({"min": 1, "max": 4}, IntDistribution(1, 4)),
        ({"distribution": "int_uniform", "min": 1, "max": 4}, IntDistribution(1, 4)),
        ({"min": 0, "max": 1.5}, FloatDistribution(0, 1.5)),
        ({"distribution": "uniform", "min": 1, "max": 4}, FloatDistribution(1, 4)),
        ({"distribution": "log_uniform_values", "min": 1e-4, "max": 0.1}, FloatDistribution(1e-4, 0.1, log=True)),
        ({"distribution": "log_uniform", "min": 0, "max": 0}, FloatDistribution(1.0, 1.0, log=True)),
        ({"distribution": "q_uniform", "min": 0.0, "max": 1.1, "q": 0.25}, FloatDistribution(0.0, 1.0, step=0.25)),
        ({"min": 8, "max": 30, "q": 8}, IntDistribution(8, 24, step=8)),
    ],
)
def test_parameters_are_drawn_as_wandb_draws_them(spec: dict[str, Any], expected: object) -> None:
    assert distribution(spec, "here") == expected


@pytest.mark.parametrize(
    ("spec", "said"),
    [
        ({}, "here: give value, values, or min and max"),
        ({"min": 1}, "give value, values, or min and max"),
        ({"parameters": {"lr": {"value": 1}}}, "here is nested: write its keys with dots, such as optim.lr"),
        ({"vals": [1]}, "unknown key 'vals'. Did you mean 'values'?"),
        ({"values": []}, "give values as a list"),
        ({"values": [1, 1]}, "holds one of them twice"),
        ({"values": [1, None]}, 'write "null" in quotes'),
        ({"distribution": "normal", "mu": 0, "sigma": 1}, "unknown key 'mu'"),
        ({"distribution": "normal", "min": 0, "max": 1}, "distribution=normal is not one of Optuna's: valid are"),
        ({"min": "1e-4", "max": 1}, "'1e-4' is text to YAML: write numbers with a point, such as 1.0e-4"),
        ({"min": 2, "max": 1}, "min=2 is more than max=1"),
        ({"distribution": "log_uniform_values", "min": 0, "max": 1}, "min=0: a logarithm takes numbers above 0"),
        ({"distribution": "q_uniform", "min": 0, "max": 1, "q": 0}, "q=0: give a number above 0"),
        ({"distribution": "uniform", "min": 0, "max": 1, "q": 1}, "q belongs to distribution: q_uniform"),
        ({"distribution": "int_uniform", "min": 0.5, "max": 1}, "int_uniform takes whole numbers"),
        ({"distribution": "uniform", "min": 0, "max": float("inf")}, "give a finite number"),
    ],
)
def test_parameters_that_cannot_be_drawn_are_refused(spec: dict[str, Any], said: str) -> None:
    with pytest.raises(ValueError, match=f"here.*{re.escape(said.removeprefix('here'))}"):
        distribution(spec, "here")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"methd": "grid"}, "unknown key 'methd'. Did you mean 'method'?"),
        ({"method": "hyper"}, "method=hyper: valid are grid, random, bayes"),
        ({"controller": {"type": "local"}}, "controller is W&B's own and has no effect here"),
        ({"metric": {"name": "J", "gaol": "maximize"}}, "metric: unknown key 'gaol'. Did you mean 'goal'?"),
        ({"metric": {"name": "J"}}, "metric.goal=None: valid are maximize, minimize"),
        ({"command": "python"}, "give `command:` as a list"),
        ({"command": []}, "give `command:` as a list"),
        ({"run_cap": 0}, "run_cap=0: give a whole number of at least 1"),
        ({"parameters": {"group": {"value": None}}}, 'parameters.group has an empty value: write "null" in quotes'),
        ({"parameters": {"group": {"value": 1, "min": 2}}}, "parameters.group: unknown key 'min'"),
        ({"parameters": {"group": 3}}, "parameters.group: give a table of keys and values, not 3"),
        ({"parameters": {"lr": {"min": 0.1, "max": 1.0}}}, "endless values, which method=grid cannot list"),
        ({"early_terminate": {"type": "envelope"}}, "early_terminate.type=envelope: valid is hyperband"),
        ({"early_terminate": {"type": "hyperband"}}, "give min_iter, or max_iter and s"),
        ({"early_terminate": {"type": "hyperband", "min_iter": 2, "eta": 1}}, "eta=1: give a whole number of at"),
    ],
)
def test_what_a_file_says_is_understood_or_refused(tmp_path: Path, content: dict[str, Any], said: str) -> None:
    path = write(tmp_path, **content)
    with pytest.raises(ValueError, match=f"^{re.escape(str(path))}.*{re.escape(said)}"):
        sweep = read_sweep(path)
        space_of(sweep)
        pruner(sweep)


def test_files_that_cannot_be_read_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="none.yaml cannot be read"):
        read_sweep(tmp_path / "none.yaml")
    for text, said in (("a: [", "is no YAML"), ("[1]", "give a table"), ("!!python/name:os.system x", "is no YAML")):
        (tmp_path / "bad.yaml").write_text(text)
        with pytest.raises(ValueError, match=f"bad.yaml.*{said}"):
            read_sweep(tmp_path / "bad.yaml")


def test_a_grid_has_every_combination_once(tmp_path: Path) -> None:
    parameters = {"group": {"values": [1, 2]}, "seed": {"min": 0, "max": 1}, "x": {"min": 0.0, "max": 0.3, "q": 0.1}}
    sweep = read_sweep(write(tmp_path, {**parameters, "shots": {"value": 5}}))
    found = cells(space_of(sweep))
    assert len(found) == len({tuple(cell.values()) for cell in found}) == 16 and sweep.constants == {"shots": 5}
    assert found[0] == {"group": 1, "seed": 0, "x": 0.0} and found[-1] == {"group": 2, "seed": 1, "x": 0.3}
    with pytest.raises(ValueError, match="the grid has 1,000,001 runs"):
        cells({"seed": IntDistribution(0, 1_000_000)})


def test_hyperband_is_successive_halving_over_validations(tmp_path: Path) -> None:
    assert isinstance(pruner(read_sweep(write(tmp_path))), NopPruner)
    for early, first in (({"min_iter": 3}, 3), ({"max_iter": 27, "s": 2}, 3), ({"max_iter": 8, "s": 2, "eta": 2}, 2)):
        built = pruner(read_sweep(write(tmp_path, early_terminate={"type": "hyperband", **early})))
        assert isinstance(built, SuccessiveHalvingPruner) and built._min_resource == first


def test_what_is_drawn_at_random_depends_on_the_seed_and_the_place_in_the_plan_alone() -> None:
    from optuna import create_study
    from optuna.logging import WARNING, set_verbosity

    set_verbosity(WARNING)

    def drawn(method: str, seed: int, place: int) -> float:
        study = create_study(sampler=sampler(method, seed, place))
        return study.ask({"x": FloatDistribution(0, 1)}).params["x"]

    assert drawn("random", 0, 3) == drawn("random", 0, 3)
    assert len({drawn(method, s, p) for method in ("random", "bayes") for s, p in ((0, 3), (0, 4), (1, 3))}) >= 3


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_command_is_the_one_that_the_agent_of_wandb_builds(
    path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    agents = pytest.importorskip("wandb.wandb_agent")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("WANDB_DIR", str(tmp_path))
    monkeypatch.setattr(os, "environ", dict(os.environ))  # which an agent changes
    built: list[list[str]] = []
    monkeypatch.setattr(agents, "AgentProcess", lambda command, **_: built.append(command) or SimpleNamespace())
    sweep = read_sweep(path)
    values = {**sweep.constants, "group": 2, "optim.lr": 1.5e-3, "train.init_from": "null", "flag": True}
    agent = agents.Agent(api=None, queue=None, sweep_id="s")
    agent._sweep_command = list(sweep.command)
    args = {name: {"value": value} for name, value in values.items()}
    agent._command_run({"args": args, "run_id": "r", "program": "train.py"})
    assert [word if word != "python" else sys.executable for word in built[0]] == command_of(sweep, values)
    assert "optim.lr=0.0015" in built[0] and "group=2" in built[0]


def test_an_unknown_macro_is_refused(tmp_path: Path) -> None:
    sweep = read_sweep(write(tmp_path, command=["${env}", "${argz}"]))
    with pytest.raises(ValueError, match=r"\$\{argz\} is no macro: valid are args, "):
        command_of(sweep, {})

"""The wiring between a configuration and what runs."""

from __future__ import annotations

import logging
from dataclasses import replace

import pytest
import torch

from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import Command, checked
from fewshot.cli.runs import MetaTrainConfig
from fewshot.run.console import parameter_line, run_log
from fewshot.run.folder import flat
from fewshot.run.session import experiment_name, session, tell_problems
from fewshot.systems.registry import make_system
from fewshot.training.meta import fingerprint, settings_of


class Data:
    """All that a fingerprint asks of a source."""

    def fingerprint(self) -> str:
        return "abc"


def configured(*overrides: str) -> MetaTrainConfig:
    register_schemas()
    return checked(composed("meta_train", overrides))


def test_every_setting_reaches_the_training_loop():
    config = configured(
        "train.steps=7", "train.batch=3", "train.select_on=last", "optim.lr=0.5", "optim.schedule=step", "seed=9"
    )
    settings = settings_of(config)
    assert (settings.steps, settings.batch, settings.select) == (7, 3, "last")
    assert (settings.lr, settings.schedule, settings.seed) == (0.5, "step", 9)
    assert settings.pad_multiple == config.benchmark.pad_multiple
    assert settings_of(configured("recipe=official")).recipe == "official"


@pytest.mark.parametrize(
    "change",
    [
        "group=2",
        "seed=1",
        "shots=2",
        "benchmark.test_size=80",
        "system.heads=2",
        "train.init_from=x",
        "benchmark.flip=false",
    ],
)
def test_what_changes_the_numbers_changes_the_fingerprint(change):
    assert fingerprint(configured(change), Data()) != fingerprint(configured(), Data())


@pytest.mark.parametrize(
    "change",
    ["out=x", "test.seeds=2", "device=cpu", "system.activation_checkpointing=true", "benchmark.test_episodes=3"],
)
def test_what_does_not_is_free_to_change(change):
    assert fingerprint(configured(change), Data()) == fingerprint(configured(), Data())


def test_initial_weights_depend_on_the_seed_alone_and_leave_the_global_generator_alone():
    config = configured("system=prototype").system
    torch.manual_seed(1)
    state = torch.get_rng_state()
    first = make_system(config, 0).state_dict()
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(2)
    again, other = make_system(config, 0).state_dict(), make_system(config, 1).state_dict()
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert any(not torch.equal(first[name], other[name]) for name in first)


def test_a_long_list_of_problems_goes_into_a_file(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    tell_problems([f"frame {k} is missing" for k in range(3)], tmp_path)
    assert len(caplog.records) == 3 and not list(tmp_path.iterdir())
    caplog.clear()
    tell_problems([f"frame {k} is missing" for k in range(100)], tmp_path)
    assert len(caplog.records) == 6
    assert "95 more" in caplog.records[-1].message
    assert len((tmp_path / "problems.txt").read_text().splitlines()) == 100


def test_folds_and_seeds_of_one_set_up_are_one_experiment():
    options = {"system": "cma_tiny", "benchmark": "invented"}
    names = {experiment_name(configured(f"group={g}", f"seed={g}"), Command((), options)) for g in (1, 2, 3, 4)}
    assert names == {"cma_tiny-invented-1shot"}


def test_a_session_speaks_into_its_log_and_lets_go_of_it(tmp_path, capsys):
    config = configured(f"out={tmp_path}", "tracking=disabled", "name=one", "device=cpu")
    logger = logging.getLogger("fewshot.test")
    with session(config, Command((), {})) as here:
        assert here.main and here.device.type == "cpu"
        logger.info("inside")
    logger.info("outside")
    assert "inside" in capsys.readouterr().out
    log = (tmp_path / "one" / "log.txt").read_text()
    assert "inside" in log and "torch" in log and "outside" not in log
    with pytest.raises(FileExistsError):
        with session(config, Command((), {})):
            pass
    with session(replace(config, resume=True), Command((), {})):
        pass


def test_a_silent_process_only_warns(tmp_path, capsys):
    logger = logging.getLogger("episodes.test")
    before = logger.getEffectiveLevel()
    with run_log(tmp_path, speaks=False):
        logger.info("quiet")
        logger.warning("loud")
    assert logger.getEffectiveLevel() == before
    assert capsys.readouterr().out == "loud\n"
    assert not list(tmp_path.iterdir())


def test_parameters_are_counted():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert parameter_line(layer) == "6 of 8 parameters are trained"


def test_nested_keys_become_dotted():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}

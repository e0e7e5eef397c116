"""Settings of a training run: they reach the loop, and those that change the numbers are in its fingerprint."""

from __future__ import annotations

import logging

import pytest

from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import Command, checked
from fewshot.cli.runs import MetaTrainConfig
from fewshot.nn.backbones import TinyBackbone
from fewshot.systems.base import System
from fewshot.systems.prototype.model import Prototype
from fewshot.training.meta import fingerprint, settings_of
from fewshot.training.settings import TrainSettings


class Data:
    """All that a fingerprint asks of a source."""

    def fingerprint(self) -> str:
        return "abc"


def configured(*overrides: str) -> MetaTrainConfig:
    register_schemas()
    return checked(composed("meta_train", overrides))


def loop_settings(*overrides: str, system: System | None = None) -> TrainSettings:
    """What the loop is told by a command line."""
    return settings_of(configured(*overrides), Command(overrides, {}), system or Prototype(TinyBackbone(8)))


class NoWarmup(System):
    """A system without a prototype head."""

    name = "plain"


def test_every_setting_reaches_the_training_loop():
    typed = (
        "train.steps=7",
        "train.batch=3",
        "train.select_on=last",
        "optim.lr=0.5",
        "optim.schedule=step",
        "optim.warmup_fraction=0.3",
        "seed=9",
        "data.workers=2",
    )
    settings = loop_settings(*typed)
    assert (settings.steps, settings.batch, settings.select, settings.workers) == (7, 3, "last", 2)
    assert (settings.lr, settings.schedule, settings.seed, settings.warmup_fraction) == (0.5, "step", 9, 0.3)
    assert settings.pad_multiple == configured(*typed).benchmark.pad_multiple


def test_the_prototype_phase_is_counted_in_steps():
    settings = loop_settings("train.steps=50", "train.prototype_fraction=0.3", "train.prototype_weight=0.5")
    assert (settings.prototype_steps, settings.prototype_weight) == (15, 0.5)
    assert loop_settings("train.steps=50").prototype_steps == 10  # a fifth, as the synthetic world is trained


def test_a_prototype_phase_that_nobody_asked_for_is_left_out_where_the_system_has_none(caplog):
    caplog.set_level(logging.INFO)
    settings = loop_settings(system=NoWarmup())
    assert (settings.prototype_steps, settings.prototype_weight) == (0, 0.0)
    assert caplog.messages == ["system plain has no warm-up losses: trained without the prototype phase"]
    asked = loop_settings("train.prototype_weight=1", "train.steps=10", system=NoWarmup())  # the loop refuses it
    assert (asked.prototype_steps, asked.prototype_weight) == (2, 1.0)


def test_the_official_recipe_reaches_the_training_loop():
    settings = loop_settings("system=cma_tiny", "recipe=official")
    assert (settings.steps, settings.schedule, settings.clip_norm, settings.select) == (86400, "step", 0.1, "test")
    assert (settings.prototype_steps, settings.prototype_weight) == (0, 0.0)


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
        "benchmark.wrap_colours=true",
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

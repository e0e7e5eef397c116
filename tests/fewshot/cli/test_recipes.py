"""Recipes: `recipe=official` sets every switch that a system's folder names, and gives way to what is typed."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from episodes.catalogue import names
from episodes.sources.tasks import TASK_KINDS
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import Command, checked
from fewshot.cli.recipes import expand_recipe
from fewshot.cli.runs import MetaTrainConfig, RunConfig
from fewshot.config.keys import keys_of, value_of
from fewshot.config.task_sections import PartConfig
from fewshot.systems.registry import systems


def configured(name: str, *overrides: str) -> RunConfig:
    """The complete configuration of a command line."""
    register_schemas()
    config: RunConfig = checked(composed(name, overrides), Command(overrides, {}))
    return config


def values(config: RunConfig, expected: dict[str, Any]) -> dict[str, Any]:
    """The values of the keys of `expected` in a configuration."""
    return {name: value_of(config, name) for name in expected}


def test_recipe_official_is_one_switch_and_gives_way_to_single_keys(call):
    _, _, _, calls = call("system=cma_tiny", "recipe=official")
    config = calls[0][0]
    assert config.recipe == "official"
    assert (config.optim.schedule, config.optim.clip_norm, config.train.select_on) == ("step", 0.1, "test")
    assert [round(24 * share, 3) for share in config.optim.drop_at] == [3, 5]  # after epochs 3 and 5 of 24
    assert config.train.batch * config.train.accumulate == 1
    assert config.train.steps == 24 * 36 * 100
    _, _, _, calls = call("system=cma_tiny", "recipe=official", "optim.clip_norm=2", "train.steps=3")
    assert (calls[0][0].optim.clip_norm, calls[0][0].train.steps) == (2.0, 3)


@pytest.mark.parametrize(("argument", "said"), [("shots=2", "one support"), ("train.select_on=val", "none are left")])
def test_what_the_official_training_cannot_do_is_refused(call, argument, said):
    code, _, err, _ = call("system=cma_tiny", "recipe=official", argument)
    assert code == 1
    assert said in err


def test_every_switch_of_cma_is_turned_on_and_each_can_be_typed_off() -> None:
    official = dict(systems()["cma"].official)
    assert values(configured("meta_train", "system=cma_tiny", "recipe=official"), official) == official
    switches = [name for name, value in official.items() if value is True]
    assert {"benchmark.wrap_colours", "system.text_dropout", "benchmark.flip_inside_words"} <= set(switches)
    for name in switches:
        config = configured("meta_train", "system=cma_tiny", "recipe=official", f"{name}=false")
        assert values(config, official) == {**official, name: False}


@pytest.mark.parametrize("system", ["sgmg_tiny", "referformer_tiny"])
def test_score_heads_and_capitals_of_the_released_code_come_with_its_recipe(system: str) -> None:
    task = ("task=ref_youtube_vos", "data.root=somewhere", "untrained=true")
    for recipe, official in (("corrected", False), ("official", True)):
        training = configured("meta_train", f"system={system}", f"recipe={recipe}")
        test = configured("task_test", f"system={system}", f"recipe={recipe}", *task)
        switches = (training.system.fresh_scores, training.system.text_dropout, training.system.masks_per_clip)
        assert (*switches, test.task.keep_case) == (official,) * 4


def test_the_corrected_recipe_is_the_default_and_turns_nothing_on() -> None:
    config = configured("meta_train", "system=cma_tiny")
    assert config.recipe == "corrected"
    official = systems()["cma"].official
    assert not any(value_of(config, name) for name, value in official.items() if value is True and "text" in name)
    assert config.benchmark.sampling == "balanced" and config.train.select_on == "val" and config.system.train_affinity
    assert expand_recipe(config, ()) == []


def test_the_changes_are_told_and_keys_of_other_runs_are_left_out() -> None:
    config = configured("meta_train", "system=uniref_tiny")
    config.recipe = "official"
    assert expand_recipe(config, {"system.text_dropout"}) == ["system.exchange_red_and_blue=True"]
    assert config.system.exchange_red_and_blue and not config.system.text_dropout
    typed = ("task=davis17", "data.root=somewhere", "untrained=true", "recipe=official")
    task = configured("task_test", "system=uniref_tiny", *typed)
    assert task.task.resize_given_masks and task.system.text_dropout and not task.task.compare_logits
    on_sam = configured("task_test", "system=uniref_sam", *typed)
    assert on_sam.task.resize_given_masks and on_sam.task.compare_logits


def test_a_recipe_does_not_reach_into_the_next_configuration() -> None:
    first = configured("meta_train", "system=cma_tiny", "recipe=official")
    assert isinstance(first, MetaTrainConfig)
    first.optim.drop_at.append(0.9)
    again = configured("meta_train", "system=cma_tiny", "recipe=official")
    assert isinstance(again, MetaTrainConfig) and again.optim.drop_at == [0.125, 0.2083333]


def test_every_official_key_is_a_key_of_some_run() -> None:
    runs = {"meta_train": (), "task_test": ("task=davis17", "data.root=somewhere", "untrained=true")}
    for name, spec in ((name, spec) for name, spec in systems().items() if spec.references):
        more = ["system.affinity=cma"] if spec.config(name=name).support_key else []
        known = {
            key.name for run, typed in runs.items() for key in keys_of(configured(run, f"system={name}", *more, *typed))
        }
        known |= {f"parts.*.{field.name}" for field in fields(PartConfig)}
        assert set(spec.official) <= known, name


def test_a_test_takes_the_settings_of_the_systems_own_test_unless_they_are_typed() -> None:
    def tested(*typed: str) -> Any:
        return configured("task_test", "data.root=somewhere", "untrained=true", *typed).task  # type: ignore[attr-defined]

    for system in ("sgmg_tiny", "referformer_tiny"):
        task = tested(f"system={system}", "task=ref_youtube_vos")
        assert (task.short, task.rule, task.threshold, task.long) == (360, "short", None, 640)
        for videos in ("ref_youtube_vos", "ref_davis17"):
            assert tested(f"system={system}", f"task={videos}", "recipe=official").long > 4000
        assert tested(f"system={system}", "task=ref_davis17", "recipe=official", "task.long=700").long == 700
        assert tested(f"system={system}", "task=a2d", "recipe=official").long == 640
        task = tested(f"system={system}", "task=ref_youtube_vos", "task.threshold=0.4", "task.long=700")
        assert (task.short, task.threshold, task.long) == (360, 0.4, 700)
        task = tested(f"system={system}", "task=refcocog")
        assert (task.short, task.long, task.rule) == (360, 640, "short")
        for task in ("jhmdb", "refcocog"):
            assert tested(f"system={system}", f"task={task}").masks_by_nearest == (system == "referformer_tiny")
    assert tested("system=uniref_tiny", "task=refcocog").masks_by_nearest
    assert not tested("system=referformer_tiny", "task=a2d", "task.masks_by_nearest=false").masks_by_nearest
    task = tested("system=uniref_tiny", "task=ref_youtube_vos")
    assert (task.short, task.long, task.rule, task.threshold) == (480, 1333, "fit", 0.3)


def test_what_systems_say_of_their_tests_are_keys_of_a_test_on_data_sets_that_there_are() -> None:
    known = {key.name for key in keys_of(configured("task_test", "data.root=somewhere", "untrained=true"))}
    for name, spec in systems().items():
        for tests in (spec.tests, spec.official_tests):
            assert set(tests) <= set(names(*TASK_KINDS)), name
            assert {key for values in tests.values() for key in values} <= known, name


def test_a_system_without_released_code_has_no_official_recipe(call) -> None:
    code, _, err, calls = call("system=prototype", "recipe=official")
    assert (code, calls) == (1, [])
    assert err == ("error: recipe=official: system prototype has no released code to repeat; take recipe=corrected\n")


def test_an_unknown_recipe_is_refused(call) -> None:
    code, _, err, _ = call("recipe=fixed")
    assert code == 1 and "recipe=fixed: valid are corrected, official" in err

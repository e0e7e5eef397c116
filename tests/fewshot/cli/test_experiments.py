"""Every YAML file under `experiments/` composes, and what a sweep agent would type starts the program."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from omegaconf import OmegaConf

import experiments
from episodes.catalogue import WITH_FOLDS, data_set, folds_of, names
from fewshot import meta_train
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import checked
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, StageConfig, TaskTestConfig, parts_in_use
from fewshot.config.keys import schema_keys, sections
from fewshot.sweeps.specification import read_sweep
from fewshot.sweeps.trial import command_of
from fewshot.systems.registry import spec_of

FOLDER = Path(experiments.__file__).parent
SCHEMAS = {
    "meta_train": MetaTrainConfig,
    "meta_test": MetaTestConfig,
    "task_test": TaskTestConfig,
    "train_stage": StageConfig,
}
ONLY_TESTED = [name for name in names(*WITH_FOLDS) if folds_of(name).test_only]
SWEEPS = sorted((FOLDER / "sweeps").glob("*.yaml"))
OPTIONS = [
    f"{path.parent.name}={path.stem}"
    for name in ("adaptation", "benchmark", "logging", "optim", "system")
    for path in sorted((FOLDER / name).glob("*.yaml"))
]


@pytest.fixture(autouse=True)
def schemas():
    register_schemas()


def options(group: str) -> list[str]:
    """The files of a group of settings."""
    return sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))


def test_every_group_of_settings_is_tested_here():
    groups = {path.parent.name for path in FOLDER.rglob("*/*.yaml")}
    assert groups == {option.partition("=")[0] for option in OPTIONS} | {"stage", "task", "train", "sweeps", "settings"}


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_gives_a_valid_configuration(option):
    extra = ["data.root=somewhere"]
    folds = folds_of(composed("meta_train", [option]).benchmark.name)
    if folds.name in names("images"):  # without expressions, so not for the default system
        extra += ["group=0", "system=prototype"]
    if not spec_of(composed("meta_train", [option]).system).references:
        checked(composed("task_test", [option, "task=synthetic_vis", "untrained=true"]))
        return
    if option.startswith("system=") and (
        key := OmegaConf.to_object(composed("meta_train", [option]).system).support_key
    ):
        extra += [key]  # it takes none as it is set
    only_tests = folds.test_only or option in ("adaptation=linear_probe", "adaptation=finetune")
    checked(composed("meta_test" if only_tests else "meta_train", [option, *extra]))


@pytest.mark.parametrize("system", ["prototype", "uniref_tiny"])
@pytest.mark.parametrize("benchmark", names("images"))
def test_systems_without_expressions_take_every_benchmark_of_images(benchmark, system):
    typed = [f"benchmark={benchmark}", f"system={system}", "group=0", "data.root=somewhere"]
    if benchmark in ONLY_TESTED:
        with pytest.raises(ValueError, match=f"{benchmark} only tests"):
            checked(composed("meta_train", typed))
        checked(composed("meta_test", typed))
    else:
        checked(composed("meta_train", typed))


def test_every_benchmark_has_its_file_and_a_length_of_training():
    assert options("benchmark") == options("train")  # the length is chosen by the name of the benchmark
    assert set(names(*WITH_FOLDS)) <= set(options("benchmark"))
    for name in names(*WITH_FOLDS):
        assert OmegaConf.load(FOLDER / "benchmark" / f"{name}.yaml").name == name
    training_only = {"refcoco_mixed", "coco_panoptic"}
    tested = (name for name in names() if data_set(name).kind not in WITH_FOLDS and name not in training_only)
    assert options("task") == sorted(tested)


@pytest.mark.parametrize("task", options("task"))
def test_every_task_gives_a_valid_configuration(task):
    config = checked(composed("task_test", [f"task={task}", "data.root=somewhere", "untrained=true"]))
    assert config.task.benchmark == task
    assert config.task.split == data_set(task).splits[0]  # the one that papers test on is written down
    if data_set(task).generated:
        checked(composed("task_test", [f"task={task}"]))
        return
    with pytest.raises(ValueError, match="data.root is not set"):
        checked(composed("task_test", [f"task={task}"]))


@pytest.mark.parametrize("stage", options("stage"))
def test_every_stage_gives_a_valid_configuration(stage):
    parts = composed("train_stage", [f"stage={stage}"]).parts
    config = checked(composed("train_stage", [f"stage={stage}", *(f"parts.{name}.root=somewhere" for name in parts)]))
    assert config.stage == stage and set(parts_in_use(config)) == set(parts) != set()
    last = list(parts)[-1]
    if parts[last].kind == "clips" and data_set(parts[last].benchmark).generated:
        checked(composed("train_stage", [f"stage={stage}"]))
        return
    typed = [f"parts.{name}.root=somewhere" for name in parts if name != last]
    with pytest.raises(ValueError, match=f"parts.{last}.root is not set"):
        checked(composed("train_stage", [f"stage={stage}", *typed]))


def test_the_defaults_of_meta_train_and_meta_test_are_valid():
    for name in ("meta_train", "meta_test"):
        checked(composed(name, []))


@pytest.mark.parametrize("name", list(SCHEMAS))
def test_every_value_of_a_program_is_written_down(name):
    written = OmegaConf.load(FOLDER / f"{name}.yaml")
    config = composed(name, [])
    for section in {"data", "test"} & set(config):
        assert set(written[section]) == set(config[section]), section
    of_groups = {"stage", "parts"}  # chosen by a file of their group
    keys = {key.name for key in schema_keys(SCHEMAS[name]) if "." not in key.name} - of_groups
    assert set(written) - set(sections(SCHEMAS[name])) - {"defaults"} == keys


@pytest.mark.parametrize("benchmark", options("train"))
def test_every_length_of_training_is_written_down(benchmark):
    written = OmegaConf.load(FOLDER / "train" / f"{benchmark}.yaml")
    if "defaults" in written:
        assert set(written) == {"defaults"} and all(name in options("train") for name in written.defaults)
    else:
        assert set(written) == set(composed("meta_train", []).train)


def drawn(parameters: dict) -> dict:
    """One value of each parameter of a sweep."""
    return {
        name: spec["value"] if "value" in spec else spec["values"][-1] if "values" in spec else spec["min"]
        for name, spec in parameters.items()
    }


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_the_command_of_a_sweep_agent_starts_the_program(path, tmp_path, monkeypatch, capsys):
    sweep = yaml.safe_load(path.read_text())
    values = drawn(sweep["parameters"])
    command = command_of(read_sweep(path), values)
    assert f"group={values['group']}" in command
    assert command[:4] == ["/usr/bin/env", sys.executable, "-m", "fewshot.meta_train"]
    if path == SWEEPS[0]:  # as an agent starts it; the others in this process, which is quicker
        done = subprocess.run([*command, "--cfg", "job"], capture_output=True, text=True, cwd=tmp_path)
        assert done.returncode == 0, done.stderr
        shown = done.stdout
    else:
        monkeypatch.setattr(sys, "argv", ["meta_train", *command[4:], "--cfg", "job"])
        meta_train.main()
        shown = capsys.readouterr().out
    config = OmegaConf.create(shown)
    for name, value in values.items():
        assert OmegaConf.select(config, name) == pytest.approx(value), name


@pytest.mark.parametrize("path", SWEEPS, ids=lambda path: path.stem)
def test_a_sweep_optimises_what_the_program_returns_over_keys_that_exist(path):
    sweep = yaml.safe_load(path.read_text())
    assert sweep["metric"] == {"name": "optimized_metric", "goal": "maximize"}
    assert set(sweep["parameters"]) <= {key.name for key in schema_keys(MetaTrainConfig)}
    assert "program" not in sweep


def test_the_folds_sweep_covers_the_folds():
    sweep = yaml.safe_load((FOLDER / "sweeps" / "folds.yaml").read_text())
    assert tuple(sweep["parameters"]["group"]["values"]) == folds_of("synthetic").groups

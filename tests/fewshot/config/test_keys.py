"""Keys of the configuration: meanings, valid values, and the comments of the YAML files."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

import experiments
from benchmarks.protocols import PROTOCOLS
from episodes.catalogue import WITH_FOLDS, names
from episodes.sampling.probes import PROBES
from fewshot.cli.recipes import CORRECTED, OFFICIAL
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, StageConfig, TaskTestConfig
from fewshot.config.keys import key, keys_of, schema_keys, sections, set_value, tables, value_of
from fewshot.convert import ConvertConfig
from fewshot.predict import PredictConfig
from fewshot.run.logging.weights_and_biases import MODES
from fewshot.systems.registry import systems
from fewshot.training.settings import PRECISIONS, SCHEDULES, SELECT_ON

FOLDER = Path(experiments.__file__).parent
SCHEMAS = [MetaTrainConfig, MetaTestConfig, TaskTestConfig, StageConfig, ConvertConfig, PredictConfig]


@pytest.mark.parametrize("schema", [*SCHEMAS, *(spec.config for spec in systems().values())])
def test_every_key_says_what_it_is(schema):
    for entry in schema_keys(schema):
        assert entry.name == "seed" or len(entry.meaning) > 5, entry.name


def test_valid_values_are_those_of_the_code_that_reads_them():
    choices = {entry.name: entry.choices for entry in schema_keys(MetaTrainConfig)}
    for name, valid in {
        "benchmark.name": names(*WITH_FOLDS),
        "benchmark.protocol": PROTOCOLS,
        "protocol": PROTOCOLS,
        "test.probes": PROBES,
        "logging.mode": ("auto", *MODES),
        "train.precision": PRECISIONS,
        "recipe": (CORRECTED, OFFICIAL),
        "optim.schedule": SCHEDULES,
        "train.select_on": SELECT_ON,
    }.items():
        assert set(choices[name]) == set(valid), name


def test_every_key_of_the_yaml_files_has_a_comment():
    for path in sorted(FOLDER.rglob("*.yaml")):
        for line in path.read_text().splitlines():
            bare = line.strip()
            if bare and not bare.startswith(("#", "-")) and not bare.endswith(":") and path.parent.name != "sweeps":
                assert "#" in line, f"{path.name}: {line!r} has no comment"


@dataclass
class Inner:
    """Inside."""

    deep: int = key(1, "a number", minimum=1)


@dataclass
class Wide(Inner):
    """Inside, with more."""

    more: list[int] = key([2], "numbers")


@dataclass
class Outer:
    """Outside."""

    plain: str = key("a", "a letter", choices=("a", "b"))
    inner: Inner = field(default_factory=Inner)
    rows: dict[str, Inner] = key({}, "a table")


def test_keys_are_found_in_schemas_and_instances() -> None:
    assert [entry.name for entry in schema_keys(Outer)] == ["plain", "inner.deep", "rows"]
    assert [entry.name for entry in schema_keys(Outer, types={"inner": Wide})][1:3] == ["inner.more", "inner.deep"]
    assert [entry.name for entry in keys_of(Outer(inner=Wide()))][1:3] == ["inner.more", "inner.deep"]
    assert (sections(Outer), tables(Outer)) == ({"inner": Inner}, {"rows": Inner})


def test_values_are_read_and_set_by_their_dotted_names() -> None:
    outer, values = Outer(inner=Wide()), [3]
    set_value(outer, "inner.more", values)
    set_value(outer, "plain", "b")
    values.append(4)
    assert value_of(outer, "inner.more") == [3] and outer.plain == "b"
    assert Wide().more == [2]

"""Every numeric key of every command: too small, too large and no number at all are told in one line."""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from typing import Any, get_args

import pytest
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import ConfigTypeError, ValidationError

from fewshot._origin import config_folder
from fewshot.cli.checks import check_value
from fewshot.cli.composition import RUNS, composed, register_schemas, system_of, wrong_type
from fewshot.cli.errors import is_user_error
from fewshot.cli.main import COMMANDS
from fewshot.cli.program import checked
from fewshot.config.keys import Key, schema_keys, tables, type_of
from fewshot.systems.registry import find_system, systems

PARTS = tuple(OmegaConf.load(config_folder() / "stage" / "uniref_video.yaml").parts)
# What a command needs beside the key that is tried. Parts and tasks name folders that are not opened here.
NEEDED = {
    "task_test": ["task=vos_folder", "data.root=."],
    "train_stage": ["stage=uniref_video", *(f"parts.{name}.root=." for name in PARTS)],
    "predict": ["weights=w", "input=i", "out=o"],
    "convert": ["system=cma", "checkpoint=c", "out=o"],
    "freeze": ["out=o"],
    "davis": ["results=r", "annotations=a"],
    "sweep": ["file=f"],
    "expressions": ["task=mevis", "results=r", "data.root=."],
}
PLAIN = [name for name in COMMANDS if name not in RUNS]
RUN_OF_SYSTEM = [
    *(("meta_train" if spec.references else "task_test", name) for name, spec in systems().items()),
    *((name, "") for name in RUNS if name != "meta_train"),
]


def numeric(kind: Any) -> bool:
    """Whether a key of this type holds a number, or several."""
    kinds = {kind, *get_args(kind)}
    return bool(kinds & {int, float})


def whole(kind: Any) -> bool:
    return int in {kind, *get_args(kind)}


def keys_with_types(schema: type, types: dict[str, type]) -> Iterator[tuple[Key, Any]]:
    for key in schema_keys(schema, types=types):
        section, _, inside = key.name.partition(".")
        yield key, type_of(types[section], inside) if section in types else type_of(schema, key.name)


def wrong_values(key: Key, kind: Any) -> list[Any]:
    """Values that no key of this kind takes."""
    assert key.minimum is not None and key.maximum is not None
    near = 1 if whole(kind) else 1e-3
    values = [key.minimum - near, key.maximum + near, -(10**30), 10**30, math.nan, math.inf, -math.inf]
    return values + ([key.minimum + 0.5, 1e30] if whole(kind) else [])


WORDS = ["abc", "1e", "0x", "[a]", "{a: 1}", [["a"]], {"a": 1}]


@cache
def base(command: str, system: str) -> DictConfig:
    register_schemas()
    key = find_system(system).config(name=system).support_key if system and command == "meta_train" else None
    return composed(
        command, [*([f"system={system}"] if system else []), *([key] if key else []), *NEEDED.get(command, [])]
    )


def refusal(command: str, system: str, name: str, value: Any, kind: Any) -> Exception:
    """The error of a run whose key has this value, told as the command line tells it."""
    config = base(command, system)
    before = OmegaConf.select(config, name)
    several = OmegaConf.is_list(before)
    before = OmegaConf.to_container(before) if several else before
    try:
        OmegaConf.update(config, name, [value] if several and not isinstance(value, (list, dict)) else value)
        checked(config)
    except (ValidationError, ConfigTypeError) as error:
        types = {"system": OmegaConf.get_type(config, "system")}
        return ValueError(wrong_type(error, f"{name}={value}", RUNS[command], types))
    except Exception as error:
        assert is_user_error(error), f"{name}={value}: {error!r}"
        return error
    finally:
        OmegaConf.update(config, name, before)
    raise AssertionError(f"{name}={value} was taken")


@pytest.mark.parametrize(("command", "system"), RUN_OF_SYSTEM)
def test_every_number_of_a_run_is_refused_beyond_its_limits(command: str, system: str) -> None:
    checked(base(command, system))  # as it stands it is valid
    types = {"system": system_of(command, [f"system={system}"] if system else [])}
    tried = 0
    for key, kind in keys_with_types(RUNS[command], types):
        if not numeric(kind) or (not system and key.name.startswith("system.")):
            continue
        for value in [*wrong_values(key, kind), *([] if str in get_args(kind) else WORDS)]:
            told = str(refusal(command, system, key.name, value, kind))
            assert told.startswith(f"{key.name}=") and "\n" not in told, told
            tried += 1
    assert tried > 40


@pytest.mark.parametrize("command", PLAIN)
def test_every_number_of_a_plain_command_is_refused_beyond_its_limits(command: str) -> None:
    program = import_module(f"fewshot.{command}").PROGRAM
    needed = NEEDED.get(command, [])
    program.parsed(needed)
    for key, kind in keys_with_types(program.schema, {}):
        if not numeric(kind):
            continue
        for value in [*wrong_values(key, kind), *(word for word in WORDS if isinstance(word, str))]:
            with pytest.raises(ValueError) as told:
                program.parsed([*needed, f"{key.name}={value}"])
            assert is_user_error(told.value), f"{key.name}={value}"
            assert str(told.value).startswith(f"{key.name}=") and "\n" not in str(told.value)


@pytest.mark.parametrize("command", RUNS)
def test_numbers_of_the_rows_of_a_table_have_limits(command: str) -> None:
    for name, row in tables(RUNS[command]).items():
        for key, kind in keys_with_types(row, {}):
            if not numeric(kind):
                continue
            for value in (v for v in wrong_values(key, kind) if not (whole(kind) and isinstance(v, float))):
                with pytest.raises(ValueError, match=rf"{key.name}=.*: (the (smallest|largest)|give a finite)"):
                    check_value(key, [value])
            assert name == "parts"


@pytest.mark.parametrize(
    ("typed", "said"),
    [
        ("threads=100000", "threads=100000: the largest valid value is 1,024"),
        ("train.batch=1e8", "train.batch=1e8: give a whole number from 1 to 1,024"),
        ("train.batch=100000000", "train.batch=100000000: the largest valid value is 1,024"),
        ("benchmark.query_frames=1000", "benchmark.query_frames=1000: the largest valid value is 200"),
        ("system.num_queries=100000000", "system.num_queries=100000000: the largest valid value is 10,000"),
        ("test.bootstrap=1000000000", "test.bootstrap=1000000000: the largest valid value is 100,000"),
        ("system.dropout=2", "system.dropout=2.0: the largest valid value is 1"),
        ("benchmark.world_seed=-5", "benchmark.world_seed=-5: the smallest valid value is 0"),
        ("train.steps=1e30", "train.steps=1e30: give a whole number from 1 to 1,000,000,000"),
        ("benchmark.train_sizes=[1]", "benchmark.train_sizes=1: the smallest valid value is 8"),
        ("benchmark.train_sizes=[a]", "benchmark.train_sizes=[a]: give a whole number from 8 to 8,192"),
        ("optim.drop_at=[[0.5]]", "optim.drop_at=[0.5]: give a list of single values"),
        ("benchmark.test_size=1", "benchmark.test_size=1: the smallest valid value is 8"),
        ("optim.warmup_fraction=1", "optim.warmup_fraction=1.0: the largest valid value is 0.99"),
        ("logging.tags=[{a: 1}]", "logging.tags={'a': 1}: give a list of single values"),
        ("out=", "out is empty: give a file or folder, or leave the key out"),
        ("device=cuda:99999999999999999999", "valid are auto, cpu, cuda and cuda:0"),
        (
            "benchmark.train_sizes=[]",
            "benchmark.train_sizes=[]: give at least one, none above benchmark.train_max_size",
        ),
        ("benchmark.train_max_size=32", "none above benchmark.train_max_size=32"),
        ("name=${nope}", "name: its ${...} refers to nothing (Interpolation key 'nope' not found): give a value"),
        ("out=${oc.env:NOPE}", "out: its ${...} refers to nothing"),
        ("name=a{b", "error: "),
        ("~group", "~group: a key cannot be taken out; give it a value, group=<value>"),
        ("~group=1", "~group=1: a key cannot be taken out; give it a value, group=<value>"),
        ("~system", "~system: a key cannot be taken out"),
        ("+seed=1", "error: "),
        ("seed=null", "seed=null: give a whole number from 0 to"),
        ("group=nan", "group"),
        (
            "system=nope",
            "system=nope: valid are cma, cma_tiny, prototype, referformer, referformer_tiny, sgmg, sgmg_tiny, uniref, "
            "uniref_sam, uniref_small, uniref_tiny, univs, univs_tiny, videomt.",
        ),
        ("system=cma_tine", "Did you mean 'cma_tiny'?"),
        ("system=cma_schema", "system=cma_schema: valid are cma, cma_tiny"),
        ("train=null", "train=null: valid are coco20i"),
        ("system=null", "system=null: valid are cma"),
        ("system=[cma,uniref]", "system=[cma: valid are cma"),
        ("benchmark={name: synthetic}", "benchmark={name: synthetic}: valid are coco20i"),
        ("benchmark.train_sizes={a: 1}", "benchmark.train_sizes={a: 1}: give a list in brackets"),
        ("optim=nope", "optim=nope: valid are onecycle, refer, small, uniref, univs."),
    ],
)
def test_what_is_typed_is_told_in_one_line(call, typed: str, said: str) -> None:
    code, out, err, calls = call(typed)
    assert (code, out, calls) == (1, "", []), err
    assert err.startswith("error: ") and said in err and err.count("\n") == 1
    assert "_schema" not in err.replace(typed, "")


def test_a_crop_of_a_part_has_its_least_side_first() -> None:
    config = copy.deepcopy(base("train_stage", ""))
    for name in PARTS:
        OmegaConf.update(config, f"parts.{name}.crop_range", [600, 384])
    with pytest.raises(ValueError, match=r"crop_range=\[600, 384\]: the least side is more than the largest"):
        checked(config)


def test_a_value_of_a_plain_command_that_refers_to_nothing_is_told() -> None:
    program = import_module("fewshot.freeze").PROGRAM
    with pytest.raises(ValueError, match=r"^out: its \$\{...\} refers to nothing"):
        program.parsed(["out=${nope}"])
    with pytest.raises(ValueError, match="seed=-1: the smallest valid value is 0"):
        program.parsed(["out=o", "seed=-1"])
    with pytest.raises(ValueError, match="unknown key '~group'|expected key=value, got '~group'"):
        program.parsed(["out=o", "~group"])

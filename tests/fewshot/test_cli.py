"""The command line: what is refused, how it is said, and what reaches the program."""

from __future__ import annotations

import errno
import sys
from pathlib import Path

import pytest

import experiments
from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.errors import is_user_error
from fewshot.cli.program import Command, Program
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.config.keys import schema_keys

FOLDER = Path(experiments.__file__).parent
CALLS: list[tuple[MetaTrainConfig, Command]] = []


def remember(config: MetaTrainConfig, command: Command) -> float:
    CALLS.append((config, command))
    if config.name == "fails":
        raise ValueError("the supports are on holiday")
    if config.name == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "results.json")
    if config.name == "closed":
        (Path(config.out) / "folder").mkdir()  # a line of the standard library refuses it
    if config.name == "breaks":
        [][1]
    return 42.0


PROGRAM = Program(
    module="fewshot.meta_train",
    config_name="meta_train",
    schema=MetaTrainConfig,
    about="Trains.",
    examples=(("group=1", "one"), ("group=2", "two"), ("-m group=1,2", "both")),
    run=remember,
)


@pytest.fixture
def call(monkeypatch, tmp_path, capsys):
    """Run the program with arguments in an empty folder: (exit code, stdout, stderr, calls)."""

    def run(*arguments: str):
        CALLS.clear()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["meta_train", *arguments])
        code = 0
        try:
            PROGRAM.main()
        except SystemExit as end:
            code = end.code
        out = capsys.readouterr()
        return code, out.out, out.err, list(CALLS)

    return run


def test_the_defaults_are_the_embedded_world_and_leave_no_file(call, tmp_path):
    code, out, err, calls = call()
    assert (code, out, err) == (0, "", "")
    config, command = calls[0]
    assert isinstance(config, MetaTrainConfig)
    assert (config.group, config.shots, config.recipe, config.benchmark.name) == (1, 1, "fixed", "invented")
    assert config.data.root is None
    assert command == Command(
        (),
        {"system": "cma_tiny", "benchmark": "invented", "train": "invented", "optim": "onecycle", "tracking": "wandb"},
    )
    assert list(tmp_path.iterdir()) == []


def test_values_reach_the_program_with_their_types(call):
    _, _, _, calls = call("group=3", "optim.lr=1e-3", "benchmark.train_sizes=[64,80]", "tracking.tags=[a]", "name=x")
    config, command = calls[0]
    assert (config.group, config.optim.lr, config.benchmark.train_sizes) == (3, 1e-3, [64, 80])
    assert (config.tracking.tags, config.name) == (["a"], "x")
    assert "optim.lr=1e-3" in command.overrides


def test_multirun_runs_every_value(call):
    code, _, _, calls = call("-m", "group=1,2", "seed=5")
    assert code == 0
    assert [(config.group, config.seed) for config, _ in calls] == [(1, 5), (2, 5)]
    assert calls[1][1].overrides == ("group=2", "seed=5")


@pytest.mark.parametrize(
    ("argument", "said"),
    [
        ("grup=1", "unknown key 'grup'. Did you mean 'group'?"),
        ("optim.lrr=1", "unknown key 'optim.lrr'. Did you mean 'optim.lr'?"),
        ("lr=1", "unknown key 'lr'. Did you mean 'optim.lr'?"),
        ("+new=1", "unknown key 'new'"),
        ("++benchmark.nam=x", "unknown key 'benchmark.nam'. Did you mean 'benchmark.name'?"),
        ("--group=1", "--group=1: write group=1, without dashes"),
        ("group=5", "group=5: benchmark invented has the groups 1, 2, 3, 4"),
        ("group=0", "group=0: benchmark invented has the groups 1, 2, 3, 4"),
        ("group=-1", "group=-1: the smallest valid value is 0"),
        ("shots=0", "shots=0: the smallest valid value is 1"),
        ("train.steps=???", "train.steps has no value: give train.steps=<value>"),
        ("train.precision=fp161", "train.precision=fp161: valid are fp32, bf16, fp16. Did you mean 'fp16'?"),
        ("system.backbone=resnet18", "valid are resnet50, resnet101, swin_tiny, swin_small"),
        (
            "test.probes=[no_suport]",
            "valid are no_support, wrong_support, everything, shuffled_text. Did you mean 'no_support'?",
        ),
        ("optim.lr=nan", "optim.lr=nan: give a finite number"),
        ("optim.lr=inf", "optim.lr=inf: give a finite number"),
        ("optim.drop_at=[0.5,3]", "optim.drop_at=3.0: a share of the run lies between 0 and 1"),
        ("device=gpu", "device=gpu: valid are auto, cpu, cuda"),
        ("benchmark=mini_ref_ytvos", "data.root is not set"),
        ("system.heads=7", "must divide"),
    ],
)
def test_refused_with_a_message_and_without_a_trace(call, argument, said):
    code, _, err, calls = call(argument)
    assert code == 1
    assert calls == []
    assert said in err
    assert "Traceback" not in err
    assert err.startswith("error: ") and err.count("\n") == 1


@pytest.mark.parametrize("argument", ["optim.lr=abc", "group=1.5", "system=cmaa", "resume=perhaps"])
def test_wrong_types_and_unknown_options_are_refused_before_anything_starts(call, argument):
    code, _, err, calls = call(argument)
    assert code == 1
    assert calls == []
    assert "Traceback" not in err


def test_training_on_a_benchmark_that_only_tests_is_refused(call):
    code, _, err, _ = call("benchmark=mini_ref_sailvos", "data.root=.")
    assert code == 1
    assert "only tests" in err


def test_errors_of_the_program_are_short_and_faults_keep_their_trace(call, monkeypatch):
    code, _, err, _ = call("name=breaks")
    assert code == 1
    assert "IndexError" in err and "Traceback" in err
    code, _, err, _ = call("name=fails")  # raised by a line of the tests, which is none of the project's packages
    assert code == 1
    assert "Traceback" in err


def test_the_trace_of_a_user_error_is_there_when_it_is_asked_for(call, monkeypatch):
    monkeypatch.setenv("FEWSHOT_TRACEBACK", "1")
    code, _, err, _ = call("shots=0")
    assert code == 1
    assert "Traceback" in err and "shots=0" in err


def test_user_errors_are_told_by_where_they_were_raised():
    with pytest.raises(ValueError) as ours:
        refuse_unknown_keys(["grup=1"], MetaTrainConfig)
    assert is_user_error(ours.value)
    with pytest.raises(ValueError) as foreign:
        int("one")
    assert not is_user_error(foreign.value)


def test_a_full_disk_and_a_folder_that_cannot_be_made_are_told_without_a_trace(call, tmp_path):
    (tmp_path / "file").write_text("")
    for arguments, said in (
        (("name=full",), "No space left on device: 'results.json': free some space"),
        (("name=closed", "out=file"), "Not a directory: 'file/folder': check that path; runs are written to out="),
    ):
        code, _, err, _ = call(*arguments)
        assert code == 1
        assert err.startswith("error: ") and said in err and err.count("\n") == 1


def test_recipe_official_is_one_switch_and_gives_way_to_single_keys(call):
    _, _, _, calls = call("recipe=official")
    config = calls[0][0]
    assert config.recipe == "official"
    assert (config.optim.schedule, config.optim.clip_norm, config.train.select_on) == ("step", 0.1, "test")
    assert [round(24 * share, 3) for share in config.optim.drop_at] == [3, 5]  # after epochs 3 and 5 of 24
    assert config.train.batch * config.train.accumulate == 1
    assert config.train.steps == 24 * 36 * 100
    _, _, _, calls = call("recipe=official", "optim.clip_norm=2", "train.steps=3")
    assert (calls[0][0].optim.clip_norm, calls[0][0].train.steps) == (2.0, 3)


@pytest.mark.parametrize(("argument", "said"), [("shots=2", "one support"), ("train.select_on=val", "none are left")])
def test_what_the_official_training_cannot_do_is_refused(call, argument, said):
    code, _, err, _ = call("recipe=official", argument)
    assert code == 1
    assert said in err


def test_help_names_every_key_and_three_examples(call):
    code, out, _, calls = call("--help", "shots=3")
    assert code == 0
    assert calls == []
    for key in schema_keys(MetaTrainConfig):
        assert f"{key.name}=" in out
        assert key.meaning.split()[0] in out
    assert out.count("python -m fewshot.meta_train ") == 4  # usage and three examples
    assert "shots=3" in out
    assert "evaluation fold" in out
    for group in ("system", "benchmark", "train", "optim", "recipe", "tracking"):
        options = sorted(path.stem for path in (FOLDER / group).glob("*.yaml"))
        assert f"  {group}={' | '.join(options)}\n" in out


def test_help_with_a_wrong_override_says_so(call):
    code, _, err, _ = call("--help", "optim.lr=abc")
    assert code == 1
    assert "optim.lr=abc" in err and "Traceback" not in err


@pytest.mark.parametrize("schema", [MetaTrainConfig, MetaTestConfig])
def test_every_key_says_what_it_is(schema):
    for key in schema_keys(schema):
        assert len(key.meaning) > 5, key.name


def test_valid_values_are_those_of_the_code_that_reads_them():
    from benchmarks.protocols import PROTOCOLS
    from episodes.folds import FOLDS
    from episodes.sampling.probes import PROBES
    from fewshot.run.logging.weights_and_biases import MODES
    from fewshot.training.settings import PRECISIONS, RECIPES, SCHEDULES, SELECT_ON, WARMUPS

    choices = {key.name: key.choices for key in schema_keys(MetaTrainConfig)}
    for name, valid in {
        "benchmark.name": FOLDS,
        "benchmark.protocol": PROTOCOLS,
        "test.probes": PROBES,
        "tracking.mode": MODES,
        "train.precision": PRECISIONS,
        "recipe": RECIPES,
        "optim.schedule": SCHEDULES,
        "train.select_on": SELECT_ON,
        "train.warmup": WARMUPS,
    }.items():
        assert set(choices[name]) == set(valid), name


def test_every_key_of_the_yaml_files_has_a_comment():
    for path in sorted(FOLDER.rglob("*.yaml")):
        for line in path.read_text().splitlines():
            bare = line.strip()
            if bare and not bare.startswith(("#", "-")) and not bare.endswith(":") and path.parent.name != "sweeps":
                assert "#" in line, f"{path.name}: {line!r} has no comment"

"""Command lines of runs: values with their types, refusals in one line, traces of faults."""

from __future__ import annotations

import math
import pickle

import pytest

from fewshot.cli.arguments import refuse_unknown_keys
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.errors import is_user_error
from fewshot.cli.failed import Failed
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTrainConfig
from tests.fewshot.cli.conftest import PROGRAM


def test_the_defaults_are_the_embedded_world_and_leave_no_file(call, tmp_path):
    code, out, err, calls = call()
    assert (code, out, err) == (0, "", "")
    config, command = calls[0]
    assert isinstance(config, MetaTrainConfig)
    assert (config.group, config.shots, config.recipe, config.benchmark.name) == (1, 1, "corrected", "synthetic")
    assert config.data.root is None
    assert command == Command(
        (),
        {
            "system": "uniref_tiny",
            "benchmark": "synthetic",
            "adaptation": "none",
            "train": "synthetic",
            "optim": "onecycle",
            "logging": "wandb",
        },
    )
    assert list(tmp_path.iterdir()) == []


def test_values_reach_the_program_with_their_types(call):
    _, _, _, calls = call("group=3", "optim.lr=1e-3", "benchmark.train_sizes=[64,80]", "logging.tags=[a]", "name=x")
    config, command = calls[0]
    assert (config.group, config.optim.lr, config.benchmark.train_sizes) == (3, 1e-3, [64, 80])
    assert (config.logging.tags, config.name) == (["a"], "x")
    assert "optim.lr=1e-3" in command.overrides


@pytest.mark.parametrize("path", ["/home/jörg/größe", "/home/jörg's data", "/データ/voc 2012"])
def test_folders_may_have_any_letters(call, path):
    code, _, err, calls = call(f"data.root={path}", "name=größe")
    assert (code, err) == (0, "")
    assert (calls[0][0].data.root, calls[0][0].name) == (path, "größe")


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
        ("group=5", "group=5: benchmark synthetic has the groups 1, 2, 3, 4"),
        ("group=0", "group=0: benchmark synthetic has the groups 1, 2, 3, 4"),
        ("group=-1", "group=-1: the smallest valid value is 0"),
        ("shots=0", "shots=0: the smallest valid value is 1"),
        ("train.steps=???", "train.steps has no value: give train.steps=<value>"),
        ("train.precision=fp161", "train.precision=fp161: valid are fp32, bf16, fp16. Did you mean 'fp16'?"),
        ("system.backbone=resnet18", "valid are resnet50, resnet101, swin_tiny, swin_small"),
        (
            "test.probes=[no_suport]",
            "valid are no_support, wrong_support, everything, shuffled_text, name_only. Did you mean 'no_support'?",
        ),
        ("optim.lr=nan", "optim.lr=nan: give a finite number"),
        ("optim.lr=inf", "optim.lr=inf: give a finite number"),
        ("optim.drop_at=[0.5,3]", "optim.drop_at=3.0: the largest valid value is 1"),
        ("device=gpu", "device=gpu: valid are auto, cpu, cuda"),
        ("benchmark=mini_ref_ytvos", "data.root is not set"),
        ("benchmark.test_size=null", "has none of its own: give a number"),
        ("test.seeds=null", "has none of its own: give a number"),
        ("benchmark.sampling=images", "benchmark.sampling=images is for benchmarks of images: take balanced"),
        ("benchmark.twin_share=1.5", "benchmark.twin_share=1.5: "),
        ("benchmark.query_expressions=0", "benchmark.query_expressions=0: the smallest valid value is 1"),
        ("benchmark.draws=dice", "benchmark.draws=dice: valid are indexed, stream, official"),
        ("benchmark.draws=stream", "benchmark.draws=stream is for benchmarks of images: leave it out"),
        ("system.heads=7", "must divide"),
        ("name=a/../../b", "name=a/../../b leads out of the folder of the runs: give the place as out=<folder>"),
        ("name=/b", "name=/b leads out of the folder of the runs"),
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


def test_ctrl_c_before_a_run_listens_to_it_leaves_a_line(call):
    code, out, err, _ = call("name=interrupted")
    assert (code, out, err) == (130, "", "SIGINT: stopped\n")


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


@pytest.mark.parametrize(
    ("typed", "message"),
    [
        ("system.heads=abc", "error: system.heads=abc: give a whole number from 1 to 256\n"),
        ("optim.lr=fast", "error: optim.lr=fast: give a number from 0 to 1,000\n"),
        ("benchmark.crop=maybe", "error: benchmark.crop=maybe: give true or false\n"),
        ("adaptation.parts=head", "error: adaptation.parts=head: give a list in brackets, adaptation.parts=[head]\n"),
        ("benchmark.train_sizes=64", "=64: give a list in brackets, benchmark.train_sizes=[64]\n"),
        ("benchmark.train_sizes=[64,a]", "benchmark.train_sizes=[64,a]: give a whole number from 8 to 8,192\n"),
        ("system.variant=base", "it is one of system cma; choose system=...\n"),
    ],
)
def test_values_of_the_wrong_type_and_keys_of_other_systems_are_told_in_one_line(call, typed, message):
    status, _, errors, calls = call(typed)
    assert (status, calls) == (1, []) and errors.endswith(message) and errors.count("\n") == 1


def test_a_run_of_several_that_fails_does_not_end_the_others(call):
    code, _, err, calls = call("-m", "name=fails,one,breaks,full", "shots=2")
    assert code == 1
    assert [config.name for config, _ in calls] == ["fails", "one", "breaks", "full"]
    assert all(command.sweeps for _, command in calls)
    *_, head, first, second, third = err.splitlines()
    assert head == "3 run(s) failed:"
    assert first == "  name=fails: ValueError: the supports are on holiday"
    assert second == "  name=breaks: IndexError: list index out of range"
    assert third.startswith("  name=full: [Errno 28] No space left on device: 'results.json'")
    assert "Traceback" in err  # of what is no user's error, where it happened


def test_several_runs_that_go_well_end_well_and_a_signal_ends_them_all(call, monkeypatch):
    code, out, err, calls = call("-m", "seed=0,1")
    assert (code, out, err) == (0, "", "") and [config.seed for config, _ in calls] == [0, 1]
    assert not call("seed=0")[3][0][1].sweeps
    code, _, err, calls = call("-m", "name=stopped,two")
    assert code == 143 and len(calls) == 1 and "failed" not in err


def test_a_sweeper_that_searches_is_told_that_a_run_failed_wherever_it_ran():
    register_schemas()
    Failed.told.clear()
    words = ["shots=0", "seed=1", "resume=True"]
    result = PROGRAM._job(("-m", "seed=1", "resume=true", "shots=0,1"), composed("meta_train", words), words, {}, True)
    told = ["shots=0: shots=0: the smallest valid value is 1"]
    assert math.isnan(result) and Failed.told == told
    pickled = pickle.dumps(result)
    Failed.told.clear()  # as in the process of the launcher, in which nothing ran
    assert math.isnan(pickle.loads(pickled)) and Failed.told == told
    assert math.isnan(pickle.loads(pickled)) and Failed.told == told  # once, however often it is read


def test_the_jobs_of_a_launcher_bear_the_name_of_the_command(call):
    _, out, _, _ = call("--cfg", "hydra", "--package", "hydra.job", "--resolve")
    assert "\nname: meta_train\n" in out

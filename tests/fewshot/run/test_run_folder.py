"""Run folders: their names say what ran, and nothing is overwritten by accident."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from episodes.whole_files import partial_of
from fewshot.cli.errors import is_user_error
from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig, StageConfig, TaskTestConfig
from fewshot.config.sections import BenchmarkConfig, TrainConfig
from fewshot.config.task_sections import TaskConfig
from fewshot.run.folder import (
    changes,
    flat,
    git_commit,
    held_folder,
    open_folder,
    refuse_changes,
    run_name,
    stored_config,
    write_config,
)
from fewshot.run.lock import RunInUse, locked
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.uniref.config import UniRefConfig

OPTIONS = {"system": "cma_tiny", "benchmark": "synthetic"}
ANY = Command((), OPTIONS)


def files_in(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def config(**values) -> MetaTrainConfig:
    return MetaTrainConfig(
        system=CMAConfig(),
        benchmark=BenchmarkConfig(name="synthetic"),
        train=TrainConfig(steps=3),
        **values,
    )


def task_config(**values) -> TaskTestConfig:
    return TaskTestConfig(system=UniRefConfig(), task=TaskConfig(benchmark="davis17"), **values)


def test_the_name_says_what_runs():
    assert run_name(config(group=2, shots=5, seed=7), Command((), OPTIONS)) == "cma_tiny-synthetic-clean-5shot-g2-s7"
    tested = MetaTestConfig(group="all", system=CMAConfig(), benchmark=BenchmarkConfig("synthetic"))
    assert run_name(tested, Command((), OPTIONS)) == "test-cma_tiny-synthetic-clean-1shot-gall-s0"


def test_other_overrides_change_the_name_and_incidental_ones_do_not():
    def name(*overrides: str) -> str:
        return run_name(config(), Command(overrides, OPTIONS))

    plain = name()
    assert name("device=cpu", "threads=1", "out=x", "resume=true", "logging=disabled", "logging.mode=offline") == plain
    assert name("group=1", "shots=1", "seed=0", "system=cma_tiny", "protocol=cma", "data.workers=2") == plain
    assert name("test.workers=1", "test.processes=2") == plain
    assert name("optim.lr=1").startswith(plain + "-")
    assert name("optim.lr=1") != name("optim.lr=2")
    assert name("optim.lr=1", "train.steps=2") == name("train.steps=2", "optim.lr=1", "resume=true")
    assert name("data.root=/a") != plain and name("recipe=official") != plain


def test_every_kind_of_run_has_a_name_of_its_own_and_hides_what_it_shows():
    task = task_config(weights="runs/one/best.pt")
    assert run_name(task, Command(("task=davis17", "+limit=3", "threads=1"), {})) == "davis17-val-best"
    one, other = (run_name(task, Command((override,), {})) for override in ("task.long=3", "task.long=4"))
    assert one != other and all(len(name) == len("davis17-val-best-123456") for name in (one, other))
    untrained = task_config(untrained=True)
    assert run_name(untrained, Command((), {"system": "uniref_tiny"})) == "davis17-val-untrained-uniref_tiny"
    stage = StageConfig(stage="uniref_image", system=UniRefConfig(), seed=2)
    assert run_name(stage, Command(("stage=uniref_image", "workers=3"), {})) == "uniref_image-uniref-s2"
    own = config(name=None)
    own.system.name = "package.module:Blobs"
    assert run_name(own, Command((), {})).startswith("package.module.Blobs-synthetic-")


def test_runs_of_one_set_up_are_one_experiment_whatever_their_fold_and_seed():
    names = {config(group=g, seed=g).experiment(OPTIONS) for g in (1, 2, 3, 4)}
    assert names == {"cma_tiny-synthetic-1shot"}
    assert config(shots=5).experiment({}) == "cma-synthetic-5shot"
    assert task_config(untrained=True).experiment({}) == "uniref-davis17"
    stage = StageConfig(stage="uniref_image", system=UniRefConfig())
    assert stage.experiment({"system": "uniref_tiny"}) == "uniref_tiny-uniref_image"


def test_a_run_goes_on_as_it_was_started(tmp_path):
    command, first = Command((), {}), {"out": str(tmp_path), "name": "x", "untrained": True}
    open_folder(task_config(**first), command)
    assert [name for name, *_ in changes(tmp_path / "x", task_config(**first, limit=2, seed=1))] == ["seed", "limit"]
    assert changes(tmp_path / "nowhere", task_config(**first)) == []
    for free in ({}, {"limit": 2, "pictures": 0, "zip": True, "processes": 2}, {"device": "cpu", "threads": 1}):
        refuse_changes(task_config(**first, resume=True, **free), command)
    refuse_changes(task_config(**first, seed=1), command)  # no continuation: the folder itself is refused
    with pytest.raises(
        ValueError, match=r"x was started with other settings: seed=1 \(was 0\). Give another name=<name>"
    ):
        refuse_changes(task_config(**first, resume=True, seed=1), command)
    longer = task_config(**first, resume=True)
    longer.task.long = 7
    with pytest.raises(ValueError, match=r"task.long=7 \(was 1333\)"):
        refuse_changes(longer, command)


def test_nested_keys_become_dotted():
    assert flat({"a": {"b": 1, "c": {"d": [2]}}, "e": None}) == {"a.b": 1, "a.c.d": [2], "e": None}


def test_the_folder_holds_what_ran(tmp_path):
    folder = open_folder(config(out=str(tmp_path), group=3), Command(("group=3",), OPTIONS))
    assert folder == tmp_path / "cma_tiny-synthetic-clean-1shot-g3-s0"
    written = yaml.safe_load((folder / "config.yaml").read_text())
    assert (written["group"], written["system"]["name"], written["train"]["steps"]) == (3, "cma", 3)
    assert yaml.safe_load((folder / "overrides.yaml").read_text()) == ["group=3"]


def test_a_run_is_not_overwritten(tmp_path):
    command = Command((), OPTIONS)
    folder = open_folder(config(out=str(tmp_path)), command)
    before = {path: path.read_bytes() for path in folder.iterdir()}
    with pytest.raises(FileExistsError, match="resume=true"):
        open_folder(config(out=str(tmp_path)), command)
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    assert open_folder(config(out=str(tmp_path), resume=True), command) == folder
    assert open_folder(config(out=str(tmp_path), name="other"), command) == tmp_path / "other"


def test_a_start_that_was_refused_does_not_stand_in_the_way_of_the_next(tmp_path):
    """Its folder was made, and nothing was measured in it."""
    for group in (1, 2):
        with held_folder(config(out=str(tmp_path), name="x", group=group), Command((), OPTIONS)) as folder:
            (folder / "log.txt").write_text("refused")
            partial_of(folder / "config.yaml").write_text("left by a kill")
    assert stored_config(folder)["group"] == 2 and len(list(folder.glob(".*.part"))) == 1
    (folder / "metrics.jsonl").write_text("{}\n")
    with pytest.raises(FileExistsError, match="is not empty"), held_folder(config(out=str(tmp_path), name="x"), ANY):
        pass


def test_a_training_that_goes_on_keeps_its_configuration_until_it_is_found_to_be_the_same(tmp_path):
    open_folder(config(out=str(tmp_path), name="x", group=1), Command((), OPTIONS))
    resumed = config(out=str(tmp_path), name="x", group=2, resume=True)
    folder = open_folder(resumed, Command((), OPTIONS))
    assert stored_config(folder)["group"] == 1
    write_config(folder, resumed, Command(("group=2",), OPTIONS))
    assert stored_config(folder)["group"] == 2


def test_nothing_goes_on_in_the_folder_of_something_else(tmp_path):
    """Neither a test in the folder of a training, nor a run in any folder that is none; all files stay."""
    out = str(tmp_path)
    open_folder(config(out=out, name="trained"), ANY)
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "config.yaml").write_text("group: 3\nseed: 1\n")
    (tmp_path / "notes").mkdir()
    (tmp_path / "notes" / "results.json").write_text("[]")
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "log.txt").write_text("my own")
    tested = MetaTestConfig(system=CMAConfig(), out=out, name="trained", resume=True)
    before = files_in(tmp_path)
    with pytest.raises(
        FileExistsError, match="trained holds a training run: a test does not go on there; give another"
    ):
        with held_folder(tested, ANY):
            pass
    for name in ("mine", "notes", "log"):
        with pytest.raises(FileExistsError, match=f"{name} holds no run: a training run does not go on there"):
            with held_folder(config(out=out, name=name, resume=True), ANY):
                pass
        with pytest.raises(FileExistsError, match=f"{name} is not empty"), held_folder(config(out=out, name=name), ANY):
            pass
    assert files_in(tmp_path) == before


@pytest.mark.parametrize("content", [b"group: [1", b"\xff\xfe\x00", b"", b"\0\0\0"])
def test_a_damaged_configuration_is_told_in_a_line_and_training_goes_on_from_its_checkpoint(tmp_path, caplog, content):
    first, command = {"out": str(tmp_path), "name": "x"}, Command((), OPTIONS)
    folder = open_folder(config(**first), command)
    (folder / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match=r"x/config.yaml is damaged: put back a copy of it, or give another name"):
        open_folder(config(**first, resume=True), command)
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "step_00000001.pt").write_bytes(b"")
    open_folder(config(**first, resume=True), command)
    assert (folder / "config.yaml").read_bytes() == content
    write_config(folder, config(**first, resume=True, group=3), command)
    assert stored_config(folder)["group"] == 3 and "config.yaml is damaged" in caplog.text
    open_folder(task_config(**{**first, "name": "y"}), command)
    (tmp_path / "y" / "config.yaml").write_bytes(content)
    with pytest.raises(ValueError, match="y/config.yaml is damaged"):
        refuse_changes(task_config(**{**first, "name": "y"}, resume=True), command)


def test_two_processes_do_not_write_into_one_folder(tmp_path):
    """Neither two equal starts nor two continuations; the message names the process that is there."""
    for resume in (False, True):
        named = config(out=str(tmp_path), name="x", resume=resume)
        with held_folder(named, ANY) as folder:
            (folder / "metrics.jsonl").write_text("")
            with pytest.raises(RunInUse, match=rf"x is in use by process {os.getpid()} on .*give another name=<name>"):
                with held_folder(named, ANY):
                    pass
        (folder / "metrics.jsonl").unlink()


def test_the_lock_of_a_killed_process_does_not_block_though_its_workers_live_on(tmp_path):
    code = (
        "import os, sys, time; from pathlib import Path; from fewshot.run.lock import locked\n"
        "with locked(Path(sys.argv[1])):\n"
        "    child = os.fork()\n"
        "    if not child: print(os.getpid(), flush=True)\n"
        "    time.sleep(60)"
    )
    program = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert program.stdout is not None
    worker = int(program.stdout.readline())
    try:
        with pytest.raises(RunInUse, match=f"process {program.pid}"), locked(tmp_path):
            pass
        program.kill()
        program.wait()
        os.kill(worker, 0)  # it is alive
        with locked(tmp_path):
            pass
    finally:
        program.kill()
        os.kill(worker, signal.SIGKILL)
        program.stdout.close()


def test_an_empty_folder_is_used_and_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "x").mkdir()
    assert open_folder(config(out=str(tmp_path), name="x"), Command((), OPTIONS)) == tmp_path / "x"
    (tmp_path / "y").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        open_folder(config(out=str(tmp_path), name="y"), Command((), OPTIONS))


def test_what_changed_since_the_first_part_is_told(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    open_folder(config(out=str(tmp_path), name="x"), Command((), OPTIONS))
    resumed = config(out=str(tmp_path), name="x", resume=True, threads=2)
    write_config(open_folder(resumed, ANY), resumed, ANY)
    assert [record.message for record in caplog.records] == ["continuing with threads=2 (was None)"]


def test_the_commit_is_that_of_the_folder(tmp_path):
    assert git_commit(tmp_path) == ""

    def git(*arguments: str) -> str:
        identity = ("-c", "user.name=a", "-c", "user.email=a@b.c")
        return subprocess.run(("git", "-C", tmp_path, *identity, *arguments), capture_output=True, text=True).stdout

    git("init")
    (tmp_path / "a").write_text("1")
    git("add", "a")
    git("commit", "-m", "a")
    commit = git("rev-parse", "HEAD").strip()
    assert git_commit(tmp_path) == commit
    (tmp_path / "a").write_text("2")
    assert git_commit(tmp_path) == commit + "-dirty"


@pytest.mark.parametrize("place", ["/proc/nowhere", "/dev/null/runs"])
def test_a_place_where_no_folder_can_be_made_is_told(place: str):
    with pytest.raises(ValueError, match=f"out={place}: folder {place}/x cannot be made .*: give another out=<folder>"):
        open_folder(config(out=place, name="x"), ANY)


def test_a_name_that_is_too_long_is_an_error_of_the_user(tmp_path):
    with (
        pytest.raises((OSError, ValueError), match="too long") as told,
        held_folder(config(out=str(tmp_path), name="x" * 300), ANY),
    ):
        pass
    assert is_user_error(told.value)

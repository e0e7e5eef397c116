"""Run folders: their names say what ran, and nothing is overwritten by accident."""

from __future__ import annotations

import logging
import subprocess

import pytest
import yaml

from fewshot.cli.program import Command
from fewshot.cli.runs import MetaTestConfig, MetaTrainConfig
from fewshot.config.sections import BenchmarkConfig, TrainConfig
from fewshot.run.folder import git_commit, joined, open_folder, run_name
from fewshot.systems.config import SystemConfig

OPTIONS = {"system": "cma_tiny", "benchmark": "invented"}


def config(**values) -> MetaTrainConfig:
    return MetaTrainConfig(
        system=SystemConfig(name="cma"),
        benchmark=BenchmarkConfig(name="invented"),
        train=TrainConfig(steps=3),
        **values,
    )


def test_the_name_says_what_runs():
    assert run_name(config(group=2, shots=5, seed=7), Command((), OPTIONS)) == "cma_tiny-invented-cma-5shot-g2-s7"
    tested = MetaTestConfig(group="all", system=SystemConfig("cma"), benchmark=BenchmarkConfig("invented"))
    assert run_name(tested, Command((), OPTIONS)) == "test-cma_tiny-invented-cma-1shot-gall-s0"


def test_other_overrides_change_the_name_and_incidental_ones_do_not():
    def name(*overrides: str) -> str:
        return run_name(config(), Command(overrides, OPTIONS))

    plain = name()
    assert (
        name("device=cpu", "threads=1", "out=x", "resume=true", "tracking=disabled", "tracking.mode=offline") == plain
    )
    assert name("group=1", "shots=1", "seed=0", "system=cma_tiny", "protocol=cma", "data.workers=2") == plain
    assert name("optim.lr=1").startswith(plain + "-")
    assert name("optim.lr=1") != name("optim.lr=2")
    assert name("optim.lr=1", "train.steps=2") == name("train.steps=2", "optim.lr=1", "resume=true")
    assert name("data.root=/a") != plain and name("recipe=official") != plain


def test_programs_name_further_keys_that_their_names_show():
    assert joined(["a", "b"], ["task=davis17", "+limit=3", "threads=1"], ["task", "limit"]) == "a-b"
    one, other = (joined(["a"], [override], ["task"]) for override in ("task.long=3", "task.long=4"))
    assert one != other and all(len(name) == len("a-123456") and name.startswith("a-") for name in (one, other))


def test_the_folder_holds_what_ran(tmp_path):
    folder = open_folder(config(out=str(tmp_path), group=3), Command(("group=3",), OPTIONS))
    assert folder == tmp_path / "cma_tiny-invented-cma-1shot-g3-s0"
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


def test_an_empty_folder_is_used_and_a_file_in_its_place_is_named(tmp_path):
    (tmp_path / "x").mkdir()
    assert open_folder(config(out=str(tmp_path), name="x"), Command((), OPTIONS)) == tmp_path / "x"
    (tmp_path / "y").write_text("")
    with pytest.raises(FileExistsError, match="is a file"):
        open_folder(config(out=str(tmp_path), name="y"), Command((), OPTIONS))


def test_what_changed_since_the_first_part_is_told(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    open_folder(config(out=str(tmp_path), name="x"), Command((), OPTIONS))
    open_folder(config(out=str(tmp_path), name="x", resume=True, threads=2), Command((), OPTIONS))
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

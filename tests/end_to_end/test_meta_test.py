"""`python -m fewshot.meta_test` as a user runs it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.scores.scores import read_scores
from episodes.catalogue import folds_of
from fewshot import meta_test
from fewshot.cli.runs import MetaTrainConfig
from fewshot.config.sections import BenchmarkConfig, TrainConfig
from fewshot.systems.prototype.config import PrototypeConfig
from tests.end_to_end.trained import write_trained
from tests.episodes.tree import tiny_world, write_tree

pytestmark = pytest.mark.end_to_end

SMALL = ("benchmark.world_videos=2", "benchmark.test_episodes=4", "logging=disabled", "threads=1", "test.bootstrap=50")


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the synthetic world is generated once for all tests of this file."""
    return tmp_path_factory.mktemp("cache")


@pytest.fixture
def call(cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture):
    """Run the command in an empty folder: (exit code, stdout, stderr)."""

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["meta_test", *arguments, f"data.cache={cache}"])
        code = 0
        try:
            meta_test.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err

    return run


def test_the_baseline_needs_no_training_and_every_group_is_reported(call, tmp_path: Path) -> None:
    code, out, err = call("system=prototype", "group=all", "test.pictures=1", "test.seeds=2", *SMALL)
    assert code == 0, err
    (folder,) = (tmp_path / "runs").iterdir()
    stored = json.loads((folder / "results.json").read_text())
    real = {fold["group"]: fold["queries"] for fold in stored["folds"] if fold["probe"] == ""}
    assert set(real) == {1, 2, 3, 4, None} and real[None] == sum(real[g] for g in (1, 2, 3, 4))
    assert {fold["probe"] for fold in stored["folds"]} == {"", "no_support", "wrong_support", "shuffled_text"}
    for said in ("protocol", "wrong_support", "test of group 4: 8 episodes", "mean", f"folder: runs/{folder.name}"):
        assert said in out, said
    card = [line for line in out.splitlines() if line.startswith("protocol     : ")]
    assert len(card) == 1, "the card is printed once"
    start = out.index(card[0])
    assert max(map(len, out[start : out.index("\n\n", start)].splitlines())) <= 100
    assert "queries      : every expression of every video but the supports" in out
    assert "twins        : " in out and any(line.startswith("twins        : ") for line in stored["card"])
    pictures = sorted(p.name for p in (folder / "pictures").iterdir())
    assert len(pictures) == 8 and "overview_group3.png" in pictures
    scores = read_scores(folder / "results.csv")
    text_ignored = {p: [s.j_cma for s in scores if s.probe == p] for p in ("", "shuffled_text")}
    assert text_ignored[""] == text_ignored["shuffled_text"]  # the prototype does not read


def test_a_sweep_runs_every_job_and_when_it_is_started_again_only_those_that_are_missing(call, tmp_path: Path) -> None:
    words = ("-m", "system=prototype", "test.probes=[]", "test.pictures=0", *SMALL)
    code, _, err = call(*words, "group=1,9")
    assert code == 1 and err.splitlines()[-2] == "1 run(s) failed:"
    assert "group=9: benchmark synthetic has the groups 1, 2, 3, 4, all" in err.splitlines()[-1]
    (folder,) = (path for path in (tmp_path / "runs").iterdir() if path.is_dir())
    result = json.loads((folder / "finished.json").read_text())["optimized_metric"]
    (fold,) = (f for f in json.loads((folder / "results.json").read_text())["folds"] if f["group"] == 1)
    assert result == pytest.approx(100 * fold["estimates"]["clean"]["J"]["value"])
    written = (folder / "results.json").stat().st_mtime_ns
    code, out, err = call(*words, "group=1,2")
    assert code == 0, err
    assert f"runs/{folder.name} was finished with {result:.2f}" in out and out.count("test of group") == 1
    assert (folder / "results.json").stat().st_mtime_ns == written


def test_of_all_groups_the_feasible_ones_are_tested_and_the_others_named(call, tmp_path: Path) -> None:
    folds = folds_of("mini_ref_ytvos")
    missing = [folds.classes[k - 1] for k in folds.test_classes(2)]
    world = {name: video for name, video in tiny_world(folds, 2).items() if not name.startswith(tuple(missing))}
    data = ("benchmark=mini_ref_ytvos", f"data.root={write_tree(tmp_path / 'data', world)}", "benchmark.test_size=32")
    quick = ("system=prototype", "test.probes=[]", "test.pictures=0", "logging=disabled", "threads=1")
    code, out, err = call("group=all", "benchmark.test_episodes=2", *data, *quick)
    assert code == 0, err
    assert "group 2 left out, none of its classes has enough videos" in out
    (folder,) = (tmp_path / "runs").iterdir()
    folds_told = {fold["group"] for fold in json.loads((folder / "results.json").read_text())["folds"]}
    assert folds_told == {1, 3, 4, None}
    code, _, err = call("group=2", *data, *quick)
    assert code == 1 and "need 2 videos of a class, and no class has them" in err


def test_a_run_folder_just_works_and_a_manifest_repeats_it(call, tmp_path: Path, cache: Path) -> None:
    system = PrototypeConfig(backbone="tiny", backbone_width=8)
    benchmark = BenchmarkConfig(name="synthetic", test_size=48, test_chunk=3, support_frames=2, world_videos=2)
    trained = MetaTrainConfig(group=2, system=system, benchmark=benchmark, train=TrainConfig(steps=1))
    write_trained(tmp_path / "trained", trained)
    rest = ("logging=disabled", "test.pictures=0", "test.probes=[]")
    code, out, err = call("weights=trained", "group=2", "name=drawn", *rest)
    assert code == 0, err
    assert "checkpoint of step 1" in out and "chosen on validation episodes" in out

    freeze = ["group=2", "world_videos=2", "support_frames=2", f"data.cache={cache}", f"out={tmp_path}/g2.jsonl"]
    subprocess.run([sys.executable, "-m", "fewshot.freeze", *freeze], check=True, capture_output=True)
    code, out, err = call("weights=trained", "group=2", "name=frozen", "manifest=g{group}.jsonl", *rest)
    assert code == 0, err
    drawn, frozen = (tmp_path / "runs" / name / "results.csv" for name in ("drawn", "frozen"))
    assert drawn.read_bytes() == frozen.read_bytes()


def test_mistakes_end_with_one_line_before_anything_is_written(call, tmp_path: Path) -> None:
    for arguments, message in (
        (("group=1",), "system uniref needs training: give weights="),
        (("weights=nowhere", "group=1"), "no weights at nowhere"),
        (("system=prototype", "group=9"), "group=9"),
        (("system=prototype", "adaptation.steps=3"), "adaptation.steps has no effect with adaptation=none"),
        (("system=prototype", "group=some"), "all"),
    ):
        code, _, err = call(*arguments, *SMALL)
        assert code == 1 and message in err and "Traceback" not in err, err
        assert not (tmp_path / "runs").exists()


@pytest.mark.slow
def test_two_processes_count_every_query_once(cache: Path, tmp_path: Path) -> None:
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    arguments = ["system=prototype", "group=1", "device=cpu", f"data.cache={cache}", f"out={tmp_path}", *SMALL]
    torchrun = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", "-m"]
    for name, launcher in (("one", ["-m"]), ("two", torchrun)):
        command = [sys.executable, *launcher, "fewshot.meta_test", f"name={name}", *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    one, two = (tmp_path / name / "results.csv" for name in ("one", "two"))
    assert one.read_bytes() == two.read_bytes()

"""Workers that share a study: every run once, nothing lost, whatever happens to runs and workers."""

from __future__ import annotations

import json
import os
import signal
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

import optuna
import pytest
from optuna.trial import TrialState

from fewshot.sweeps import storage as storages
from fewshot.sweeps.locks import hold
from fewshot.sweeps.run import run_sweep
from fewshot.sweeps.specification import read_sweep
from fewshot.sweeps.storage import StudyError, open_storage
from fewshot.sweeps.study import LOST, MOST_LOST, again, latest, recover, share, take
from fewshot.sweeps.summary import summary
from fewshot.sweeps.worker import work
from tests.benchmarks.test_report import many
from tests.commands import typed as call
from tests.fewshot.sweeps.studies import FOLDS, start, starts, typed, write

GRID = {"group": {"values": [1, 2]}, "seed": {"values": [0, 1]}}


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def states(folder: Path, place: str = "runs/sweep/.sweep/journal.log") -> list[TrialState]:
    """What the runs of the plan have come to."""
    opened = open_storage(str(folder / place) if "://" not in place else place)
    return [trial.state for trial in latest(optuna.load_study(study_name="sweep", storage=opened)).values()]


def wait_for(holds: Callable[[], object], seconds: float = 30) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


def template(folder: Path) -> Path:
    """A results.json, for the stub to change."""
    from benchmarks.report import Report

    record = {"system": "uniref", "settings": {}, "benchmark": "synthetic", "shots": 1, "seeds": [0]}
    path = folder / "template.json"
    Report(many(groups=(1,)), bootstrap=0, record={**record, "trained_with_seed": 0}).write_json(path)
    return path


def test_two_workers_share_the_folds_and_end_with_one_table(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    words = ["set=pause=0.5", "set=validations=1", f"set=template={template(tmp_path)}"]
    write(tmp_path, GRID, description="two folds, two seeds")
    workers = [start(tmp_path, *words) for _ in range(2)]
    said = [worker.communicate(timeout=60)[0] for worker in workers]
    assert [worker.returncode for worker in workers] == [0, 0], said
    assert list(starts(tmp_path).values()) == [1, 1, 1, 1]
    assert all("50.00" in text for text in said)  # both took some
    assert states(tmp_path) == [TrialState.COMPLETE] * 4

    assert call("sweep", ["sweep.yaml", *words]) == 0  # typed again, nothing runs again
    shown = capsys.readouterr().out
    assert list(starts(tmp_path).values()) == [1, 1, 1, 1] and "sweep: 4 finished" in shown
    head, _, row = shown.splitlines()[-3:]
    assert " ".join(head.split()[-6:]) == "fold 1 fold 2 mean seeds" and row.split()[-1] == "2"


def test_a_database_is_as_good(tmp_path: Path) -> None:
    write(tmp_path, GRID)
    assert call("sweep", ["sweep.yaml", "workers=2", "storage=sqlite:///study.db"]) == 0
    assert list(starts(tmp_path).values()) == [1, 1, 1, 1]
    assert states(tmp_path, "sqlite:///study.db") == [TrialState.COMPLETE] * 4


def test_a_run_that_fails_is_recorded_the_others_go_on_and_it_can_be_tried_again(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path)
    assert call("sweep", ["sweep.yaml", "set=fails=group=1"]) == 1
    out, err = capsys.readouterr()
    assert states(tmp_path) == [TrialState.FAIL, TrialState.COMPLETE]
    assert "1 finished, 1 failed" in out
    assert err.startswith(
        "1 run(s) failed:\n  run 0: exit code 1: error: out of luck (runs/sweep/.sweep/000-group1.txt)"
    )
    assert call("sweep", ["sweep.yaml", "set=fails=group=1"]) == 1  # still told, and not run again
    assert starts(tmp_path) == {"000-group1": 1, "001-group2": 1}
    assert call("sweep", ["sweep.yaml", "set=fails=group=1", "retry=true"]) == 1
    assert starts(tmp_path) == {"000-group1": 2, "001-group2": 1}
    assert typed(tmp_path, "000-group1")[-1] == "resume=true"


def test_a_run_whose_worker_is_killed_is_taken_up_by_another(tmp_path: Path) -> None:
    """The run itself lives on: its result is not lost, and it is not computed twice."""
    write(tmp_path)
    (tmp_path / "waits").touch()
    words = ("set=kills=group=1", f"set=waits={tmp_path}/waits")
    killed = start(tmp_path, *words)
    killed.communicate(timeout=60)
    assert killed.returncode == -signal.SIGKILL
    assert states(tmp_path) == [TrialState.RUNNING, TrialState.WAITING]
    other = start(tmp_path, *words)
    wait_for(lambda: len(starts(tmp_path)) == 2)
    assert states(tmp_path)[0] == TrialState.RUNNING  # the run that the killed worker had started is alive
    (tmp_path / "waits").unlink()
    said, _ = other.communicate(timeout=60)
    assert call("sweep", ["sweep.yaml", *words]) == 0, said
    assert states(tmp_path) == [TrialState.COMPLETE] * 2
    assert starts(tmp_path) == {"000-group1": 1, "001-group2": 1}


def test_a_run_that_takes_several_workers_with_it_is_failed(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    shared = share(read_sweep(write(tmp_path, {"group": {"value": 1}})), "sweep", tmp_path / "runs", None, (), 0, None)
    study = shared.study()
    for lost in range(MOST_LOST + 1):
        trial, handle = take(shared, study)
        assert trial.user_attrs[LOST] == lost
        assert take(shared, study) is None  # while its worker lives
        os.close(handle)
    assert take(shared, study) is None
    assert states(tmp_path) == [TrialState.FAIL] and "run 0: its worker is gone, failed" in caplog.text
    assert summary(shared, "text")[1] == ["run 0: its worker died 4 times"]
    again(shared)
    assert take(shared, study) is not None


def test_a_run_that_ends_while_another_worker_looks_is_not_taken_for_lost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = share(read_sweep(write(tmp_path, {"group": {"value": 1}})), "sweep", tmp_path / "runs", None, (), 0, None)
    study, other = shared.study(), shared.study()
    trial, handle = take(shared, study)

    def ends(path: Path) -> int | None:  # between the look at the trials and the look at the lock
        study.tell(trial, 1.0)
        os.close(handle)
        return hold(path)

    monkeypatch.setattr("fewshot.sweeps.study.hold", ends)
    recover(shared, other, True)
    assert states(tmp_path) == [TrialState.COMPLETE]


def test_a_worker_that_dies_before_it_holds_its_lock_loses_nothing(tmp_path: Path) -> None:
    shared = share(read_sweep(write(tmp_path, GRID)), "sweep", tmp_path / "runs", None, (), 0, None)
    for _ in range(2):
        shared.study().ask()  # which has not been told a parameter yet
    assert states(tmp_path) == [TrialState.RUNNING] * 2 + [TrialState.WAITING] * 2
    work(shared, 2)
    assert states(tmp_path) == [TrialState.COMPLETE] * 4
    cells = ["000-group1-seed0", "001-group1-seed1", "002-group2-seed0", "003-group2-seed1"]
    assert starts(tmp_path) == dict.fromkeys(cells, 1)


def test_a_sweep_that_others_still_run_or_wait_for_is_told_with_its_cells(tmp_path: Path) -> None:
    shared = share(read_sweep(write(tmp_path, GRID)), "sweep", tmp_path / "runs", None, (), 0, None)
    text, failed = summary(shared, "text")
    assert "4 waits" in text and "002-group2-seed0" in text and not failed


def test_a_run_whose_mark_of_its_end_is_damaged_is_recorded_and_the_others_go_on(tmp_path: Path) -> None:
    (tmp_path / "runs/sweep/.sweep").mkdir(parents=True)
    (tmp_path / "runs/sweep/000-group1").mkdir()
    (tmp_path / "runs/sweep/000-group1/finished.json").write_text("{")
    failed = run_sweep(write(tmp_path), tmp_path / "runs")
    assert states(tmp_path) == [TrialState.FAIL, TrialState.COMPLETE]
    assert len(failed) == 1 and "finished.json" in failed[0]


def test_a_signal_lets_the_runs_save_and_the_same_command_goes_on(tmp_path: Path) -> None:
    write(tmp_path)
    (tmp_path / "waits").touch()
    words = (f"set=waits={tmp_path}/waits", "workers=2")
    worker = start(tmp_path, *words)
    wait_for(lambda: len(starts(tmp_path)) == 2)
    time.sleep(0.1)  # the stub listens to signals by then
    worker.send_signal(signal.SIGTERM)
    said, _ = worker.communicate(timeout=60)
    assert worker.returncode == 143 and "the runs have saved" in said and "Traceback" not in said
    assert len(list(tmp_path.glob("runs/sweep/*/saved"))) == 2
    assert states(tmp_path) == [TrialState.WAITING] * 2
    (tmp_path / "waits").unlink()
    assert call("sweep", ["sweep.yaml", *words]) == 0
    assert states(tmp_path) == [TrialState.COMPLETE] * 2
    assert typed(tmp_path, "000-group1")[-1] == "resume=true"


def test_a_run_that_is_worse_in_validation_is_ended_early(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewshot.sweeps.trial.POLL", 0.1)
    early = {"type": "hyperband", "min_iter": 1, "eta": 2}
    write(tmp_path, {"group": {"values": [3, 2, 1]}}, early_terminate=early)
    code = call("sweep", ["sweep.yaml", "set=score=10*{group}", "set=validations=3", "set=pause=0.4"])
    assert code == 0 and states(tmp_path) == [TrialState.COMPLETE, TrialState.PRUNED, TrialState.PRUNED]
    assert len(list(tmp_path.glob("runs/sweep/*/saved"))) == 2
    assert "1 finished, 2 ended early" in capsys.readouterr().out


def test_a_search_finds_what_is_better_and_shows_the_table_of_the_best(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    parameters = {"lr": {"min": 0.0, "max": 1.0}, "group": {"value": 1}}
    write(tmp_path, parameters, method="bayes", run_cap=3)
    words = ("set=score=100*{lr}", f"set=template={template(tmp_path)}")
    assert call("sweep", ["sweep.yaml", *words]) == 0 and len(starts(tmp_path)) == 3
    assert call("sweep", ["sweep.yaml", *words, "runs=5", "workers=2"]) == 0 and len(starts(tmp_path)) == 5
    shown = capsys.readouterr().out.rpartition("sweep: 5 finished")[2].splitlines()
    values = [float(line.split()[-1]) for line in shown[3:8]]
    assert values == sorted(values, reverse=True)
    assert "Folds and seeds of the best setting (lr=" in "\n".join(shown)


def test_another_number_of_the_log_can_be_optimised(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    write(tmp_path, FOLDS, metric={"name": "val/score", "goal": "minimize"})
    assert call("sweep", ["sweep.yaml", "set=score=10*{group}", "set=validations=2"]) == 0
    shown = capsys.readouterr().out
    assert shown.index("000-group1") < shown.index("001-group2") and "10.00" in shown
    write(tmp_path, FOLDS, metric={"name": "val/F", "goal": "maximize"})
    assert call("sweep", ["sweep.yaml", "name=other"]) == 1
    assert "the run has no number val/F" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["set=name=a"], "set=name=a: a sweep gives its runs their name"),
        (["set=group=3"], "set=group=3: group stands in the file of the sweep"),
        (["set=fast"], "set=fast: give set=<key>=<value>"),
        (["name=../a"], "name=../a leads out of the folder"),
        (["name=other"], "holds something else than this study"),
        (["file=nope.yaml"], "sweep nope.yaml cannot be read"),
        (["storage=nonsense://a"], "study nonsense://a cannot be used"),
        (["workers=0"], "workers=0: the smallest valid value is 1"),
        (["out=/proc/none"], "out: folder /proc/none/sweep/.sweep cannot be made"),
    ],
)
def test_mistakes_end_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture, words: list[str], said: str) -> None:
    write(tmp_path)
    (tmp_path / "runs" / "other").mkdir(parents=True)
    (tmp_path / "runs" / "other" / "results.json").touch()
    given = words if words[0].startswith("file=") else ["sweep.yaml", *words]
    assert call("sweep", given) == 1
    err = capsys.readouterr().err
    assert said in err and len(err.splitlines()) == 1 and not starts(tmp_path)


def test_without_optuna_the_exact_command_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("fewshot.sweep.find_spec", lambda name: None)
    assert call("sweep", ["sweep.yaml"]) == 1
    assert "pip install 'fewshot-segmentation[sweep]'" in capsys.readouterr().err


def test_a_search_needs_a_number_of_runs_and_another_sweep_another_name(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="how many runs"):
        run_sweep(write(tmp_path, {"lr": {"min": 0.0, "max": 1.0}}, method="random"), tmp_path / "runs")
    run_sweep(write(tmp_path), tmp_path / "runs")
    for changed in ({"words": ["score=1"]}, {"seed": 1}):
        with pytest.raises(StudyError, match="is another sweep: .*Give another name"):
            run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs", **changed)
    journal = tmp_path / "runs/sweep/.sweep/journal.log"
    journal.unlink()  # its runs are still those of the first sweep
    with pytest.raises(StudyError, match="is another sweep: parameters"):
        run_sweep(write(tmp_path, {"group": {"values": [1, 2, 3]}}), tmp_path / "runs")


def test_a_study_whose_journal_is_lost_takes_the_results_of_finished_runs(tmp_path: Path) -> None:
    run_sweep(write(tmp_path), tmp_path / "runs")
    (tmp_path / "runs/sweep/.sweep/journal.log").unlink()
    run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs")
    assert list(starts(tmp_path).values()) == [1, 1] and states(tmp_path) == [TrialState.COMPLETE] * 2


def test_a_damaged_journal_is_named_with_its_line_and_a_record_that_was_cut_off_costs_nothing(tmp_path: Path) -> None:
    run_sweep(write(tmp_path), tmp_path / "runs")
    journal = tmp_path / "runs/sweep/.sweep/journal.log"
    whole = journal.read_bytes()
    journal.write_bytes(whole + b'{"op_code": 4, "worker')
    run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs")
    assert journal.read_bytes().startswith(whole) and list(starts(tmp_path).values()) == [1, 1]
    whole = journal.read_bytes()
    for damage in (b"\0\0\0", b"[1]", b'{"a": 1}', b"\xff{"):
        lines = whole.splitlines()
        lines[2] = damage
        found = b"\n".join(lines) + b"\n"
        journal.write_bytes(found)
        with pytest.raises(StudyError, match=r"journal.log is damaged in line 3"):
            run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs")
        assert journal.read_bytes() == found


def test_a_journal_that_is_damaged_in_mid_run_ends_the_sweep_and_its_runs_keep_their_results(
    tmp_path: Path, capsys: pytest.CaptureFixture
) -> None:
    write(tmp_path)
    journal = tmp_path / "runs/sweep/.sweep/journal.log"
    words = ["sweep.yaml", f"set=damages={journal}"]  # by the first run
    assert call("sweep", words) == 1
    err = capsys.readouterr().err
    assert "journal.log is damaged in line" in err and len(err.splitlines()) == 1
    assert starts(tmp_path) == {"000-group1": 1}
    content = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(line for line in content if b"\0" not in line))
    assert call("sweep", words) == 0
    assert list(starts(tmp_path).values()) == [1, 1] and states(tmp_path) == [TrialState.COMPLETE] * 2


def test_the_lock_of_a_worker_that_died_in_the_journal_is_taken_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    run_sweep(write(tmp_path), tmp_path / "runs")
    journal = tmp_path / "runs/sweep/.sweep/journal.log"
    os.symlink(journal, f"{journal}.lock")
    monkeypatch.setattr(storages, "GRACE", 1)
    assert run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs", retry=True) == []


def test_a_database_that_is_locked_or_damaged_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(storages, "WAIT", 0.2)
    write(tmp_path)
    open_storage("sqlite:///study.db")
    holder = sqlite3.connect(tmp_path / "study.db")
    holder.execute("begin exclusive")
    with pytest.raises(StudyError, match=r"sqlite:///study.db cannot be used .*locked.*wait for its end"):
        run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs", storage="sqlite:///study.db")
    holder.close()
    assert run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs", storage="sqlite:///study.db") == []
    (tmp_path / "study.db").write_bytes(b"nonsense" * 1000)
    with pytest.raises(StudyError, match="not a database.*put back a copy"):
        run_sweep(tmp_path / "sweep.yaml", tmp_path / "runs", storage="sqlite:///study.db")
    assert json.loads((tmp_path / "runs/sweep/000-group1/finished.json").read_text())

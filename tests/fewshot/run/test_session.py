"""Runs under way: their logs, what they say, and what stays when they end."""

from __future__ import annotations

import logging
import os
import signal
from collections.abc import Iterator
from dataclasses import replace

import pytest
import torch

from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import Command, checked
from fewshot.cli.runs import MetaTrainConfig
from fewshot.run.console import parameter_line, run_log
from fewshot.run.session import Session, in_session, session, tell_problems
from fewshot.run.signals import Interrupted, SignalWatch, ignore_in_worker


def configured(*overrides: str) -> MetaTrainConfig:
    register_schemas()
    return checked(composed("meta_train", overrides))


def test_a_long_list_of_problems_goes_into_a_file(tmp_path, caplog):
    caplog.set_level(logging.WARNING)
    tell_problems([f"frame {k} is missing" for k in range(3)], tmp_path)
    assert len(caplog.records) == 3 and not list(tmp_path.iterdir())
    caplog.clear()
    tell_problems([f"frame {k} is missing" for k in range(100)], tmp_path)
    assert len(caplog.records) == 6
    assert "95 more" in caplog.records[-1].message
    assert len((tmp_path / "problems.txt").read_text().splitlines()) == 100


def test_a_session_speaks_into_its_log_and_lets_go_of_it(tmp_path, capsys):
    config = configured(f"out={tmp_path}", "logging=disabled", "name=one", "device=cpu")
    logger = logging.getLogger("fewshot.test")
    with session(config, Command((), {})) as here:
        assert here.main and here.device.type == "cpu"
        logger.info("inside")
    logger.info("outside")
    assert "inside" in capsys.readouterr().out
    log = (tmp_path / "one" / "log.txt").read_text()
    assert "inside" in log and "torch" in log and "outside" not in log
    (tmp_path / "one" / "results.json").write_text("{}")
    with pytest.raises(FileExistsError):
        with session(config, Command((), {})):
            pass
    with session(replace(config, resume=True), Command((), {})):
        pass


def test_a_silent_process_only_warns(tmp_path, capsys):
    logger = logging.getLogger("episodes.test")
    before = logger.getEffectiveLevel()
    with run_log(tmp_path, speaks=False):
        logger.info("quiet")
        logger.warning("loud")
    assert logger.getEffectiveLevel() == before
    assert capsys.readouterr().out == "loud\n"
    assert not list(tmp_path.iterdir())


def test_parameters_are_counted():
    layer = torch.nn.Linear(3, 2)
    layer.bias.requires_grad_(False)
    assert parameter_line(layer) == "6 of 8 parameters are trained"


class Work:
    """Work that counts how often it was done, and that may fail."""

    def __init__(self) -> None:
        self.done, self.fails = 0, False

    def __call__(self, here: Session) -> float:
        self.done += 1
        (here.folder / "results.json").write_text("{}")
        if self.fails:
            raise ValueError("out of luck")
        return 40.0 + self.done


def test_a_finished_run_of_a_sweep_gives_its_result_and_an_unfinished_one_goes_on_when_asked(tmp_path, capsys):
    config, work = configured(f"out={tmp_path}", "logging=disabled", "name=one", "device=cpu"), Work()
    sweep = Command((), {}, sweeps=True)
    work.fails = True
    with pytest.raises(ValueError, match="out of luck"):
        in_session(config, sweep, work)
    work.fails = False
    with pytest.raises(FileExistsError, match="Give resume=true to continue it"):
        in_session(config, sweep, work)
    assert in_session(replace(config, resume=True), sweep, work) == 42.0
    for again in (config, replace(config, resume=True), replace(config, threads=1)):
        assert in_session(again, sweep, work) == 42.0
    assert work.done == 2
    assert f"{tmp_path}/one was finished with 42.00: it is not run again" in capsys.readouterr().out


def test_only_the_very_run_counts_as_finished(tmp_path):
    config, work = configured(f"out={tmp_path}", "logging=disabled", "name=one", "device=cpu"), Work()
    sweep = Command((), {}, sweeps=True)
    in_session(config, sweep, work)
    with pytest.raises(FileExistsError, match="is not empty"):
        in_session(replace(config, shots=5), sweep, work)  # another run under the same name
    with pytest.raises(FileExistsError, match="is not empty"):
        in_session(config, Command((), {}), work)  # alone it is refused as before
    work.fails = True
    with pytest.raises(ValueError, match="out of luck"):
        in_session(replace(config, resume=True), Command((), {}), work)
    assert not (tmp_path / "one" / "finished.json").exists()  # it went on, and is not finished any more
    (tmp_path / "one" / "finished.json").write_text("{half")
    with pytest.raises(ValueError, match="finished.json is damaged: remove it"):
        in_session(config, sweep, work)


@pytest.fixture
def listener() -> Iterator[list[int]]:
    """Signals that the program around this one hears of, as a launcher of Slurm listens to SIGUSR2."""
    heard: list[int] = []
    before = signal.signal(signal.SIGUSR2, lambda signum, frame: heard.append(signum))
    yield heard
    signal.signal(signal.SIGUSR2, before)


def test_a_launcher_hears_that_the_time_is_up_when_the_run_has_saved_and_left_its_folder(tmp_path, listener):
    config = configured(f"out={tmp_path}", "logging=disabled", "name=one", "device=cpu")

    def trains(here: Session) -> float:
        with SignalWatch() as signals:  # as the training loop, which saves first
            os.kill(os.getpid(), signal.SIGUSR2)
            assert signals.received == signal.SIGUSR2 and listener == []
        raise Interrupted(signal.SIGUSR2)

    with pytest.raises(Interrupted) as stopped:
        in_session(config, Command((), {}), trains)
    assert stopped.value.exit_code == 128 + signal.SIGUSR2 and listener == [signal.SIGUSR2]

    def begins(here: Session) -> float:
        os.kill(os.getpid(), signal.SIGUSR2)
        pytest.fail("the run went on")

    with pytest.raises(Interrupted):
        in_session(replace(config, resume=True), Command((), {}), begins)
    assert listener == [signal.SIGUSR2] * 2


def test_the_signal_of_a_scheduler_to_which_nobody_listens_does_what_it_always_does(listener):
    signal.signal(signal.SIGUSR2, signal.SIG_DFL)
    with SignalWatch():
        assert signal.getsignal(signal.SIGUSR2) is signal.SIG_DFL


def test_a_loading_process_leaves_the_signals_of_a_scheduler_to_its_parent(listener):
    """Slurm signals every process of a job: a forked one would hand the job in again beside its parent."""
    before = {signum: signal.getsignal(signum) for signum in (signal.SIGINT, signal.SIGTERM)}
    ignore_in_worker(0)
    try:
        os.kill(os.getpid(), signal.SIGUSR2)
        assert listener == []
    finally:
        for signum, handler in before.items():
            signal.signal(signum, handler)

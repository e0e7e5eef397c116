"""A run that is stopped: it saves, ends with its exit code whatever its loading processes do, and goes on."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch
from torch import nn

from fewshot.run.signals import CAUGHT
from fewshot.training.loop import Interrupted, Trainer
from fewshot.weights.checkpoint import load_checkpoint
from tests.fewshot.training.runs import assert_same_run, program, run, weights
from tests.fewshot.training.tiny_system import Rows, TinyEpisodes, TinySystem, score, tiny_settings, train


@pytest.fixture(autouse=True)
def _one_thread() -> None:
    torch.set_num_threads(1)


@pytest.fixture
def signals_heard() -> Iterator[None]:
    """All signals as in a program of the foreground, even where the parent of the tests ignores them."""
    before = {signum: signal.signal(signum, signal.default_int_handler) for signum in CAUGHT}
    yield
    for signum, handler in before.items():
        signal.signal(signum, handler)


@pytest.mark.parametrize(("signum", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143), (signal.SIGUSR2, 140)])
def test_signal_saves_and_ends_with_its_exit_code(tmp_path: Path, signum: int, code: int) -> None:
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole")
    episodes = json.dumps({"stop_at": 4 * 6, "by": int(signum)})
    stopped = run(program(tmp_path / "stopped", "--episodes", episodes))
    assert stopped.returncode == code, stopped.stderr
    assert load_checkpoint(tmp_path / "stopped" / "checkpoints" / "step_00000006.pt")["step"] == 6
    assert "Traceback" not in stopped.stderr
    train(tmp_path / "stopped", resume=True)
    assert_same_run(tmp_path / "whole", tmp_path / "stopped", 12)


def test_an_ignored_signal_stays_ignored_and_others_still_stop_the_run(tmp_path: Path) -> None:
    """As in the background job of a script, to which Ctrl-C must not get through."""
    ignored = ("--ignored", json.dumps([int(signal.SIGINT)]))
    for signum, code in ((signal.SIGINT, 0), (signal.SIGTERM, 143)):
        episodes = json.dumps({"stop_at": 4 * 6, "by": int(signum)})
        ended = run(program(tmp_path / signum.name, "--episodes", episodes, *ignored))
        assert ended.returncode == code, ended.stderr
    assert weights(tmp_path / "SIGINT", 12) and weights(tmp_path / "SIGTERM", 6)


def test_signal_with_workers_and_in_the_last_step(tmp_path: Path, signals_heard: None) -> None:
    episodes, settings = json.dumps({"stop_at": 4 * 11, "by": int(signal.SIGTERM)}), json.dumps({"workers": 1})
    worker_hit = run(program(tmp_path / "worker", "--episodes", episodes, "--settings", settings))
    assert worker_hit.returncode == 0, worker_hit.stderr  # the signal hit the worker, which outlives it

    class StopsAtTheEnd(Rows):
        def log(self, row: dict, step: int) -> None:
            super().log(row, step)
            if step == 12 and "train/loss" in row:
                os.kill(os.getpid(), signal.SIGTERM)

    trainer = Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), tmp_path, log=StopsAtTheEnd(), validate=score)
    with pytest.raises(Interrupted) as stopped:
        trainer.run()
    assert stopped.value.exit_code == 143
    assert weights(tmp_path, 12)


def test_signal_during_validation_validates_again(tmp_path: Path, signals_heard: None) -> None:
    calls = []

    def interrupted(system: nn.Module, step: int) -> dict[str, float]:
        calls.append(step)
        if calls == [5]:
            os.kill(os.getpid(), signal.SIGINT)
            pytest.fail("validation went on")
        return score(system, step)

    (tmp_path / "whole").mkdir()
    (tmp_path / "stopped").mkdir()
    train(tmp_path / "whole")
    for resume in (False, True):
        log = Rows(tmp_path / "stopped" / "rows.jsonl")
        trainer = Trainer(
            TinySystem(), TinyEpisodes(), tiny_settings(), tmp_path / "stopped", log=log, validate=interrupted
        )
        if resume:
            trainer.run(resume=True)
        else:
            with pytest.raises(Interrupted):
                trainer.run()
    assert calls == [5, 5, 10, 12]
    assert_same_run(tmp_path / "whole", tmp_path / "stopped", 12)
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_a_validation_after_a_stop_stands_once_though_the_next_part_is_killed(
    tmp_path: Path, signals_heard: None
) -> None:
    """Stopped in a validation, continued, killed before the next checkpoint, continued."""
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole")
    broken = tmp_path / "broken"
    broken.mkdir()

    def stopped(system: nn.Module, step: int) -> dict[str, float]:
        os.kill(os.getpid(), signal.SIGTERM)
        return {}

    class Killed(RuntimeError):
        """In the place of a kill, after which no line of the program runs."""

    class KilledAtStepSix(Rows):
        def log(self, row: dict, step: int) -> None:
            if step == 6:
                raise Killed
            super().log(row, step)

    parts = [(Rows, stopped, Interrupted), (KilledAtStepSix, score, Killed)]
    for part, (log, validate, end) in enumerate(parts):
        rows = log(broken / "rows.jsonl")
        trainer = Trainer(TinySystem(), TinyEpisodes(), tiny_settings(), broken, log=rows, validate=validate)
        with pytest.raises(end):
            trainer.run(resume=part > 0)
    train(broken, resume=True)
    assert_same_run(tmp_path / "whole", broken, 12)


def test_a_signal_in_a_validation_ends_the_run_with_its_loading_processes(tmp_path: Path) -> None:
    """They hear no signal: unless they are told to end, the program waits for them for ever."""
    command = [*program(tmp_path / "run", "--settings", '{"workers": 1}'), "--stop-in-validation"]
    ended = run(command, timeout=90)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "step_00000005.pt")["step"] == 5

"""A test that several processes share gives what one process gives, whatever happens in them."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections.abc import Sequence
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path

import pytest
from torch import Tensor

from benchmarks.report import Report
from episodes.sources.base import Source
from fewshot.cli.errors import in_words, is_user_error
from fewshot.evaluation.benchmark import open_benchmark
from fewshot.evaluation.folds import run_test
from fewshot.evaluation.parallel import MOST, WORTH, number_of_processes
from fewshot.evaluation.report import Origin
from fewshot.run import processes
from fewshot.systems.config import SystemConfig
from tests.episodes.memory import MemorySource
from tests.fewshot.evaluation.oracle import Oracle, settings


class BrokenSource(MemorySource):
    """One of its videos cannot be read."""

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        if video == "class2_1":
            raise ValueError(f"video {video!r} is broken")
        return super().read_frames(video, frames)


class DyingSource(MemorySource):
    """The process that reads one of its videos is killed, as the system does where memory runs out."""

    def read_frames(self, video: str, frames: Sequence[str]) -> Tensor:
        if video == "class2_1":
            assert multiprocessing.parent_process() is not None
            os.kill(os.getpid(), signal.SIGKILL)
        return super().read_frames(video, frames)


class Unsendable(Oracle):
    """Holds what no other process can be given."""

    def __init__(self) -> None:
        super().__init__()
        self.choose = lambda: 1


@dataclass
class OneThread(SystemConfig):
    """Settings of a system that keeps one core busy at most."""

    @property
    def threads(self) -> int | None:
        return 1


def report_of(folder: Path, count: int | None, source: Source | None = None, system: Oracle | None = None) -> Report:
    config = settings(probes=["wrong_support", "no_support"], seeds=2, processes=count, save_masks=True)
    benchmark = open_benchmark(config, source or MemorySource())
    return run_test(system or Oracle(), benchmark, 1, folder, Origin())


def test_several_processes_give_the_scores_and_masks_of_one(tmp_path: Path) -> None:
    alone, shared = report_of(tmp_path / "one", 1), report_of(tmp_path / "two", 2)
    assert shared.scores == alone.scores and len(alone.scores) > 20
    masks = [sorted((tmp_path / name / "masks").rglob("*.png")) for name in ("one", "two")]
    assert [a.relative_to(tmp_path / "one") for a in masks[0]] == [b.relative_to(tmp_path / "two") for b in masks[1]]
    assert all(a.read_bytes() == b.read_bytes() for a, b in zip(*masks, strict=True)) and masks[0]


def test_what_goes_wrong_in_another_process_is_told_here(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'class2_1' is broken"):
        report_of(tmp_path, 2, BrokenSource())


def test_a_process_that_is_killed_ends_the_test_in_a_line(tmp_path: Path) -> None:
    with pytest.raises(BrokenProcessPool) as error:
        report_of(tmp_path, 2, DyingSource())
    assert is_user_error(error.value)
    assert "test.processes); resume=true" in in_words(error.value) and "\n" not in in_words(error.value)


def test_a_system_that_cannot_be_sent_is_refused_with_the_way_out(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'oracle' cannot be sent to another process .*test.processes=1"):
        report_of(tmp_path, 2, system=Unsendable())


def test_number_of_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(processes, "cores", lambda: 16)

    def number(count: int | None, system: SystemConfig, episodes: int, threads: int | None = None) -> int:
        config = settings(processes=count)
        config.system, config.threads = system, threads
        return number_of_processes(Oracle(), open_benchmark(config, MemorySource()), episodes)

    small, large = OneThread(name="oracle"), SystemConfig(name="oracle")
    assert number(None, small, 100 * WORTH) == MOST and number(None, large, 100 * WORTH) == 1
    assert number(None, small, 2 * WORTH) == 2 and number(None, small, WORTH // 2) == 1
    assert number(None, small, 100 * WORTH, threads=2) == 1
    assert number(3, large, 5) == 3 and number(8, small, 5) == 5 and number(1, small, 100 * WORTH) == 1
    monkeypatch.setattr(processes, "world_size", lambda: 2)
    assert number(3, large, 5) == 1  # the processes of torchrun share the test already

"""Episodes that cannot be read in the middle of a training."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import dataloader

from episodes.unbroken import FAR, TRIES, Unbroken
from fewshot.cli.errors import in_words, is_user_error
from tests.fewshot.training.runs import assert_same_run, weights
from tests.fewshot.training.test_loop import run_two
from tests.fewshot.training.tiny_system import Rows, TinyEpisodes, train

BROKEN = 4 * 6 + 2  # of step 7


@pytest.mark.parametrize("workers", [0, 1])
def test_a_file_that_cannot_be_read_ends_the_run_with_its_name_whichever_process_reads_it(
    tmp_path: Path, workers: int
) -> None:
    with pytest.raises(FileNotFoundError) as error:
        train(tmp_path, TinyEpisodes(broken=BROKEN), workers=workers)
    assert str(error.value) == "frame broken.jpg is missing: restore the file, or remove it from the lists"
    assert is_user_error(error.value)
    assert weights(tmp_path, 4)  # of the last checkpoint, from which the run goes on


def test_a_loading_process_that_is_killed_ends_the_run_in_a_line_and_nothing_is_lost(tmp_path: Path) -> None:
    for name in ("whole", "broken"):
        (tmp_path / name).mkdir()
    with pytest.raises(RuntimeError) as error:
        train(tmp_path / "broken", TinyEpisodes(stop_at=BROKEN), workers=1)
    assert is_user_error(error.value)
    told = in_words(error.value)
    assert "was killed (DataLoader worker (pid" in told and "), most often for want of memory: have fewer" in told
    assert "\n" not in told
    train(tmp_path / "broken", resume=True, workers=1)
    train(tmp_path / "whole")
    assert_same_run(tmp_path / "whole", tmp_path / "broken", 12)


def test_a_loading_process_that_is_killed_while_it_sends_is_told_like_any_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def cut_off(self: Any, *given: Any) -> None:
        os.kill(self._workers[0].pid, signal.SIGKILL)
        raise ConnectionResetError(104, "Connection reset by peer")

    monkeypatch.setattr(dataloader._MultiProcessingDataLoaderIter, "_try_get_data", cut_off)
    for name in ("_set_worker_pids", "_remove_worker_pids"):  # whose handler of SIGCHLD would tell it first
        monkeypatch.setattr(dataloader._utils.signal_handling, name, lambda *given: None)
    with pytest.raises(RuntimeError, match=r"^DataLoader worker \(pid\(s\) \d+\) exited unexpectedly$") as error:
        train(tmp_path, workers=1)
    assert is_user_error(error.value)


def test_a_fault_of_the_program_keeps_its_trace(tmp_path: Path) -> None:
    class Faulty(TinyEpisodes):
        def __getitem__(self, index: int):
            raise KeyError("a mistake") if index == BROKEN else ValueError("of torch's own")

    with pytest.raises(ValueError, match="(?s)Caught ValueError in DataLoader worker.*Original Traceback.*torch's own"):
        train(tmp_path, Faulty(), workers=1)


def test_a_skipped_episode_is_named_and_counted_and_another_one_takes_its_place(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name, workers in (("one", 0), ("two", 1)):
        (tmp_path / name).mkdir()
        caplog.clear()
        train(tmp_path / name, Unbroken(TinyEpisodes(broken=BROKEN)), workers=workers)
        told = [record.getMessage() for record in caplog.records if "broken.jpg" in record.getMessage()]
        assert told == [
            "step 7: episode 26: frame broken.jpg is missing: restore the file, or remove it from the lists; another "
            "episode was taken, 1 so far"
        ]
    assert_same_run(tmp_path / "one", tmp_path / "two", 12)
    rows = [row.get("train/broken_episodes") for _, row in Rows(tmp_path / "one/rows.jsonl").losses()[:-1]]
    assert set(rows[:6]) <= {None} and rows[-1] == 1
    (tmp_path / "whole").mkdir()
    train(tmp_path / "whole")  # without a broken file: the same up to that step
    ours, theirs = (Rows(tmp_path / name / "rows.jsonl").losses() for name in ("one", "whole"))
    assert ours[:6] == theirs[:6] and ours[7] != theirs[7]


def test_the_episode_in_the_place_of_a_broken_one_is_always_the_same_and_not_looked_for_for_ever() -> None:
    episodes = Unbroken(TinyEpisodes(broken=3))
    assert episodes[2].problems == () and len(episodes[3].problems) == 1
    assert torch.equal(episodes[3].queries[0].frames, TinyEpisodes()[3 + FAR].queries[0].frames)

    class AllBroken:
        asked = 0

        def __getitem__(self, index: int):
            self.asked += 1
            raise ValueError("no file is there")

    none = AllBroken()
    with pytest.raises(ValueError, match="no file is there"):
        _ = Unbroken(none)[0]
    assert none.asked == TRIES


@pytest.mark.parametrize("episodes", [{"broken": BROKEN}, {"stop_at": BROKEN, "by": int(signal.SIGKILL)}])
def test_one_of_two_processes_that_fails_ends_both(tmp_path: Path, episodes: dict[str, int]) -> None:
    settings = {"accumulate": 1, "workers": int("broken" in episodes)}  # a loading process must not hold up the end
    ended = run_two(tmp_path, episodes=episodes, settings=settings)  # episode 26 is of the second process alone
    assert ended.returncode != 0
    assert max(step for step, _ in Rows(tmp_path / "rows.jsonl").rows) == 6
    assert weights(tmp_path, 4)

"""What a run says while it works."""

from __future__ import annotations

import logging

import pytest

from fewshot.run import console
from fewshot.run.console import counted


def test_progress_is_told_now_and_then(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    clock = iter([0.0, 8.0, 21.0, 21.0, 22.0, 60.0, 60.0])  # read at the start, after each item, and after each line
    monkeypatch.setattr(console.time, "perf_counter", lambda: next(clock))
    monkeypatch.setattr(console.sys.stderr, "isatty", lambda: False, raising=False)
    with caplog.at_level(logging.INFO, logger="fewshot.run.console"):
        assert list(counted("abcd", "testing", "episode", shown=True)) == list("abcd")
    assert caplog.messages == ["testing: 2/4 episodes", "testing: 4/4 episodes"]


def test_silence_is_silent(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture
) -> None:
    monkeypatch.setattr(console, "SECONDS_PER_LINE", -1)
    with caplog.at_level(logging.INFO):
        assert list(counted([1, 2], "testing", "unit", shown=False)) == [1, 2]
    assert caplog.messages == [] and capsys.readouterr() == ("", "")

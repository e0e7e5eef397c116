"""A command with the keys of a meta-training that remembers what it was called with instead of training."""

from __future__ import annotations

import errno
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from fewshot.cli.program import Command, Program
from fewshot.cli.runs import MetaTrainConfig

Calls = list[tuple[MetaTrainConfig, Command]]
Call = Callable[..., tuple[int, str, str, Calls]]
CALLS: Calls = []


def remember(config: MetaTrainConfig, command: Command) -> float:
    CALLS.append((config, command))
    if config.name == "fails":
        raise ValueError("the supports are on holiday")
    if config.name == "full":
        raise OSError(errno.ENOSPC, "No space left on device", "results.json")
    if config.name == "closed":
        (Path(config.out) / "folder").mkdir()  # a line of the standard library refuses it
    if config.name == "stopped":
        raise SystemExit(143)  # as a signal ends a run
    if config.name == "interrupted":
        raise KeyboardInterrupt
    if config.name == "breaks":
        [][1]
    return 42.0


PROGRAM = Program(
    name="meta_train",
    schema=MetaTrainConfig,
    about="Trains.",
    examples=(("group=1", "one"), ("group=2", "two"), ("-m group=1,2", "both")),
    run=remember,
)


@pytest.fixture
def call(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture) -> Call:
    """Run the program with arguments in an empty folder: (exit code, stdout, stderr, calls)."""

    def run(*arguments: str) -> tuple[int, str, str, Calls]:
        CALLS.clear()
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, "argv", ["meta_train", *arguments])
        code = 0
        try:
            PROGRAM.main()
        except SystemExit as end:
            code = int(end.code or 0)
        out = capsys.readouterr()
        return code, out.out, out.err, list(CALLS)

    return run

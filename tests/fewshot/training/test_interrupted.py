"""A run that is stopped ends, whatever its loading processes do."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

from fewshot.weights.checkpoint import load_checkpoint
from tests.fewshot.training.test_loop import ENVIRONMENT, ROOT, program


def test_a_signal_in_a_validation_ends_the_run_with_its_loading_processes(tmp_path: Path) -> None:
    """They hear no signal: unless they are told to end, the program waits for them for ever."""
    command = [*program(tmp_path / "run", "--settings", '{"workers": 1}'), "--stop-in-validation"]
    ended = subprocess.run(command, cwd=ROOT, env=ENVIRONMENT, capture_output=True, text=True, timeout=90)
    assert ended.returncode == 128 + signal.SIGTERM, ended.stderr
    assert load_checkpoint(tmp_path / "run" / "checkpoints" / "step_00000005.pt")["step"] == 5

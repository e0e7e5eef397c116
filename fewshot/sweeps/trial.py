"""One run of a sweep: a process of its own, watched by its log, ended early or recorded whatever becomes of it."""

from __future__ import annotations

import math
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from optuna.trial import Trial

from fewshot.run.finished import finished_in
from fewshot.run.logging.files import Row, read_rows
from fewshot.sweeps.specification import RESULT, Sweep
from fewshot.sweeps.study import PLACE, Shared, label

POLL = 0.5  # seconds between looks at a run
VALIDATED = "val/score"  # column of the log that stands for the result while a run goes on
OWN_KEYS = ("out", "name", "resume")  # of a run that belongs to a sweep


@dataclass(frozen=True)
class Outcome:
    """What became of a run: `value` where it is finished, else `pruned`, `stopped` or what it `failed` with."""

    value: float | None = None
    pruned: bool = False
    stopped: bool = False
    failed: str = ""


def run_trial(shared: Shared, trial: Trial, handle: int | None, stops: Callable[[], bool]) -> Outcome:
    """Start a run and wait for its end.

    Args:
        handle: of the trial's lock, which the run holds too: it outlives a worker that is killed.
        stops: asked now and then whether the run is to save and end.
    """
    name = label(shared, trial.user_attrs[PLACE], trial.params)
    folder = shared.folder / name
    try:
        found = finished_in(folder)
    except ValueError as error:
        return Outcome(failed=str(error))
    if found is not None:  # by a worker that died before it could say so
        return _outcome(shared.sweep, folder, found.result)
    words = command_of(shared.sweep, {**shared.sweep.constants, **trial.params})
    words += [*shared.words, f"out={shared.folder}", f"name={name}"]
    if folder.exists() and any(folder.iterdir()):
        words.append("resume=true")
    printed = shared.own / f"{name}.txt"
    with printed.open("ab") as output:
        try:
            process = subprocess.Popen(
                words,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                pass_fds=() if handle is None else (handle,),
                start_new_session=True,  # Ctrl-C reaches the sweep alone, which tells its runs once
            )
        except OSError as error:
            return Outcome(failed=f"{words[0]} cannot be started: {error.strerror}")
        code, early = _watched(process, shared.sweep, trial, folder, stops)
    if early is not None and code != 0:
        return early
    if code != 0:
        return Outcome(failed=f"exit code {code}: {last_line(printed)} ({printed})")
    found = finished_in(folder)
    return _outcome(shared.sweep, folder, None if found is None else found.result)


def command_of(sweep: Sweep, values: dict[str, object]) -> list[str]:
    """The words of the command line with these values, by the very functions of W&B's agent.

    Raises:
        ValueError: a macro that W&B does not know.
    """
    from wandb.sdk.launch.sweeps.utils import create_sweep_command, create_sweep_command_args  # slow to import

    macros = create_sweep_command_args({"args": {name: {"value": value} for name, value in values.items()}})
    macros |= {"env": ["/usr/bin/env"], "interpreter": [sys.executable], "program": [sweep.program]}
    words: list[str] = []
    for part in map(str, create_sweep_command(list(sweep.command))):
        if not (part.startswith("${") and part.endswith("}")):
            words.append(part)
        elif part[2:-1] in macros:
            words += macros[part[2:-1]]
        else:
            raise ValueError(f"{sweep.path}: command: {part} is no macro: valid are {', '.join(sorted(macros))}")
    return words


def last_line(printed: Path) -> str:
    """The last line that a run printed and that says something."""
    lines = printed.read_text(encoding="utf-8", errors="replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "it said nothing")


def _watched(
    process: subprocess.Popen[bytes], sweep: Sweep, trial: Trial, folder: Path, stops: Callable[[], bool]
) -> tuple[int, Outcome | None]:
    """The exit code of a run, and why it was told to end; None where it ended by itself."""
    early: Outcome | None = None
    seen = 0
    try:
        while True:
            try:
                return process.wait(POLL), early
            except subprocess.TimeoutExpired:
                pass
            if early is not None:
                continue
            if stops():
                early = Outcome(stopped=True)
            else:
                seen = _report(sweep, trial, folder, seen)
                early = Outcome(pruned=True) if seen and trial.should_prune() else None
            if early is not None:
                process.send_signal(signal.SIGTERM)  # it finishes its step and saves
    except BaseException:
        os.killpg(process.pid, signal.SIGTERM)
        raise


def _report(sweep: Sweep, trial: Trial, folder: Path, seen: int) -> int:
    """Tell Optuna the validations after the first `seen`, counted from 1; how many there are now."""
    values = _values(sweep, read_rows(folder))
    for k, value in enumerate(values[seen:], start=seen + 1):
        trial.report(value, k)
    return max(seen, len(values))  # a run that goes on repeats some


def _values(sweep: Sweep, rows: list[Row]) -> list[float]:
    """The numbers of the log that tell how good a run is."""
    name = VALIDATED if sweep.metric == RESULT else sweep.metric
    return [float(row[name]) for row in rows if isinstance(row.get(name), (int, float))]


def _outcome(sweep: Sweep, folder: Path, result: float | None) -> Outcome:
    """What a run that ended well has come to."""
    if sweep.metric != RESULT:
        values = _values(sweep, read_rows(folder))
        result = values[-1] if values else None
    if result is None or math.isnan(result):
        return Outcome(failed=f"the run has no number {sweep.metric} ({folder})")
    return Outcome(value=result)

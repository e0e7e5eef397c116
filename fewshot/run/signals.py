"""Ctrl-C and SIGTERM: finish the step, save, and end with the exit code that a shell expects (130, 143).

A signal that was ignored when the program started stays ignored, as everywhere on Unix: shells start the background
jobs of scripts (`nohup ... &`) without SIGINT, so that Ctrl-C does not reach them. `kill`, which is SIGTERM, does.

SIGUSR1 and SIGUSR2 are how a scheduler tells that the time is up. They are heard where the program around this one
listens to them, as the launchers of Slurm do: it hears of them when the run has saved.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

ENDS = (signal.SIGINT, signal.SIGTERM)
TOLD = (signal.SIGUSR1, signal.SIGUSR2)
CAUGHT = (*ENDS, *TOLD)


class Interrupted(SystemExit):
    """Training was stopped by a signal after a save. Left alone it ends the program with `exit_code`.

    It is no `Exception`, as KeyboardInterrupt is none, so that nobody on the way swallows it.
    """

    def __init__(self, signum: int) -> None:
        self.signal = signal.Signals(signum)
        self.exit_code = 128 + int(signum)
        super().__init__(self.exit_code)

    def __str__(self) -> str:
        return f"stopped by {self.signal.name}"


class SignalWatch:
    """While it is entered, SIGINT and SIGTERM are remembered in `received` instead of ending the program.

    So are SIGUSR1 and SIGUSR2 where somebody listens to them. Those that are ignored stay ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._raises = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            heard = [s for s in ENDS if signal.getsignal(s) is not signal.SIG_IGN]
            heard += [s for s in TOLD if callable(signal.getsignal(s))]
            self._before = {s: signal.signal(s, self._remember) for s in heard}
        return self

    def __exit__(self, error_type: type | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for signum, handler in self._before.items():
            signal.signal(signum, handler)

    def _remember(self, signum: int, frame: FrameType | None) -> None:
        self.received = signum
        if self._raises:
            self._raises = False  # once: what unwinds now must not be interrupted again
            raise Interrupted(signum)

    @contextmanager
    def at_once(self) -> Iterator[None]:
        """Inside, a signal raises `Interrupted` where it strikes: for long work that changes nothing."""
        if self.received is not None:
            raise Interrupted(self.received)
        self._raises = True
        try:
            yield
        finally:
            self._raises = False


def pass_on(signum: signal.Signals) -> None:
    """Let the program around this one hear a signal of a scheduler, when no `SignalWatch` is entered any more.

    Its listener may end the program: a launcher lets Slurm start the job again.
    """
    listener = signal.getsignal(signum)
    if signum in TOLD and callable(listener):
        listener(signum, None)


def ignore_in_worker(worker: int) -> None:
    """Data workers outlive the signal that their parent answers: they end when it has finished its step."""
    for signum in CAUGHT:
        signal.signal(signum, signal.SIG_IGN)

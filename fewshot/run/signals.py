"""Ctrl-C and SIGTERM: finish the step, save, and end with the exit code that a shell expects (130, 143).

A signal that was ignored when the program started stays ignored, as everywhere on Unix: shells start the background
jobs of scripts (`nohup ... &`) without SIGINT, so that Ctrl-C does not reach them. `kill`, which is SIGTERM, does.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType, TracebackType
from typing import Any

CAUGHT = (signal.SIGINT, signal.SIGTERM)


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

    Those that are ignored stay ignored.
    """

    def __init__(self) -> None:
        self.received: int | None = None
        self._raises = False
        self._before: dict[int, Any] = {}

    def __enter__(self) -> SignalWatch:
        if threading.current_thread() is threading.main_thread():  # Python allows handlers nowhere else
            heard = [s for s in CAUGHT if signal.getsignal(s) is not signal.SIG_IGN]
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


def ignore_in_worker(worker: int) -> None:
    """Data workers outlive the signal that their parent answers: they end when it has finished its step."""
    for signum in CAUGHT:
        signal.signal(signum, signal.SIG_IGN)

"""Locks that tell whether a worker lives: held by the worker and the run that it started, and gone with both."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from fewshot.run.lock import NO_LOCKS


def hold(path: Path) -> int | None:
    """A handle that holds the lock file `path`, made where it is missing; None where another process holds it.

    On a file system without locks it is always held by another, so that nobody is taken for dead.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(handle)
        return None
    except OSError as error:
        os.close(handle)
        if error.errno not in NO_LOCKS:
            raise
        return None
    return handle

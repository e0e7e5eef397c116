"""Locks that tell whether a worker lives: held by the worker and the run that it started, and gone with both."""

from __future__ import annotations

import fcntl
import logging
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from fewshot.run.lock import NO_LOCKS

logger = logging.getLogger(__name__)


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


@contextmanager
def one_at_a_time(path: Path) -> Iterator[bool]:
    """Inside is one process and thread at a time, and the others wait: True. False: the file system has no locks."""
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    alone = True
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            logger.warning("%s lies on a file system without locks: start one worker alone", path.parent)
            alone = False
        yield alone
    finally:
        os.close(handle)

"""Locks on what several processes may want to write: two in one run folder would mix their rows and checkpoints."""

from __future__ import annotations

import errno
import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

logger = logging.getLogger(__name__)

LOCK = ".run.lock"  # file in a run folder; it stays, since a file that is removed could be locked twice
NO_LOCKS = (errno.ENOLCK, errno.ENOSYS, errno.ENOTSUP)  # some network file systems
_held: set[int] = set()


class RunInUse(FileExistsError):
    """Another process writes into the folder; the message says which and what to do."""


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Hold the lock of `folder`, which exists. It ends with this process, however that ends.

    Raises:
        RunInUse: another process holds it.
    """
    handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    _held.add(handle)
    try:
        _lock(handle, folder)
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"process {os.getpid()} on {socket.gethostname()}".encode(), 0)
        yield
    finally:
        _held.discard(handle)
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(handle, 200, 0).decode(errors="replace") or "another process"
        raise RunInUse(f"{folder} is in use by {holder}: wait for its end, or give another name=<name>") from None
    except OSError as error:
        if error.errno not in NO_LOCKS:
            raise
        logger.warning("%s lies on a file system without locks: start no second process in it", folder)


@contextmanager
def one_at_a_time(path: Path) -> Iterator[bool]:
    """Inside is one process and thread at a time, and the others wait: True. False: the file system has no locks.

    Args:
        path: of the lock file, in a folder that exists; it stays.
    """
    handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    alone = True
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            logger.warning("%s lies on a file system without locks: let one process alone write there", path.parent)
            alone = False
        yield alone
    finally:
        os.close(handle)


def _let_go() -> None:
    """A forked worker that outlives a killed run must not keep its folder locked."""
    for handle in _held:
        os.close(handle)
    _held.clear()


os.register_at_fork(after_in_child=_let_go)

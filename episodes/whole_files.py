"""Files and folders that appear whole or not at all: written under a name that nobody else has, then renamed."""

from __future__ import annotations

import os
import re
import shutil
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

STALE = 24 * 3600.0  # seconds after which a partial file was left behind by a kill


@contextmanager
def replacing(path: Path, sync: bool = True) -> Iterator[Path]:
    """A path to write a file to, which takes the place of `path` at the end; at every moment one is there as a whole.

    Args:
        path: in a folder that exists.
        sync: wait until the content is on the disk, so that it survives a power cut.

    Raises:
        OSError: it cannot be written (disk full, no permission), with `path` for its name; nothing is left behind.
    """
    partial = partial_of(path)
    try:
        yield partial
        if sync:
            flush_to_disk(partial)
        os.replace(partial, path)
        if sync:
            flush_to_disk(path.parent)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(partial)):
            raise
        raise OSError(error.errno, error.strerror, str(path)) from error  # a full disk is reported without a name
    finally:
        partial.unlink(missing_ok=True)


def partial_of(path: Path) -> Path:
    """A name beside `path` that no other process has, on this machine or another."""
    return path.with_name(f".{path.name[:180]}.{uuid.uuid4().hex}.part")


def clear_stale(path: Path, age: float = STALE) -> None:
    """Remove partial files and folders of `path` that a kill left behind: untouched for `age` seconds, a day.

    The name of `path` may hold wildcards.
    """
    for partial in path.parent.glob(f".{path.name[:180]}.*.part"):
        try:
            untouched = time.time() - partial.lstat().st_mtime
        except FileNotFoundError:  # its process has finished it
            continue
        if untouched < age or not re.search(r"\.[0-9a-f]{32}\.part$", partial.name):
            continue
        if partial.is_dir() and not partial.is_symlink():
            shutil.rmtree(partial, ignore_errors=True)
        else:
            partial.unlink(missing_ok=True)


def flush_to_disk(path: Path) -> None:
    """Make a file survive a power cut; of a folder, the names of what it holds."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

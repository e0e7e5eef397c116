"""Where a study is kept: a journal file, or a database."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import optuna
from optuna.storages import BaseStorage, JournalStorage, RDBStorage
from optuna.storages.journal import JournalFileBackend, JournalFileSymlinkLock
from sqlalchemy.exc import SQLAlchemyError

logger = logging.getLogger(__name__)
WAIT = 60  # seconds for a database that another worker has locked
GRACE = 30  # seconds after which the lock of a journal is taken from a worker that died with it


class StudyError(RuntimeError):
    """The storage of a study cannot be used; the message says why and what to do."""


def open_storage(place: str) -> BaseStorage:
    """The storage at `place`: the URL of a database, or the path of a journal file, which is made where it is missing.

    Raises:
        StudyError: it is locked or damaged, or there is no such database.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with plain_errors(place):
        if "://" in place:
            wait = {"connect_args": {"timeout": WAIT}} if place.startswith("sqlite") else {}
            return RDBStorage(place, engine_kwargs=wait)
        Path(place).parent.mkdir(parents=True, exist_ok=True)
        mend(Path(place))
        return JournalStorage(JournalFileBackend(place, JournalFileSymlinkLock(place, GRACE)))


@contextmanager
def plain_errors(place: str) -> Iterator[None]:
    """Inside, what goes wrong with the storage at `place` is raised as StudyError."""
    try:
        yield
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError, ImportError) as error:
        cause = error.__cause__ if isinstance(error, optuna.exceptions.StorageInternalError) else error
        reason = str(cause).splitlines()[0]
        advice = "give another storage=<url>, or put back a copy of it. Finished runs keep their results"
        if "locked" in reason:
            advice = f"another program has held it for {WAIT} seconds: wait for its end, and start the sweep again"
        elif isinstance(error, ImportError):
            advice = "install the driver of that database beside Optuna"
        raise StudyError(f"study {place} cannot be used ({reason}): {advice}") from error
    except (ValueError, KeyError, TypeError, AttributeError):  # what a journal becomes that is damaged meanwhile
        if "://" not in place:
            check(Path(place))
        raise


def mend(journal: Path) -> None:
    """Cut off a last record that was not finished, as a full disk or a power cut leaves it.

    Raises:
        StudyError: another record is damaged.
    """
    if not journal.exists():
        return
    lock = JournalFileSymlinkLock(str(journal), GRACE)
    lock.acquire()
    try:
        content = journal.read_bytes()
        whole = content.rfind(b"\n") + 1
        if whole < len(content):
            logger.warning("%s: its last record was not finished, and is cut off", journal)
            with journal.open("r+b") as file:
                file.truncate(whole)
    finally:
        lock.release()
    check(journal)


def check(journal: Path) -> None:
    """Raise StudyError for a journal in which a line is no record, naming the line."""
    for number, line in enumerate(journal.read_bytes().splitlines(), start=1):
        try:
            record = json.loads(line)
        except ValueError:
            record = None
        if not isinstance(record, dict) or "op_code" not in record:
            raise StudyError(
                f"{journal} is damaged in line {number}, or no journal: put back a copy of it, or move it away; a new "
                "study takes the results of finished runs from their folders"
            )

"""A sweep from its file to its table."""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from episodes.hints import did_you_mean
from fewshot.cli.checks import check_name
from fewshot.run.signals import Interrupted
from fewshot.sweeps.specification import read_sweep
from fewshot.sweeps.study import again, share
from fewshot.sweeps.summary import summary
from fewshot.sweeps.trial import OWN_KEYS, command_of
from fewshot.sweeps.worker import work

logger = logging.getLogger(__name__)


def run_sweep(
    file: Path,
    out: Path,
    *,
    name: str | None = None,
    storage: str | None = None,
    words: Sequence[str] = (),
    workers: int = 1,
    runs: int | None = None,
    seed: int = 0,
    retry: bool = False,
    form: str = "text",
) -> list[str]:
    """Run what waits in the study of a sweep, print what it has come to, and return the runs that failed.

    Args: those of the command, see `fewshot.sweep.SweepConfig`.

    Raises:
        ValueError: the file or a word is not understood.
        StudyError: the storage cannot be used.
        Interrupted: a signal arrived; the runs have saved, and wait to go on.
    """
    check_name(name)
    sweep = read_sweep(file)
    check_words(words, {*sweep.constants, *sweep.parameters})
    command_of(sweep, {**sweep.constants, **dict.fromkeys(sweep.parameters, "")})  # refuses macros before anything runs
    shared = share(sweep, name or file.stem, out, storage, words, seed, runs)
    if retry:
        again(shared)
    with _speaking():
        try:
            work(shared, workers)
        except Interrupted as stopped:
            logger.warning("%s: the runs have saved; the same command goes on with them", stopped.signal.name)
            raise
    text, failed = summary(shared, form)
    print(text, flush=True)
    return failed


@contextmanager
def _speaking() -> Iterator[None]:
    """Inside, what the package logs is printed."""
    package, handler = logging.getLogger("fewshot"), logging.StreamHandler(sys.stdout)
    before = package.level
    package.setLevel(logging.INFO)
    package.addHandler(handler)
    try:
        yield
    finally:
        package.setLevel(before)
        package.removeHandler(handler)


def check_words(words: Sequence[str], swept: set[str]) -> None:
    """Raise ValueError for a word of `set` that is no key=value, or whose key is the sweep's own."""
    for word in words:
        key, equals, value = word.partition("=")
        if not equals or not value:
            raise ValueError(f"set={word}: give set=<key>=<value>.{did_you_mean(word, swept)}")
        if key in OWN_KEYS:
            raise ValueError(f"set={word}: a sweep gives its runs their {key}; give {key}=... to the sweep itself")
        if key in swept:
            raise ValueError(f"set={word}: {key} stands in the file of the sweep: change it there")

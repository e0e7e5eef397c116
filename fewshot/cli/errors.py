"""User errors in one line, with what to do; other errors with their trace."""

from __future__ import annotations

import errno
import os
import signal
import sys
import traceback
from collections.abc import Iterator
from contextlib import contextmanager

PACKAGES = ("fewshot", "episodes", "benchmarks")
FREE_SPACE = (
    "free some space, or give another out=<folder> (data.cache=<folder> for the generated world); "
    "resume=true goes on with what the run has written"
)
OTHER_FOLDER = "check that path; runs are written to out=<folder>, the generated world to data.cache=<folder>"
DIED = (
    "a process that works for this one was killed ({}), most often for want of memory: have fewer of them "
    "(data.workers, test.workers, test.processes); resume=true goes on with what the run has written"
)
DISK_ADVICE = {
    errno.ENOSPC: FREE_SPACE,
    errno.EDQUOT: FREE_SPACE,
    errno.EROFS: OTHER_FOLDER,
    errno.EACCES: OTHER_FOLDER,
    errno.ENOTDIR: OTHER_FOLDER,
    errno.EPERM: OTHER_FOLDER,
    errno.ENAMETOOLONG: "give a shorter name=<name>, out=<folder> or path",
}


@contextmanager
def short_errors() -> Iterator[None]:
    """User errors end the program with exit code 1 and their message, Ctrl-C with 130; other errors keep their trace.

    FEWSHOT_TRACEBACK=1 or HYDRA_FULL_ERROR=1 shows the trace of every error (`is_user_error` tells them apart).
    """
    try:
        yield
    except Exception as error:
        tell(error)
        raise SystemExit(1) from None
    except KeyboardInterrupt:  # Ctrl-C before a run listens to signals, or in a command that is no run
        print("SIGINT: stopped", file=sys.stderr)
        raise SystemExit(128 + signal.SIGINT) from None


def tell(error: Exception) -> str:
    """Print an error that is being handled, as `short_errors` says, and return it in one line."""
    full = any(os.environ.get(name, "0") not in ("", "0") for name in ("FEWSHOT_TRACEBACK", "HYDRA_FULL_ERROR"))
    if full or not is_user_error(error):
        traceback.print_exc()
        return f"{type(error).__name__}: {error}".splitlines()[0]
    told = in_words(error)
    print(f"error: {told}", file=sys.stderr)
    return told.splitlines()[0]


def in_words(error: Exception) -> str:
    """What a user is told of an error: its message, with what to do."""
    if of_dead_process(error):
        return DIED.format(" ".join(str(error).split()).rstrip("."))
    return f"{error}{advice(error)}"


def of_dead_process(error: Exception) -> bool:
    """Whether a process that loads episodes, tests or counts for this one was killed."""
    loads = isinstance(error, RuntimeError) and str(error).startswith("DataLoader worker (pid")
    return loads or type(error).__name__ == "BrokenProcessPool"  # by its name: its module is slow to import


def advice(error: Exception) -> str:
    """Advice on a full disk or a folder that cannot be written; empty for all other errors."""
    return f": {DISK_ADVICE[error.errno]}" if isinstance(error, OSError) and error.errno in DISK_ADVICE else ""


def is_user_error(error: Exception) -> bool:
    """Whether a user can cause it: an error class of this project, a full disk, a killed process, or a refusal."""
    if type(error).__module__.split(".")[0] in PACKAGES or advice(error) or of_dead_process(error):
        return True
    return isinstance(error, (ValueError, OSError)) and raised_in(error).split(".")[0] in PACKAGES


def raised_in(error: Exception) -> str:
    """Name of the module whose line raised the error."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    if trace is None:
        return ""
    names = trace.tb_frame.f_globals
    spec = names.get("__spec__")  # `python -m` calls the module __main__, its spec keeps the name
    return str(spec.name if spec is not None else names.get("__name__", ""))

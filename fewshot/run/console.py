"""Console of a run: plain lines on the terminal and, the same, in `log.txt`. Only the first process writes."""

from __future__ import annotations

import logging
import platform
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import TypeVar

import torch
from torch import nn
from tqdm import tqdm

Item = TypeVar("Item")
logger = logging.getLogger(__name__)
SECONDS_PER_LINE = 20  # of progress where there is no terminal
LOGGERS = ("fewshot", "episodes", "benchmarks", "__main__")  # the last is the module that `python -m` runs


class BarHandler(logging.Handler):
    """Writes lines above a progress bar, where there is one."""

    def emit(self, record: logging.LogRecord) -> None:
        """Write one record to stdout."""
        tqdm.write(self.format(record), file=sys.stdout)
        sys.stdout.flush()


@contextmanager
def run_log(folder: Path, speaks: bool) -> Iterator[None]:
    """Inside, the project's loggers write to the terminal and to `folder/log.txt`; silent processes only warn."""
    handlers: list[logging.Handler] = [BarHandler()]
    if speaks:
        handlers.append(logging.FileHandler(folder / "log.txt", encoding="utf-8"))
        handlers[1].setFormatter(logging.Formatter("%(asctime)s %(message)s", "%Y-%m-%d %H:%M:%S"))
    loggers = [logging.getLogger(name) for name in LOGGERS]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.INFO if speaks else logging.WARNING)
        for handler in handlers:
            logger.addHandler(handler)
    try:
        yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
            for handler in handlers:
                logger.removeHandler(handler)
        for handler in handlers:
            handler.close()


def counted(items: Sequence[Item], name: str, unit: str, shown: bool) -> Iterator[Item]:
    """The same items with a bar on a terminal and a line now and then elsewhere; `shown` False: with neither.

    `name` says what is done, `unit` what an item is (in the singular).
    """
    if shown and sys.stderr.isatty():
        yield from tqdm(items, desc=name, unit=unit)
        return
    told = time.perf_counter()
    for k, item in enumerate(items, start=1):
        yield item
        if shown and time.perf_counter() - told > SECONDS_PER_LINE:
            told = time.perf_counter()
            logger.info("%s: %d/%d %ss", name, k, len(items), unit)


def versions() -> str:
    """Python and the libraries that numbers depend on. None is imported for it but torch, which is there already."""
    others = ", ".join(f"{name} {version(name)}" for name in ("torchvision", "transformers"))
    return f"Python {platform.python_version()}, torch {torch.__version__}, {others}"


def device_line(device: torch.device) -> str:
    """The device in words."""
    if device.type == "cuda":
        return f"{device} ({torch.cuda.get_device_name(device)})"
    return f"{device}, {torch.get_num_threads()} threads"


def parameter_line(system: nn.Module) -> str:
    """Number of parameters of the system, and of those that are trained."""
    total = sum(p.numel() for p in system.parameters())
    trainable = sum(p.numel() for p in system.parameters() if p.requires_grad)
    return f"{trainable:,} of {total:,} parameters are trained"

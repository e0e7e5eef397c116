"""Progress of a run: a bar on a terminal, plain lines elsewhere, nothing in processes other than the first."""

from __future__ import annotations

import logging
import sys
import time
from datetime import timedelta

import torch
from tqdm import tqdm

logger = logging.getLogger(__name__)


def memory_gib(device: torch.device) -> float:
    """Largest memory used so far in GiB: of the GPU, or of this process on the CPU (0 where that is unknown)."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**30
    if sys.platform == "win32":
        return 0.0
    import resource  # only there on Unix

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / 2**30 if sys.platform == "darwin" else peak / 2**20


class Progress:
    """Counts steps and tells how fast they go.

    Args:
        start: finished steps; `steps`: all of them.
        device: whose memory is shown.
        shown: False for silence.
    """

    def __init__(self, start: int, steps: int, device: torch.device, shown: bool) -> None:
        self.steps, self.device, self.shown = steps, device, shown
        terminal = sys.stderr.isatty()
        self._bar = tqdm(total=steps, initial=start, desc="training", leave=True) if shown and terminal else None
        self._done, self._seconds, self._since = 0, 0.0, time.perf_counter()

    def advance(self) -> None:
        """One more step is finished."""
        self._done += 1
        if self._bar is not None:
            self._bar.update()

    def pause(self) -> None:
        """The clock stands still (validation)."""
        self._seconds += time.perf_counter() - self._since

    def go_on(self) -> None:
        """The clock runs again."""
        self._since = time.perf_counter()

    def speed(self) -> float:
        """Steps per second since the last call; starts a new measurement."""
        self.pause()
        speed = self._done / max(self._seconds, 1e-9)
        self._done, self._seconds = 0, 0.0
        self.go_on()
        return speed

    def say(self, step: int, row: dict[str, float]) -> None:
        """Shows a row of the log (keys `train/...`)."""
        if not self.shown:
            return
        short = {key.removeprefix("train/"): value for key, value in row.items()}
        if self._bar is not None:
            self._bar.set_postfix(loss=f"{short['loss']:.4f}", lr=f"{short['lr']:.2e}")
            return
        left = timedelta(seconds=round((self.steps - step) / max(short["steps_per_second"], 1e-9)))
        numbers = "  ".join(f"{key} {value:.4g}" for key, value in short.items())
        logger.info("step %d/%d  %s  left %s", step, self.steps, numbers, left)

    def close(self) -> None:
        """Ends the bar."""
        if self._bar is not None:
            self._bar.close()

"""Several processes as `torchrun` starts them: gloo on CPU, nccl on GPU. With one process nothing happens here.

The environment that `torchrun` sets is read when it is asked for, never on import. Small numbers (counts, losses,
flags) always travel between CPUs, so that they cost no GPU synchronisation of their own.
"""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from typing import Any

import torch
import torch.distributed as dist

# Rank 0 validates alone while the others wait for its score.
TIMEOUT = timedelta(hours=4)


def _joined() -> bool:
    return dist.is_available() and dist.is_initialized()


def rank() -> int:
    """Number of this process, 0 for the first (and only)."""
    return dist.get_rank() if _joined() else int(os.environ.get("RANK", "0"))


def local_rank() -> int:
    """Number of this process on its machine: the GPU that it uses."""
    return int(os.environ.get("LOCAL_RANK", "0"))


def world_size() -> int:
    """Number of processes."""
    return dist.get_world_size() if _joined() else int(os.environ.get("WORLD_SIZE", "1"))


def cores() -> int:
    """Number of CPU cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def is_main() -> bool:
    """True in the process that writes files, logs and talks to W&B."""
    return rank() == 0


def choose_device(name: str = "auto") -> torch.device:
    """`auto` takes this process's GPU where there is one, else the CPU; `cuda` becomes `cuda:<local rank>`.

    Raises:
        ValueError: a GPU is asked for and there is none.
    """
    if name == "auto":
        name = "cuda" if torch.cuda.is_available() else "cpu"
    if name.startswith("cuda") and not torch.cuda.is_available():
        raise ValueError(f"device={name}: torch finds no GPU here; use device=cpu or device=auto")
    return torch.device(f"cuda:{local_rank()}" if name == "cuda" else name)


@contextmanager
def distributed() -> Iterator[None]:
    """Joins the processes that `torchrun` started, and leaves them at the end, however it ends."""
    if world_size() == 1 or _joined():
        yield
        return
    if torch.cuda.is_available():
        torch.cuda.set_device(local_rank())
    dist.init_process_group("cpu:gloo,cuda:nccl" if torch.cuda.is_available() else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        gc.collect()  # a DDP module lives in a reference cycle, and aborts the program if it outlives the group
        dist.destroy_process_group()


def all_reduce_sum(values: Sequence[float]) -> list[float]:
    """Sums of `values` over the processes, added in float64."""
    total = torch.tensor(values, dtype=torch.float64)
    if world_size() > 1:
        dist.all_reduce(total)
    return total.tolist()


def all_reduce_mean(values: Sequence[float]) -> list[float]:
    """Means of `values` over the processes."""
    return [value / world_size() for value in all_reduce_sum(values)]


def gather(value: Any) -> list[Any]:
    """`value` of every process, in the order of the ranks; any picklable object."""
    if world_size() == 1:
        return [value]
    gathered: list[Any] = [None] * world_size()
    dist.all_gather_object(gathered, value)
    return gathered


def broadcast(value: Any) -> Any:
    """The `value` of process 0; any picklable object."""
    if world_size() == 1:
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0, device=torch.device("cpu"))
    return box[0]


def barrier() -> None:
    """Waits until every process is here."""
    all_reduce_sum([0.0])

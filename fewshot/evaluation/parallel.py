"""A test that several processes share, on a CPU that a small system alone does not fill."""

from __future__ import annotations

import logging
import multiprocessing
import pickle
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager

import torch

from episodes.episode import EpisodeSpec
from fewshot.evaluation.benchmark import Benchmark, Score
from fewshot.evaluation.evaluate import evaluate
from fewshot.evaluation.query import QueryResult
from fewshot.run import processes
from fewshot.run.console import counted
from fewshot.run.signals import ignore_in_worker
from fewshot.systems.base import System

logger = logging.getLogger(__name__)
PORTIONS = 6  # of a list for each process, so that all end at about the same time
WORTH = 100  # episodes for each process, below which starting it takes longer than it saves
MOST = 4  # processes, unless the configuration asks for more


class SharedTest:
    """Processes that hold the same system and benchmark, and test portions of lists."""

    def __init__(self, pool: ProcessPoolExecutor, count: int) -> None:
        self.pool, self.count = pool, count

    def scores(
        self,
        specs: Sequence[EpisodeSpec],
        probe: str,
        on_query: Callable[[QueryResult], None] | None = None,
        progress: bool = True,
    ) -> list[Score]:
        """The scores that `evaluate` returns, in its order. `on_query` is called in the process that tests the query.

        Raises what `evaluate` raises.
        """
        portions = min(self.count * PORTIONS, len(specs))
        parts = [self.pool.submit(_portion, specs, probe, on_query, k, portions) for k in range(portions)]
        try:
            waiting = counted(parts, f"testing {probe}".rstrip(), "portion", progress)
            return [score for part in waiting for score in part.result()]
        finally:
            for part in parts:
                part.cancel()


@contextmanager
def shared_test(system: System, benchmark: Benchmark, episodes: int) -> Iterator[SharedTest | None]:
    """The processes of a test of `episodes` episodes, as the configuration says; None where there is to be one only.

    Raises:
        ValueError: the system cannot be sent to another process.
    """
    count = number_of_processes(system, benchmark, episodes)
    if count == 1:
        yield None
        return
    try:
        content = pickle.dumps((system, benchmark))
    except (pickle.PicklingError, AttributeError, TypeError) as error:
        raise ValueError(
            f"system {system.name!r} cannot be sent to another process ({error}): test with test.processes=1"
        ) from error
    logger.info("test: %d processes share the episodes", count)
    context = multiprocessing.get_context("spawn")  # a fork would inherit the threads of torch
    with ProcessPoolExecutor(count, context, initializer=_begin, initargs=(content, torch.get_num_threads())) as pool:
        yield SharedTest(pool, count)


def number_of_processes(system: System, benchmark: Benchmark, episodes: int) -> int:
    """Processes that share a test of `episodes` episodes: as configured, else as many as are worth it."""
    if processes.world_size() > 1 or next(system.parameters()).device.type != "cpu":
        return 1
    config = benchmark.config
    if config.test.processes is not None:
        return min(config.test.processes, episodes)
    if config.system.threads != 1 or config.threads not in (None, 1):  # torch's own threads keep the cores busy
        return 1
    return max(1, min(processes.cores(), MOST, episodes // WORTH))


_held: list[tuple[System, Benchmark]] = []  # of a process that shares a test


def _begin(content: bytes, threads: int) -> None:
    ignore_in_worker(0)
    torch.set_num_threads(threads)
    _held[:] = [pickle.loads(content)]  # bytes of the process that started this one


def _portion(
    specs: Sequence[EpisodeSpec], probe: str, on_query: Callable[[QueryResult], None] | None, k: int, portions: int
) -> list[Score]:
    system, benchmark = _held[0]
    return evaluate(system, benchmark, specs, probe=probe, on_query=on_query, progress=False, rank=k, world=portions)

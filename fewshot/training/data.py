"""Episodes of each step, and the loader that brings them."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Sequence
from functools import partial
from itertools import islice
from typing import Protocol

import torch
from torch.utils.data import DataLoader, Sampler

from episodes.batch import EpisodeBatch
from episodes.collation import collate
from episodes.episode import Episode, EpisodeSpec
from fewshot.cli.errors import is_user_error
from fewshot.run import processes
from fewshot.run.signals import ignore_in_worker
from fewshot.training.settings import TrainSettings


class Episodes(Protocol):
    """An endless list of episodes: `dataset[i]` is a pure function of `i >= 0`."""

    def __getitem__(self, index: int) -> Episode: ...


def first_index(step: int, micro: int, settings: TrainSettings, rank: int, world: int) -> int:
    """Index of the first episode of a micro-batch of the step after `step` finished ones.

    Step s sees the episodes `[s * G, (s + 1) * G)` with `G = world * batch * accumulate`: each process a run of
    `batch * accumulate` of them, cut into its micro-batches. So it is the same global batch however it is split.
    """
    group = step * world + rank
    return (group * settings.accumulate + micro) * settings.batch


class MicroBatches(Sampler[list[int]]):
    """Episode indices of the micro-batches of one process, from the step after `start` finished ones to the end."""

    def __init__(self, settings: TrainSettings, start: int, rank: int, world: int) -> None:
        self.settings, self.start, self.rank, self.world = settings, start, rank, world

    def __iter__(self) -> Iterator[list[int]]:
        for step in range(self.start, self.settings.steps):
            for micro in range(self.settings.accumulate):
                first = first_index(step, micro, self.settings, self.rank, self.world)
                yield list(range(first, first + self.settings.batch))


def steps_of_batches(
    dataset: Episodes, settings: TrainSettings, start: int, rank: int, world: int
) -> Generator[list[EpisodeBatch], None, None]:
    """The `accumulate` micro-batches of each step, for the steps after `start` finished ones."""
    loader: DataLoader[Episode | Exception] = DataLoader(
        _Told(dataset),  # type: ignore[arg-type]  # a list without a length
        batch_sampler=MicroBatches(settings, start, rank, world),
        collate_fn=partial(_collate, pad_multiple=settings.pad_multiple),
        num_workers=settings.workers,
        worker_init_fn=ignore_in_worker,
        generator=torch.Generator(),  # so that the loader draws nothing from the global one
    )
    batches = iter(loader)
    try:
        while step := _taken(batches, settings.accumulate):
            yield [_read(batch) for batch in step]
    finally:
        # An error keeps its frames, and so the loader, alive; its processes hear no signal, and the end of the program
        # would wait for them for ever.
        getattr(batches, "_shutdown_workers", lambda: None)()


def _taken(batches: Iterator[EpisodeBatch | Exception], count: int) -> list[EpisodeBatch | Exception]:
    """The next batches. Raises RuntimeError, in torch's words, where a loading process is gone."""
    try:
        return list(islice(batches, count))
    except (ConnectionError, EOFError, FileNotFoundError) as error:  # what remains of one killed while it was sending
        workers = getattr(batches, "_workers", ())
        for worker in workers:
            worker.join(1)  # seconds in which it may end
        gone = ", ".join(str(worker.pid) for worker in workers if not worker.is_alive())
        if not gone:
            raise
        raise RuntimeError(f"DataLoader worker (pid(s) {gone}) exited unexpectedly") from error


def _read(batch: EpisodeBatch | Exception) -> EpisodeBatch:
    """The batch. Raises what came in its place."""
    if isinstance(batch, Exception):
        raise batch
    return batch


class _Told:
    """The episodes; what a user can cause comes as a value, since loading processes wrap errors in their own words."""

    def __init__(self, dataset: Episodes) -> None:
        self.dataset = dataset

    def __getitem__(self, index: int) -> Episode | Exception:
        try:
            return self.dataset[index]
        except Exception as error:
            if not is_user_error(error):
                raise
            return error


def _collate(episodes: Sequence[Episode | Exception], pad_multiple: int) -> EpisodeBatch | Exception:
    """A batch, or the first error of its episodes."""
    errors = [episode for episode in episodes if isinstance(episode, Exception)]
    return errors[0] if errors else collate([e for e in episodes if isinstance(e, Episode)], pad_multiple)


def problems_of(batches: Sequence[EpisodeBatch]) -> list[str]:
    """What could not be read in a step, over all processes."""
    own = [problem for batch in batches for problem in batch.problems]
    if not processes.all_reduce_sum([len(own)])[0]:  # the rule, at less cost
        return []
    return [problem for each in processes.gather(own) for problem in each]


def visible_frames(batch: EpisodeBatch) -> int:
    """Number of query frames in which the object is visible.

    Raises:
        ValueError: the queries of the batch carry no visibility, so they are no training targets.
    """
    if batch.queries.valid is None:
        names = ", ".join(str(spec.index) for spec in batch.specs)
        raise ValueError(f"episodes {names}: the query clips have no masks to learn from (valid is None)")
    return int(batch.queries.valid.sum())


def describe(spec: EpisodeSpec) -> str:
    """One line that finds the episode again: index, class, videos and expressions."""
    supports = ", ".join(clip.video for clip in spec.supports)
    queries = "; ".join(f"{clip.video} {clip.expression!r}" for clip in spec.queries)
    return f"episode {spec.index}: class {spec.class_name} ({spec.class_id}), supports {supports}, queries {queries}"

"""Testing: every query of a list of episodes is segmented and scored, with each set of supports encoded once.

Clips are cut into chunks of consecutive frames that see the same supports, and each chunk takes its best candidate, as
CMA is tested (Li et al., ICCV 2023). An image is a clip of one frame. Chunks are read, segmented, scored and forgotten
one after the other, so that the length of a video costs no memory. What a segmented query is scored as is not decided
here, but by the benchmark.
"""

from __future__ import annotations

from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch

from episodes.clip import Clip
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.sampling.probes import EVERYTHING, NAME_ONLY, probe_specs, probe_supports
from episodes.sources.base import Source
from fewshot.evaluation.benchmark import Benchmark, Score
from fewshot.evaluation.query import QueryResult, Transform, read_queries, read_supports
from fewshot.inference.chunks import encode_supports, evaluating, segment_clip
from fewshot.inference.look import SharedReferences, read_references
from fewshot.run.console import counted
from fewshot.systems.base import System

STATES_KEPT = 4  # support states in memory: lists are ordered by class, so one is in use at a time
CERTAIN = 100.0  # a logit whose probability is 1 in float32
WAITING = 8  # chunks of queries whose scores may be outstanding in the pool


def portion(specs: Sequence[EpisodeSpec], rank: int, world: int) -> list[EpisodeSpec]:
    """The episodes that process `rank` of `world` tests: a run of the list, no episode twice and none left out."""
    if not 0 <= rank < world:
        raise ValueError(f"rank {rank} of {world} processes does not exist")
    return list(specs[len(specs) * rank // world : len(specs) * (rank + 1) // world])


def evaluate(
    system: System,
    benchmark: Benchmark,
    specs: Sequence[EpisodeSpec],
    *,
    probe: str = "",
    pool: Executor | None = None,
    on_query: Callable[[QueryResult], None] | None = None,
    progress: bool = True,
    rank: int = 0,
    world: int = 1,
) -> list[Score]:
    """Segment and score every query of `specs`, in their order.

    Args:
        system: on any device.
        benchmark: reads, resizes and scores; says whether several supports are given one by one and vote.
        specs: the episodes.
        probe: '' or a name from `episodes.sampling.probes.PROBES`.
        pool: computes scores beside the segmentation (any executor, also of processes); None: in this thread.
        on_query: is shown every segmented query (masks and pictures are written there).
        progress: a bar on a terminal, lines elsewhere; False: silence.
        rank, world: test only this process's portion of the list. The probe changes the whole list first, so the
            portions of all ranks put together in order are what one process returns.

    Raises:
        ValueError: an unknown probe or one that the list does not allow, or broken data (named).
        FileNotFoundError: a missing frame or mask (named).
    """
    mine = portion(probe_specs(specs, probe, benchmark.source), rank, world)
    scores = _Scores(benchmark, probe, pool)
    with evaluating(system):
        counting = counted(mine, f"testing {probe}".rstrip(), "episode", progress)
        for result in segmented(system, benchmark, counting, probe):
            if on_query is not None:
                on_query(result)
            scores.add(result)
            del result  # it would lie in memory while the next chunk is segmented
    return scores.all()


def segmented(
    system: System, benchmark: Benchmark, specs: Iterable[EpisodeSpec], probe: str = ""
) -> Iterator[QueryResult]:
    """The queries of `specs`, segmented chunk by chunk: of an episode all queries in the first frames, in the next, ...

    Frames are read a chunk ahead and forgotten, so that memory does not depend on the length of a video. The system is
    in eval mode, without gradients (`evaluating`).
    """
    device = next(system.parameters()).device
    states = _SupportStates(system, benchmark.source, benchmark.transform, device, probe)
    references: list[SharedReferences] = []
    first: Clip | None = None
    for spec, start, clips in _read_ahead(benchmark.source, benchmark.transform, specs, benchmark.chunk):
        first = clips[0] if start == 0 or first is None else first
        _refuse_other_size(first, clips[0])
        if probe == EVERYTHING:
            found = [[torch.full((len(clip.frames), *clip.size), CERTAIN) for clip in clips]]
        else:
            if start == 0:
                words = read_references(system, [clip.expression for clip in clips])
                passes = [replace(spec, supports=(s,)) for s in spec.supports] if benchmark.votes else [spec]
                references = [replace(words, supports=states.of(one)) for one in passes]
            found = segment_clip(system, clips[0], references, device)
        pairs = zip(clips, *found, strict=True)
        results = deque(QueryResult(spec, n, clip, tuple(maps), probe, start) for n, (clip, *maps) in enumerate(pairs))
        del pairs, clips, found  # each result is forgotten with its use, before the next chunk is segmented
        while results:
            yield results.popleft()


class _Scores:
    """Scores of queries in the order in which they come, each put together from those of its chunks.

    Args:
        pool: computes them beside the segmentation; None: they are computed at once.
    """

    def __init__(self, benchmark: Benchmark, probe: str, pool: Executor | None) -> None:
        self.benchmark, self.probe, self.pool = benchmark, probe, pool
        self.queries: list[tuple[EpisodeSpec, list[list[Any]]]] = []
        self.waiting: deque[tuple[list[Any], Future[Any]]] = deque()

    def add(self, result: QueryResult) -> None:
        """Score a chunk of a query."""
        if result.start == 0 and result.query == 0:
            self.queries.append((result.spec, [[] for _ in result.spec.queries]))
        parts, task = self.queries[-1][1][result.query], self.benchmark.scoring(result)
        if self.pool is None:
            parts.append(task())
            return
        self.waiting.append((parts, self.pool.submit(task)))
        self._settle(WAITING)

    def all(self) -> list[Score]:
        """The scores of all queries."""
        self._settle(0)
        return [
            self.benchmark.score(spec, n, self.probe, parts)
            for spec, queries in self.queries
            for n, parts in enumerate(queries)
        ]

    def _settle(self, outstanding: int) -> None:
        """Wait until at most the last `outstanding` chunks have no score: their masks lie in memory."""
        while len(self.waiting) > outstanding:
            parts, score = self.waiting.popleft()
            parts.append(score.result())


class _SupportStates:
    """The states of the last few sets of supports, so that each set is encoded once while its queries are tested."""

    def __init__(
        self, system: System, source: Source, transform: Transform, device: torch.device | str, probe: str
    ) -> None:
        self.system, self.source, self.transform, self.device, self.probe = system, source, transform, device, probe
        self.kept: OrderedDict[tuple[ClipSpec, ...], Any] = OrderedDict()

    def of(self, spec: EpisodeSpec) -> Any:
        """The state of the supports of an episode, encoded if it is not kept; None for words alone."""
        if self.probe == NAME_ONLY and "support" not in self.system.needs:
            return None
        if spec.supports not in self.kept:
            supports = probe_supports(read_supports(self.source, spec, self.transform), self.probe)
            self.kept[spec.supports] = encode_supports(self.system, supports, self.device)
        self.kept.move_to_end(spec.supports)
        if len(self.kept) > STATES_KEPT:
            self.kept.popitem(last=False)
        return self.kept[spec.supports]


def _read_ahead(
    source: Source, transform: Transform, specs: Iterable[EpisodeSpec], chunk: int
) -> Iterator[tuple[EpisodeSpec, int, tuple[Clip, ...]]]:
    """The queries of each episode in chunks, with the index of the first frame of each.

    The next chunk is read from disk while the caller works on this one.
    """
    with ThreadPoolExecutor(1) as reader:
        ahead: tuple[EpisodeSpec, int, Future[tuple[Clip, ...]]] | None = None
        for spec in specs:
            for start in range(0, len(spec.queries[0].frames), chunk):
                part = slice(start, start + chunk)
                following = spec, start, reader.submit(read_queries, source, spec, transform, part)
                if ahead is not None:
                    yield ahead[0], ahead[1], ahead[2].result()
                ahead = following
        if ahead is not None:
            yield ahead[0], ahead[1], ahead[2].result()


def _refuse_other_size(first: Clip, clip: Clip) -> None:
    """Raise ValueError for a chunk whose frames have another size than those of the first one of the video."""
    if clip.original_size != first.original_size:
        (name, size), (name0, size0) = ((c.frame_names[0], c.original_size or c.size) for c in (clip, first))
        raise ValueError(
            f"video {clip.video!r}: frame {name} is {size[0]}x{size[1]}, but {name0} is {size0[0]}x{size0[1]}: all "
            "must be of one size"
        )

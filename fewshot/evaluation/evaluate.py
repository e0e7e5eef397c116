"""Testing: every query of a list of episodes is segmented and scored, with each set of supports encoded once.

Clips are cut into chunks of consecutive frames that see the same supports, and each chunk takes its best candidate, as
CMA is tested (Li et al., ICCV 2023). An image is a clip of one frame. What a segmented query is scored as is not
decided here: `work` makes a score of it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from typing import Any

import torch

from episodes.clip import Clip
from episodes.episode import ClipSpec, EpisodeSpec
from episodes.sampling.probes import EVERYTHING, probe_specs, probe_supports
from episodes.sources.base import Source
from fewshot.evaluation.benchmark import Benchmark, Score
from fewshot.evaluation.query import QueryResult, Transform, read_queries, read_supports
from fewshot.inference.chunks import encode_supports, evaluating, segment_clips
from fewshot.run.console import counted
from fewshot.systems.base import System

STATES_KEPT = 4  # support states in memory: lists are ordered by class, so one is in use at a time
CERTAIN = 100.0  # a logit whose probability is 1 in float32
WAITING = 32  # queries whose scores may be outstanding in the pool


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
    source, transform, device = benchmark.source, benchmark.transform, next(system.parameters()).device
    states = _SupportStates(system, source, transform, device, probe)
    scores: list[Future[Score] | Score] = []
    with evaluating(system):
        counting = counted(mine, f"testing {probe}".rstrip(), "episode", progress)
        for spec, clips in _read_ahead(source, transform, counting):
            passes = [replace(spec, supports=(s,)) for s in spec.supports] if benchmark.votes else [spec]
            if probe == EVERYTHING:
                found = [[torch.full((len(clip.frames), *clip.size), CERTAIN) for clip in clips]]
            else:
                found = [
                    segment_clips(system, clips, states.of(one), chunk=benchmark.chunk, device=device) for one in passes
                ]
            for n, (clip, *logits) in enumerate(zip(clips, *found, strict=True)):
                result = QueryResult(spec, n, clip, tuple(logits), probe)
                if on_query is not None:
                    on_query(result)
                task = benchmark.scoring(result)
                scores.append(task() if pool is None else pool.submit(task))
            _settle(scores, waiting=WAITING)
    return _settle(scores, waiting=0)


def _settle(scores: list[Future[Score] | Score], waiting: int) -> list[Score]:
    """Waits until at most the last `waiting` scores are outstanding (their masks lie in memory); the finished ones."""
    for k in range(len(scores) - waiting - 1, -1, -1):
        score = scores[k]
        if not isinstance(score, Future):
            break
        scores[k] = score.result()
    return [score for score in scores if not isinstance(score, Future)]


class _SupportStates:
    """The states of the last few sets of supports, so that each set is encoded once while its queries are tested."""

    def __init__(
        self, system: System, source: Source, transform: Transform, device: torch.device | str, probe: str
    ) -> None:
        self.system, self.source, self.transform, self.device, self.probe = system, source, transform, device, probe
        self.kept: OrderedDict[tuple[ClipSpec, ...], Any] = OrderedDict()

    def of(self, spec: EpisodeSpec) -> Any:
        """The state of the supports of an episode, encoded if it is not kept."""
        if spec.supports not in self.kept:
            supports = probe_supports(read_supports(self.source, spec, self.transform), self.probe)
            self.kept[spec.supports] = encode_supports(self.system, supports, self.device)
        self.kept.move_to_end(spec.supports)
        if len(self.kept) > STATES_KEPT:
            self.kept.popitem(last=False)
        return self.kept[spec.supports]


def _read_ahead(
    source: Source, transform: Transform, specs: Iterable[EpisodeSpec]
) -> Iterator[tuple[EpisodeSpec, tuple[Clip, ...]]]:
    """Each episode with its query clips; the next one is read from disk while the caller works on this one."""
    with ThreadPoolExecutor(1) as reader:
        ahead: tuple[EpisodeSpec, Future[tuple[Clip, ...]]] | None = None
        for spec in specs:
            following = spec, reader.submit(read_queries, source, spec, transform)
            if ahead is not None:
                yield ahead[0], ahead[1].result()
            ahead = following
        if ahead is not None:
            yield ahead[0], ahead[1].result()

"""The test of a system on the held-out classes of a fold: episodes, probes, numbers, masks and pictures."""

from __future__ import annotations

import logging
import multiprocessing
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Executor, ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path

from benchmarks.masks.submission import write_masks
from benchmarks.report import Report
from benchmarks.scores.scores import write_scores
from episodes.episode import EpisodeSpec
from episodes.sampling.probes import probe_specs
from episodes.sources.base import Source
from fewshot.evaluation.benchmark import Benchmark
from fewshot.evaluation.bridge import bridge_scores
from fewshot.evaluation.evaluate import evaluate, segmented
from fewshot.evaluation.leak import leak
from fewshot.evaluation.parallel import SharedTest, shared_test
from fewshot.evaluation.query import QueryResult, read_supports
from fewshot.evaluation.record import tested
from fewshot.evaluation.report import SHEET, Origin, Outcome, build_report, tell, write_report
from fewshot.evaluation.shown import Shown
from fewshot.inference.chunks import evaluating
from fewshot.media.pictures import contact_sheet, save_episode_picture
from fewshot.run import processes
from fewshot.run.logging import RunLogger
from fewshot.run.signals import ignore_in_worker
from fewshot.systems.base import System

logger = logging.getLogger(__name__)
MASKS, PICTURES = "masks", "pictures"


def run_test(
    system: System,
    benchmark: Benchmark,
    group: int,
    folder: Path,
    origin: Origin,
    log: RunLogger | None = None,
    notes: Sequence[str] = (),
) -> Report:
    """Test one fold with all seeds and probes, write everything into `folder`, print and return the report.

    `notes` are lines for the protocol card.

    With several processes each tests its portion; every process gets the whole report, the first one writes.

    Raises:
        ValueError: no class of the fold has enough videos, or the manifest does not fit.
    """
    outcome = Outcome(notes=list(notes))
    test_fold(system, benchmark, benchmark.tests(group), folder, outcome, origin)
    report = build_report(outcome, benchmark, origin)
    write_report(report, folder)
    tell(report, outcome, benchmark, folder, log)
    return report


def test_fold(
    system: System,
    benchmark: Benchmark,
    seeds: Sequence[Sequence[EpisodeSpec]],
    folder: Path,
    outcome: Outcome,
    origin: Origin,
) -> None:
    """Add the scores (and pictures) of one fold, given as one list of episodes per seed, to `outcome`."""
    outcome.shots, test = seeds[0][0].shots, benchmark.config.test
    everything = [spec for specs in seeds for spec in specs]
    trained = {"training": str(origin.past), "training_run": origin.run}
    outcome.tested[seeds[0][0].group] = {**tested(system, everything), **trained}
    outcome.leaks[seeds[0][0].group] = leak(system.accepts, benchmark, everything, origin.past)
    episodes = len(everything) * len(benchmark.probes(system.accepts))
    with score_pool(test.workers) as pool, shared_test(system, benchmark, episodes) as shared:
        for specs in seeds:
            for probe in benchmark.probes(system.accepts):
                _test_list(system, benchmark, specs, probe, folder, outcome, pool, shared)
                if processes.is_main():  # a test that is stopped keeps what it has
                    write_scores(folder / SHEET, outcome.scores)
        if test.bridge:
            for name, scores in bridge_scores(system, benchmark, everything).items():
                outcome.bridge.setdefault(name, []).extend(scores)
        if test.pictures and processes.is_main():
            shown = spread(seeds[0], test.pictures)
            outcome.pictures += draw(system, benchmark, shown, folder / PICTURES)
            outcome.shown += shown


def spread(specs: Sequence[EpisodeSpec], number: int | None) -> list[EpisodeSpec]:
    """`number` of the episodes, evenly spread over the list (and so over the classes); all of them for None."""
    if number is None or number >= len(specs):
        return list(specs)
    return [specs[k * len(specs) // number] for k in range(number)]


@contextmanager
def score_pool(workers: int) -> Iterator[Executor | None]:
    """Processes that compute J and F beside the segmentation; None for 0 workers."""
    if workers == 0:
        yield None
        return
    context = multiprocessing.get_context("spawn")  # a fork would inherit the threads of torch
    with ProcessPoolExecutor(workers, context, initializer=ignore_in_worker, initargs=(0,)) as pool:
        yield pool


def _test_list(
    system: System,
    benchmark: Benchmark,
    specs: Sequence[EpisodeSpec],
    probe: str,
    folder: Path,
    outcome: Outcome,
    pool: Executor | None,
    shared: SharedTest | None,
) -> None:
    """Add the scores of one list of episodes under one probe; a probe that has nothing to exchange is left out."""
    test = benchmark.config.test
    if probe:
        specs = spread(specs, test.probe_episodes)
        if reason := impossible(specs, probe, benchmark.source):
            logger.warning("probe left out: %s", reason)
            outcome.notes.append(f"group {specs[0].group}, seed {specs[0].seed}: probe left out, {reason}")
            return
    started = time.perf_counter()
    on_query = partial(save_masks, folder / MASKS) if test.save_masks and not probe else None
    if shared is not None:
        scores = shared.scores(specs, probe, on_query)
    else:
        scores = evaluate(
            system,
            benchmark,
            specs,
            probe=probe,
            pool=pool,
            on_query=on_query,
            progress=processes.is_main(),
            rank=processes.rank(),
            world=processes.world_size(),
        )
        scores = [score for part in processes.gather(scores) for score in part]
    outcome.scores += scores
    plain = [replace(score, probe="") for score in scores]
    value = 100 * benchmark.report(plain).value(benchmark.headline)
    where = f"group {specs[0].group}, seed {specs[0].seed}, {probe or 'test'}"
    seconds = time.perf_counter() - started
    logger.info("%s: %s %.1f (%d queries, %.1f s)", where, benchmark.headline, value, len(scores), seconds)


def impossible(specs: Sequence[EpisodeSpec], probe: str, source: Source) -> str | None:
    """Reason why a probe cannot be made of these episodes, or None."""
    try:
        probe_specs(specs, probe, source)
    except ValueError as error:
        return str(error)
    return None


def save_masks(folder: Path, result: QueryResult) -> None:
    """Write the masks of a chunk of a query: `folder/group_<g>/seed_<s>/<video>/<expression id>/<frame>.png`."""
    spec, query = result.spec, result.spec.queries[result.query]
    place = folder / f"group_{spec.group}" / f"seed_{spec.seed}"
    name = query.expression_id or str(result.query)
    write_masks(place, query.video, name, result.frames, result.masks().numpy())


def draw(system: System, benchmark: Benchmark, specs: Sequence[EpisodeSpec], folder: Path) -> list[Path]:
    """A picture of each episode, and `overview_group<g>.png` with one query of each below the other."""
    fullest, masks, paths = [], [], []
    for spec in specs:
        shown = Shown(spec, read_supports(benchmark.source, spec, benchmark.transform))
        with evaluating(system):
            for result in segmented(system, benchmark, [shown.spec]):
                shown.add(result)
        name = f"group{spec.group}_seed{spec.seed}_{spec.index:04d}_{spec.class_name}.png"
        paths.append(save_episode_picture(folder / name, *shown.strip(), captions=shown.captions()))
        episode, mask = shown.fullest()
        fullest.append(episode)
        masks.append(mask)
    contact_sheet(folder / f"overview_group{specs[0].group}.png", fullest, masks, columns=2)
    return paths

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
from episodes.episode import Episode, EpisodeSpec
from episodes.folds import Folds
from episodes.sampling.probes import probe_specs
from episodes.sources.base import Source
from fewshot.cli.runs import MetaTrainConfig
from fewshot.evaluation.benchmark import Score, kind_of, test_specs
from fewshot.evaluation.evaluate import QueryResult, evaluate, read_queries, read_supports
from fewshot.evaluation.report import SHEET, Config, Origin, Outcome, build_report, tell, write_report
from fewshot.inference.chunks import segment
from fewshot.media.pictures import contact_sheet, save_episode_picture
from fewshot.run import processes
from fewshot.run.logging import Tracker
from fewshot.run.signals import ignore_in_worker
from fewshot.systems.base import System

logger = logging.getLogger(__name__)
MASKS, PICTURES = "masks", "pictures"
QUERIES_DRAWN = 4  # expressions of an episode that its picture shows at most


def run_test(
    system: System,
    config: Config,
    source: Source,
    folds: Folds,
    group: int,
    folder: Path,
    tracker: Tracker | None = None,
    *,
    origin: Origin | None = None,
) -> Report:
    """Test one fold with all seeds and probes, write everything into `folder`, print and return the report.

    With several processes each tests its share; every process gets the whole report, the first one writes.

    Args:
        origin: of the weights; by default what a training configuration says.

    Raises:
        ValueError: no class of the fold has enough videos, or the manifest does not fit.
    """
    if origin is None:
        origin = Origin.of_training(config) if isinstance(config, MetaTrainConfig) else Origin()
    outcome = Outcome()
    test_group(system, config, source, test_specs(config, source, folds, group), folder, outcome)
    report = build_report(outcome, config, origin)
    write_report(report, folder)
    tell(report, outcome, config, folder, tracker)
    return report


def test_group(
    system: System,
    config: Config,
    source: Source,
    seeds: Sequence[Sequence[EpisodeSpec]],
    folder: Path,
    outcome: Outcome,
) -> None:
    """Add the scores (and pictures) of one fold, given as one list of episodes per seed, to `outcome`."""
    outcome.shots = seeds[0][0].shots
    with score_pool(config.test.workers) as pool:
        for specs in seeds:
            for probe in kind_of(config).probes():
                _test_list(system, config, source, specs, probe, folder, outcome, pool)
                if processes.is_main():  # a test that is stopped keeps what it has
                    write_scores(folder / SHEET, outcome.scores)
        if config.test.pictures and processes.is_main():
            shown = spread(seeds[0], config.test.pictures)
            outcome.pictures += draw(system, source, shown, config, folder / PICTURES)
            outcome.shown += shown


test_group.__test__ = False  # type: ignore[attr-defined]  # not a test, whatever pytest thinks of its name


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
    config: Config,
    source: Source,
    specs: Sequence[EpisodeSpec],
    probe: str,
    folder: Path,
    outcome: Outcome,
    pool: Executor | None,
) -> None:
    """Add the scores of one list of episodes under one probe; a probe that has nothing to exchange is left out."""
    if probe:
        specs = spread(specs, config.test.probe_episodes)
        if reason := impossible(specs, probe):
            logger.warning("probe left out: %s", reason)
            outcome.notes.append(f"group {specs[0].group}, seed {specs[0].seed}: probe left out, {reason}")
            return
    started, kind = time.perf_counter(), kind_of(config)
    scores = evaluate(
        system,
        source,
        specs,
        transform=kind.test_transform(),
        chunk=config.benchmark.test_chunk,
        device=next(system.parameters()).device,
        work=kind.work,
        vote=kind.votes,
        probe=probe,
        pool=pool,
        on_query=partial(save_masks, folder / MASKS) if config.test.save_masks and not probe else None,
        progress=processes.is_main(),
        rank=processes.rank(),
        world=processes.world_size(),
    )
    scores = [score for part in processes.gather(scores) for score in part]
    outcome.scores += scores
    headline = 100 * headline_of(scores, config.benchmark.protocol, kind.headline)
    where = f"group {specs[0].group}, seed {specs[0].seed}, {probe or 'test'}"
    seconds = time.perf_counter() - started
    logger.info("%s: %s %.1f (%d queries, %.1f s)", where, kind.headline, headline, len(scores), seconds)


def headline_of(scores: Sequence[Score], protocol: str, measure: str) -> float:
    """One measure of the scores of one probe, in 0..1."""
    plain = tuple(replace(score, probe="") for score in scores)
    return Report(plain, protocol, bootstrap=0).value(measure)


def impossible(specs: Sequence[EpisodeSpec], probe: str) -> str | None:
    """Why a probe cannot be made of these episodes, or None."""
    try:
        probe_specs(specs, probe)
    except ValueError as error:
        return str(error)
    return None


def save_masks(folder: Path, result: QueryResult) -> None:
    """Write the masks of a query: `folder/group_<g>/seed_<s>/<video>/<expression id>/<frame>.png`."""
    spec, query = result.spec, result.spec.queries[result.query]
    place = folder / f"group_{spec.group}" / f"seed_{spec.seed}"
    name = query.expression_id or str(result.query)
    write_masks(place, query.video, name, query.frames, result.masks().numpy())


def draw(system: System, source: Source, specs: Sequence[EpisodeSpec], config: Config, folder: Path) -> list[Path]:
    """A picture of each episode, and `overview_group<g>.png` with one query of each below the other."""
    transform, chunk = kind_of(config).test_transform(), config.benchmark.test_chunk
    episodes, found, paths = [], [], []
    for spec in specs:
        clips = read_queries(source, spec, transform)[:QUERIES_DRAWN]
        episode = Episode(spec, read_supports(source, spec, transform), clips)
        masks = segment(system, episode, chunk=chunk)
        name = f"group{spec.group}_seed{spec.seed}_{spec.index:04d}_{spec.class_name}.png"
        paths.append(save_episode_picture(folder / name, episode, masks))
        episodes.append(episode)
        found.append(masks[0])
    contact_sheet(folder / f"overview_group{specs[0].group}.png", episodes, found, columns=2)
    return paths

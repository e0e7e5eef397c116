"""The bridge table: one set of predictions, counted by every protocol of images that can count them.

It tells how many points of a difference between two papers are protocol. J and F of videos need none: a score of a
query serves all protocols of its list.
"""

from __future__ import annotations

from collections.abc import Sequence

from benchmarks.scores.scores import ImageScore
from episodes.episode import EpisodeSpec
from fewshot.evaluation.benchmark import Benchmark
from fewshot.evaluation.evaluate import portion, segmented
from fewshot.evaluation.scoring import image_score
from fewshot.inference.chunks import evaluating
from fewshot.run import processes
from fewshot.run.console import counted
from fewshot.systems.base import System


def bridge_scores(system: System, benchmark: Benchmark, specs: Sequence[EpisodeSpec]) -> dict[str, list[ImageScore]]:
    """The scores of the queries of `specs` by each other protocol; of processes together, each tests its portion.

    Args:
        specs: episodes of one number of shots, at least one.
    """
    found: dict[str, list[ImageScore]] = {other.name: [] for other in benchmark.bridges(specs[0].shots)}
    if not found:
        return found
    mine = portion(specs, processes.rank(), processes.world_size())
    with evaluating(system):
        for result in segmented(system, benchmark, counted(mine, "bridge", "episode", processes.is_main())):
            for other in benchmark.bridges(specs[0].shots):
                found[other.name].append(image_score(result, other, benchmark.rule.size))
    return {name: [score for part in processes.gather(scores) for score in part] for name, scores in found.items()}

"""Timings of the loading of training episodes: `python -m experiments.speed.loader`

How many episodes a second come out of the loader alone, with 0, 1 and 2 loading processes, and which part of the time
a training waits for them. Small systems: clips of the generated world, and of real data where they are there.
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import torch

from benchmarks.tables import text_table
from episodes.batch import EpisodeBatch
from episodes.dataset import EpisodeDataset
from experiments.speed.options import options
from fewshot.cli.composition import composed, register_schemas
from fewshot.cli.program import Command, checked
from fewshot.evaluation.benchmark import open_benchmark
from fewshot.systems.base import System
from fewshot.systems.registry import make_system
from fewshot.training.data import steps_of_batches, visible_frames
from fewshot.training.meta import settings_of, training_episodes
from fewshot.training.optim import make_optimizer
from fewshot.training.settings import TrainSettings
from fewshot.training.step import TrainingStep, set_training_mode

USAGE = """
python -m experiments.speed.loader [key=value ...]

  threads     CPU threads of the training (default 1)
  steps       measured steps of each row, after one that starts the loading processes (default 10)
  workers     most loading processes (default 2)

Real data are looked for in data/ below FEWSHOT_SHARED (default ../shared).
"""
DEFAULTS = {"threads": 1, "steps": 10, "workers": 2}
SMALL = ("system=uniref_tiny", "benchmark.train_sizes=[192]", "benchmark.train_max_size=320", "train.batch=1")
HEADER = ("", "processes", "loader alone, episodes/s", "training, episodes/s", "of that time it waits")


@dataclass(frozen=True)
class Case:
    """A training as its configuration has it.

    Attributes:
        name: data and system.
        dataset: its episodes.
        settings: of the loop.
        system: in training mode.
    """

    name: str
    dataset: EpisodeDataset
    settings: TrainSettings
    system: System


def cases(shared: Path) -> dict[str, list[str]]:
    """Words of the trainings whose data are there, by the name of their data."""
    clips = shared / "data" / "mini-ref-davis" / "data" / "mini-ref-youtube-vos"
    images = shared / "data" / "voc2012-subset"
    found = {"generated clips": ["group=1"]}
    if clips.is_dir():
        found["20 clips of DAVIS"] = ["benchmark=mini_ref_ytvos", "group=1", f"data.root={clips}", *SMALL]
    if images.is_dir():
        found["561 images of VOC"] = ["benchmark=pascal5i_small", "group=2", f"data.root={images}"]
    return found


def case_of(name: str, words: Sequence[str]) -> Case:
    """The training that the words give, opened."""
    config = checked(composed("meta_train", [*words, "logging=disabled"]))
    system = make_system(config.system, 0)
    set_training_mode(system)
    settings = settings_of(config, Command((), {}), system)
    return Case(f"{name}, {system.name}", training_episodes(open_benchmark(config)), settings, system)


def loading(case: Case, workers: int, steps: int) -> float:
    """Episodes that the loader alone brings in a second."""
    settings = replace(case.settings, workers=workers, steps=steps + 1)
    with closing(steps_of_batches(case.dataset, settings, 0, 0, 1)) as batches:
        next(batches)
        started = time.perf_counter()
        episodes = sum(len(batch) for step in batches for batch in step)
        return episodes / (time.perf_counter() - started)


def training(case: Case, workers: int, steps: int) -> tuple[float, float]:
    """Episodes that a training takes in a second, and the part of its time in which it waits for them, 0..1."""
    settings = replace(case.settings, workers=workers, steps=steps + 1)
    model, optimizer = TrainingStep(case.system, "fp32"), make_optimizer(case.system, settings)
    waited = started = 0.0
    episodes = 0
    with closing(steps_of_batches(case.dataset, settings, 0, 0, 1)) as batches:
        for k in range(steps + 1):
            asked = time.perf_counter()
            step = next(batches)
            if k == 0:
                one_step(model, optimizer, step)
                started = time.perf_counter()
                continue
            waited += time.perf_counter() - asked
            one_step(model, optimizer, step)
            episodes += sum(map(len, step))
        seconds = time.perf_counter() - started
    return episodes / seconds, waited / seconds


def one_step(model: TrainingStep, optimizer: torch.optim.Optimizer, batches: Sequence[EpisodeBatch]) -> None:
    """Forward, losses, backward and update."""
    optimizer.zero_grad(set_to_none=True)
    visible = float(max(1, sum(map(visible_frames, batches))))
    for batch in batches:
        model(batch, visible)[0].backward()
    optimizer.step()


def main(argv: Sequence[str]) -> None:
    """Measure every training with every number of loading processes, and print a table."""
    threads, steps, workers = options(argv, DEFAULTS, USAGE)
    torch.set_num_threads(threads)
    register_schemas()
    rows = []
    for name, words in cases(Path(os.environ.get("FEWSHOT_SHARED", "../shared"))).items():
        case = case_of(name, words)
        for count in range(workers + 1):
            alone, (rate, waits) = loading(case, count, steps), training(case, count, steps)
            rows.append([case.name, str(count), f"{alone:.1f}", f"{rate:.2f}", f"{100 * waits:.1f} %"])
    print(text_table(HEADER, rows))


if __name__ == "__main__":
    main(sys.argv[1:])

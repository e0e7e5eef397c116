"""Timings of the full-size CMA: `python -m experiments.speed.cma`

Forward pass (evaluation mode) and training step (forward, losses, backward) of the model with ResNet-50 and RoBERTa
at random weights, one episode with one shot, expressions of eleven tokens.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Sequence

import torch

from benchmarks.tables import text_table
from episodes.batch import ClipBatch, References
from experiments.speed.options import options
from fewshot.cli.memory import keep_freed_memory
from fewshot.nn.backbones import ResNet
from fewshot.nn.text import TextEncoder, WordHashTokenizer, roberta
from fewshot.systems.cma.model import CMA

USAGE = """
python -m experiments.speed.cma [key=value ...]

  threads     CPU threads (default 2)
  runs        measured runs after one warm-up; the median is shown (default 5)
"""
DEFAULTS = {"threads": 2, "runs": 5}
WORDS = "a small brown bear walking slowly across the grass"  # nine words: eleven tokens
SETTINGS = ((3, 160, 256), (5, 256, 448))  # query frames (and support frames), height, width


def clips(frames: int, height: int, width: int, seed: int) -> ClipBatch:
    """One clip of noise with a rectangle as its object."""
    draw = torch.Generator().manual_seed(seed)
    masks = torch.zeros(frames, height, width, dtype=torch.bool)
    masks[:, height // 4 : height // 2, width // 4 : width // 2] = True
    return ClipBatch(
        frames=torch.randn(1, frames, 3, height, width, generator=draw),
        padding=torch.zeros(1, height, width, dtype=torch.bool),
        sizes=torch.tensor([[height, width]]),
        expressions=(WORDS,),
        masks=(masks,),
        boxes=torch.tensor([0.375, 0.375, 0.25, 0.25]).expand(1, frames, 4),
        valid=torch.ones(1, frames, dtype=torch.bool),
    )


def median_seconds(work: Callable[[], object], runs: int) -> float:
    """Median wall time after one run that does not count."""
    work()
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


def measure(model: CMA, setting: tuple[int, int, int], runs: int) -> tuple[float, float, float]:
    """Median seconds of a forward pass, of one with the references already encoded, and of a training step."""
    queries, supports = clips(*setting, seed=1), clips(*setting, seed=2)
    references = References(supports, 1, queries.expressions)

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model.losses(model(queries, model.encode_reference(references)), queries).total.backward()

    model.eval()
    with torch.inference_mode():
        forward = median_seconds(lambda: model(queries, model.encode_reference(references)), runs)
        state = model.encode_reference(references)
        reused = median_seconds(lambda: model(queries, state), runs)
    model.train()
    return forward, reused, median_seconds(step, runs)


def main(argv: Sequence[str]) -> None:
    """Measure the settings and print a table."""
    threads, runs = options(argv, DEFAULTS, USAGE)
    torch.set_num_threads(threads)
    keep_freed_memory()  # as every command does
    torch.manual_seed(0)
    model = CMA(ResNet(50), TextEncoder(roberta(), WordHashTokenizer()))
    rows = []
    for setting in SETTINGS:
        times = measure(model, setting, runs)
        rows.append(["{}+{} frames of {}x{}".format(setting[0], *setting), *(f"{t:.2f}" for t in times)])
    print(text_table(["seconds, median", "forward", "forward, references encoded before", "training step"], rows))


if __name__ == "__main__":
    main(sys.argv[1:])

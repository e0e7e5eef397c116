"""Timings of the full-size UniRef++: `python -m experiments.speed.uniref`

Forward pass (evaluation mode) and training step (forward, losses, backward) of the model with ResNet-50, BERT and the
ResNet-18 value encoder at random weights, on one image: referred to by an expression of eleven tokens, and by one
support image with its mask.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.tables import text_table
from episodes.batch import ClipBatch, References
from experiments.speed.cma import clips, median_seconds
from experiments.speed.options import options
from fewshot.cli.memory import keep_freed_memory
from fewshot.nn.backbones import ResNet
from fewshot.nn.outputs import Prediction
from fewshot.nn.text import BERT_CONTEXT, TextEncoder, WordHashTokenizer, bert, without_punctuation
from fewshot.nn.value_encoder import ValueEncoder
from fewshot.systems.uniref.model import UniRef

USAGE = """
python -m experiments.speed.uniref [key=value ...]

  threads     CPU threads (default 2)
  runs        measured runs after one warm-up; the median is shown (default 5)
  height      of the image (default 192)
  width       of the image (default 256)
"""
DEFAULTS = {"threads": 2, "runs": 5, "height": 192, "width": 256}


def measure(model: UniRef, query: ClipBatch, support: ClipBatch | None, runs: int) -> tuple[float, float]:
    """Median seconds of a forward pass, the reference's encoding included, and of a training step."""
    references = References(support, 0 if support is None else 1, query.expressions)

    def forward() -> Prediction:
        return model(query, model.encode_reference(references))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        model.losses(forward(), query).total.backward()

    model.eval()
    with torch.inference_mode():
        seconds = median_seconds(forward, runs)
    model.train()
    return seconds, median_seconds(step, runs)


def main(argv: Sequence[str]) -> None:
    """Measure both tasks and print a table."""
    threads, runs, height, width = options(argv, DEFAULTS, USAGE)
    torch.set_num_threads(threads)
    keep_freed_memory()  # as every command does
    torch.manual_seed(0)
    text = TextEncoder(bert(), WordHashTokenizer(), BERT_CONTEXT, without_punctuation)
    model = UniRef(ResNet(50), text, ValueEncoder(), freeze_backbone="stem")
    query, support = clips(1, height, width, seed=1), replace(clips(1, height, width, seed=2), expressions=(None,))
    tasks = {"RIS, one expression": (query, None), "FSS, one support": (replace(query, expressions=(None,)), support)}
    rows = [[task, *(f"{t:.2f}" for t in measure(model, *given, runs))] for task, given in tasks.items()]
    print(text_table([f"seconds, median, image of {height}x{width}", "forward", "training step"], rows))


if __name__ == "__main__":
    main(sys.argv[1:])

"""Timings of the full-size SgMg beside CMA's: `python -m experiments.speed.sgmg`

Forward pass (evaluation mode, the expression's encoding included) and training step (forward, losses, backward) of
SgMg with Video-Swin-T and RoBERTa and of CMA with ResNet-50 at random weights, and the memory of one long clip.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
from collections.abc import Sequence

import torch

from benchmarks.tables import text_table
from episodes.batch import ClipBatch, References
from experiments.speed.cma import clips, median_seconds
from experiments.speed.options import options
from fewshot.cli.memory import keep_freed_memory
from fewshot.nn.backbones import ResNet
from fewshot.nn.outputs import Prediction, in_float32
from fewshot.nn.text import TextEncoder, WordHashTokenizer, roberta
from fewshot.nn.video_swin import VideoSwin
from fewshot.systems.cma.model import CMA
from fewshot.systems.sgmg.model import SgMg
from fewshot.systems.trunk import Trunk
from fewshot.training.step import AUTOCAST, set_training_mode

USAGE = """
python -m experiments.speed.sgmg [key=value ...]

  threads     CPU threads (default 2)
  runs        measured runs after one warm-up; the median is shown (default 5)
  frames      of 360x640 pixels of the clip whose memory is measured, in a process of its own (default 36)
"""
DEFAULTS = {"threads": 2, "runs": 5, "frames": 36}
CMA_CLIP, FORWARD_CLIP, STEP_CLIP = (3, 160, 256), (5, 160, 224), (2, 160, 224)  # frames, height, width
LONG_CLIP = (360, 640)


def sgmg() -> SgMg:
    """SgMg with Video-Swin-T; all of it learns but the text encoder, as released."""
    return SgMg(VideoSwin("tiny"), TextEncoder(roberta(), WordHashTokenizer()))


def cma() -> CMA:
    """CMA with a frozen ResNet-50, as released."""
    return CMA(ResNet(50), TextEncoder(roberta(), WordHashTokenizer()))


def answer(model: Trunk, queries: ClipBatch, supports: ClipBatch | None) -> Prediction:
    """The prediction for query clips by their own expressions and by one shot of supports."""
    return model(queries, model.encode_reference(References(supports, int(supports is not None), queries.expressions)))


def forward_seconds(model: Trunk, queries: ClipBatch, supports: ClipBatch | None, runs: int) -> float:
    """Median seconds of a forward pass."""
    model.eval()
    with torch.inference_mode():
        return median_seconds(lambda: answer(model, queries, supports), runs)


def step_seconds(
    model: Trunk, queries: ClipBatch, supports: ClipBatch | None, runs: int, precision: str = "fp32"
) -> float:
    """Median seconds of a training step without the optimiser, with `train.precision` as given."""
    dtype = AUTOCAST[precision]

    def step() -> None:
        model.zero_grad(set_to_none=True)
        with torch.autocast("cpu", dtype, enabled=dtype is not torch.float32):
            prediction = answer(model, queries, supports)
        model.losses(in_float32(prediction), queries).total.backward()

    set_training_mode(model)
    return median_seconds(step, runs)


def rows(of_cma: Trunk, of_sgmg: Trunk, runs: int) -> list[list[str]]:
    """Seconds of both systems, forward and step, and SgMg's as parts of CMA's; its step also in bf16."""
    query, support = (clips(*CMA_CLIP, seed=seed) for seed in (1, 2))
    name = "{} frames of {}x{}".format
    table = []
    for what, measured, clip in (("forward", forward_seconds, FORWARD_CLIP), ("step", step_seconds, STEP_CLIP)):
        base = measured(of_cma, query, support, runs)
        seconds = measured(of_sgmg, clips(*clip, seed=1), None, runs)
        table.append([f"{what}: CMA, {CMA_CLIP[0]}+{name(*CMA_CLIP)}", f"{base:.2f}", "1"])
        table.append([f"{what}: SgMg, {name(*clip)}", f"{seconds:.2f}", f"{seconds / base:.2f}"])
    seconds = step_seconds(of_sgmg, clips(*STEP_CLIP, seed=1), None, runs, "bf16")
    table.append([f"step in bf16: SgMg, {name(*STEP_CLIP)}", f"{seconds:.2f}", f"{seconds / base:.2f}"])
    return table


def print_peak(frames: int, threads: int) -> None:
    """Print the peak memory of this process after a forward pass of one clip."""
    torch.set_num_threads(threads)
    with torch.inference_mode():
        answer(sgmg().eval(), clips(frames, *LONG_CLIP, seed=1), None)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / (1 if sys.platform == "darwin" else 1 / 1024)
    print(f"peak memory of a forward pass of {frames} frames of 360x640: {peak / 1e6:,.0f} MB")


def main(argv: Sequence[str]) -> None:
    """Measure and print a table."""
    threads, runs, frames = options(argv, DEFAULTS, USAGE)
    torch.set_num_threads(threads)
    keep_freed_memory()  # as every command does
    torch.manual_seed(0)
    print(text_table([f"median, threads={threads}", "seconds", "ratio"], rows(cma(), sgmg(), runs)))
    process = multiprocessing.get_context("spawn").Process(target=print_peak, args=(frames, threads))
    process.start()
    process.join()


if __name__ == "__main__":
    main(sys.argv[1:])

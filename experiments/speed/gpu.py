"""Timings of the full-size CMA and UniRef++ on a GPU: `python -m experiments.speed.gpu`

Forward pass (evaluation mode) and training step (forward, losses, backward) at random weights, in float32 and with
autocast to bfloat16, as ratios to the forward pass in float32 of the same system in the same run. One episode with one
shot: clips of 5 frames for CMA, an expression and a support image for UniRef++. Convolutions in float32 use TF32, as
torch has it by default. Without a CUDA device it says so and ends with status 0.
"""

from __future__ import annotations

import statistics
from collections.abc import Callable
from functools import partial

import torch

from benchmarks.tables import text_table
from episodes.batch import ClipBatch, References
from fewshot.nn.backbones import ResNet
from fewshot.nn.outputs import Prediction, in_float32
from fewshot.nn.text import BERT_CONTEXT, TextEncoder, WordHashTokenizer, bert, roberta, without_punctuation
from fewshot.nn.value_encoder import ValueEncoder
from fewshot.systems.base import System
from fewshot.systems.cma.model import CMA
from fewshot.systems.uniref.model import UniRef

HEIGHT, WIDTH = 360, 640  # of the frames, in pixels
RUNS = 10  # measured ones; the median is shown
WARMUPS = 3
WORDS = "a small brown bear walking slowly across the grass"
PAD = 32  # frames are padded to a multiple of this


def clips(frames: int, height: int, width: int, seed: int) -> ClipBatch:
    """One clip of noise with a rectangle as its object, padded as in training."""
    draw = torch.Generator().manual_seed(seed)
    padded = (-(-height // PAD) * PAD, -(-width // PAD) * PAD)
    images = torch.zeros(1, frames, 3, *padded)
    images[..., :height, :width] = torch.randn(1, frames, 3, height, width, generator=draw)
    padding = torch.ones(1, *padded, dtype=torch.bool)
    padding[:, :height, :width] = False
    masks = torch.zeros(frames, height, width, dtype=torch.bool)
    masks[:, height // 4 : height // 2, width // 4 : width // 2] = True
    return ClipBatch(
        frames=images,
        padding=padding,
        sizes=torch.tensor([[height, width]]),
        expressions=(WORDS,),
        masks=(masks,),
        boxes=torch.tensor([0.375, 0.375, 0.25, 0.25]).expand(1, frames, 4),
        valid=torch.ones(1, frames, dtype=torch.bool),
    )


def milliseconds(work: Callable[[], object]) -> float:
    """Median time on the GPU, by events on its stream."""
    for _ in range(WARMUPS):
        work()
    times = []
    for _ in range(RUNS):
        start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        start.record()
        work()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    return statistics.median(times)


def forward(system: System, query: ClipBatch, support: ClipBatch, bf16: bool) -> Prediction:
    """One forward pass, the reference's encoding included."""
    with torch.autocast(query.frames.device.type, torch.bfloat16, enabled=bf16):
        return system(query, system.encode_reference(References(support, 1, query.expressions)))


def step(system: System, query: ClipBatch, support: ClipBatch, bf16: bool) -> None:
    """Forward pass, losses in float32, and gradients."""
    system.zero_grad(set_to_none=True)
    prediction = in_float32(forward(system, query, support, bf16))
    system.losses(prediction, query).total.backward()


def measure(system: System, query: ClipBatch, support: ClipBatch) -> dict[str, float]:
    """Milliseconds of a forward pass and of a training step in both precisions."""
    times = {}
    for name, bf16 in (("fp32", False), ("bf16", True)):
        given = (system, query, support, bf16)
        system.eval()
        with torch.inference_mode():
            times[f"forward {name}"] = milliseconds(partial(forward, *given))
        system.train()
        times[f"step {name}"] = milliseconds(partial(step, *given))
    return times


def full_size() -> dict[str, tuple[Callable[[], System], int]]:
    """Builder of each system, and the number of frames of its clips."""

    def cma() -> System:
        return CMA(ResNet(50), TextEncoder(roberta(), WordHashTokenizer()))

    def uniref() -> System:
        text = TextEncoder(bert(), WordHashTokenizer(), BERT_CONTEXT, without_punctuation)
        return UniRef(ResNet(50), text, ValueEncoder(), freeze_backbone="stem")

    return {"CMA": (cma, 5), "UniRef++": (uniref, 1)}


def main() -> None:
    """Measure both systems and print a table of ratios."""
    if not torch.cuda.is_available():
        print("skipped: torch finds no CUDA device")
        return
    rows, names = [], []
    for title, (build, frames) in full_size().items():
        torch.manual_seed(0)
        query, support = (clips(frames, HEIGHT, WIDTH, seed).to("cuda") for seed in (1, 2))
        times = measure(build().cuda(), query, support)
        names, unit = list(times), times["forward fp32"]
        rows.append([title, f"{unit:.1f} ms", *(f"{time / unit:.2f}" for time in times.values())])
    where = f"{torch.cuda.get_device_name()}, torch {torch.__version__}"
    print(f"Ratios to the forward pass in float32, frames of {HEIGHT}x{WIDTH}, {where}\n")
    print(text_table(["system", "1.00 is", *names], rows))


if __name__ == "__main__":
    main()

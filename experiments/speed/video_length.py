"""Time and memory of a video against its length: `python -m experiments.speed.video_length`

A small UniVS with random weights goes through noise of 50, 200 and 800 frames, one task after the other. Every
candidate becomes an entity, up to 8 at once, so that the memory of tracks is as full as it can be. Each video has a
process of its own, whose peak is told beyond what it started with.
"""

from __future__ import annotations

import multiprocessing
import resource
import sys
import time
from collections.abc import Sequence
from dataclasses import replace

import torch

from benchmarks.tables import text_table
from episodes.batch import ClipBatch
from experiments.speed.options import options
from fewshot.systems.registry import make_system
from fewshot.systems.univs.config import SMALL, UniVSConfig
from fewshot.systems.univs.entities import EntityRules
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.video_tasks import TASKS, EntityTask
from fewshot.systems.video_tasks import VideoQuestion, VideoTask, Vocabulary, numbers_in

USAGE = """
python -m experiments.speed.video_length [key=value ...]

  threads     CPU threads (default 1)
  height      of the frames (default 64)
  width       of the frames (default 64)
  clip        frames of a clip (default 3)
"""
DEFAULTS = {"threads": 1, "height": 64, "width": 64, "clip": 3}
LENGTHS = (50, 200, 800)
KINDS = ("vis", "vps", "vos", "rvos", "vss")
FULL = EntityRules(
    threshold=-1.0, stability=-1.0, first_score=-1.0, later_score=-1.0, box_limit=2.0, match=2.0, share=None, most=8
)


class FullEntities(EntityTask):
    """Everything becomes an entity."""

    def rules(self, question: VideoQuestion) -> EntityRules:
        """Rules that refuse nothing."""
        return replace(FULL, things=super().rules(question).things)


def task_of(kind: str, clip: int) -> VideoTask:
    """A way through videos of a small UniVS for a task."""
    model = make_system(UniVSConfig(**{**SMALL, "num_queries": FULL.most}), 0).eval()
    assert isinstance(model, UniVS)
    return FullEntities(model, kind, clip) if kind in ("vis", "vps") else TASKS[kind](model, kind, clip)


def question_of(kind: str, size: tuple[int, int]) -> VideoQuestion:
    """Four classes, three objects or three expressions."""
    if kind in ("vis", "vps", "vss"):
        return VideoQuestion(size, Vocabulary(("dax", "toma", "blicket", "ground"), frozenset({3})))
    return VideoQuestion(size, objects=(1, 2, 3), expressions=("a dax", "a toma", "a blicket"))


def walk(kind: str, frames: int, size: tuple[int, int], clip: int) -> tuple[float, int]:
    """Seconds of a frame, and the most numbers that a state held; the first clip is not timed."""
    task, question, most, started = task_of(kind, clip), question_of(kind, size), 0, 0.0
    generator = torch.Generator().manual_seed(0)
    given = {k: torch.zeros(size, dtype=torch.bool) for k in question.objects}
    for k, mask in given.items():
        mask[8 * k : 8 * k + 16, 8 * k : 8 * k + 16] = True
    with torch.inference_mode():
        state = task.start(question)
        for t in range(frames):
            if t == clip:
                started = time.perf_counter()
            state, _ = task.step(state, one_frame(size, generator), given if t == 0 else {})
            most = max(most, numbers_in(state))
        seconds = time.perf_counter() - started
        task.end(state)
    return seconds / (frames - clip), most


def one_frame(size: tuple[int, int], generator: torch.Generator) -> ClipBatch:
    """A frame of noise."""
    pixels = torch.randn(1, 1, 3, *size, generator=generator)
    return ClipBatch(pixels, torch.zeros(1, *size, dtype=torch.bool), torch.tensor([size]), (None,), (None,))


def peak() -> float:
    """Most memory that this process has held, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def measured(kind: str, frames: int, size: tuple[int, int], clip: int) -> tuple[float, int, float]:
    """Seconds of a frame, most numbers of a state, and MB beyond those of the start; for a process of its own."""
    before = peak()
    return *walk(kind, frames, size, clip), peak() - before


def main(argv: Sequence[str]) -> None:
    """Measure and print a table."""
    threads, height, width, clip = options(argv, DEFAULTS, USAGE)
    torch.set_num_threads(threads)
    rows = []
    for kind in KINDS:
        for frames in LENGTHS:
            with multiprocessing.get_context("fork").Pool(1) as pool:
                seconds, numbers, grown = pool.apply(measured, (kind, frames, (height, width), clip))
            rows.append([kind, str(frames), f"{1000 * seconds:.1f}", f"{numbers * 4 / 2**20:.2f}", f"{grown:.0f}"])
    print(text_table(["task", "frames", "ms per frame", "state, MB", "peak, MB"], rows))


if __name__ == "__main__":
    main(sys.argv[1:])

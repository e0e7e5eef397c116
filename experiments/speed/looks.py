"""Timings of several expressions of one video: `python -m experiments.speed.looks`

The small form of each system segments a clip of noise by 1, 4 and 8 expressions (CMA with a support): with one look at
its frames for all of them, and with a look for each. Ratios are to one expression, within one run.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import replace
from functools import partial

import torch

from benchmarks.tables import text_table
from episodes.batch import ClipBatch, References
from experiments.speed.cma import clips, median_seconds
from experiments.speed.options import options
from fewshot.inference.chunks import evaluating
from fewshot.inference.look import answers, read_references
from fewshot.systems.base import System
from fewshot.systems.registry import make_system, systems

USAGE = """
python -m experiments.speed.looks [key=value ...]

  threads     CPU threads (default 2)
  runs        measured runs after one warm-up; the median is shown (default 5)
  frames      of the clip (default 5)
  height      of its frames (default 192)
  width       of its frames (default 320)
"""
DEFAULTS = {"threads": 2, "runs": 5, "frames": 5, "height": 192, "width": 320}
NAMES = ("cma", "referformer", "sgmg", "uniref")
COUNTS = (1, 4, 8)


def expressions(count: int) -> tuple[str, ...]:
    """Expressions of a few words."""
    return tuple(f"the brown bear with {k} spots on the left" for k in range(count))


def together(system: System, clip: ClipBatch, supports: ClipBatch | None, texts: Sequence[str]) -> None:
    """One look at the clip for all expressions."""
    encoded = None if supports is None else system.encode_supports(supports, 1)
    references = read_references(system, texts, encoded)
    for _ in answers(system, system.with_features(clip), references):
        pass


def apart(system: System, clip: ClipBatch, supports: ClipBatch | None, texts: Sequence[str]) -> None:
    """A look at the clip for each expression."""
    for text in texts:
        references = References(supports, 0 if supports is None else 1, (text,))
        system(clip, system.encode_reference(references))


def row(name: str, setting: tuple[int, int, int], runs: int) -> list[str]:
    """Seconds of one expression, and for more the ratio of both ways to it."""
    spec = systems()[name]
    system = make_system(spec.config(name=name, **spec.small), 0)
    clip = replace(clips(*setting, seed=1), masks=(None,), boxes=None, valid=None)
    supports = clips(*setting, seed=2) if "support" in system.needs else None
    with evaluating(system):
        seconds = [
            [median_seconds(partial(way, system, clip, supports, expressions(n)), runs) for way in (together, apart)]
            for n in COUNTS
        ]
    one = seconds[0][0]
    return [name, f"{one:.3f}", *(f"{a / one:.2f} ({b / one:.2f})" for a, b in seconds[1:])]


def main(argv: Sequence[str]) -> None:
    """Measure the systems and print a table."""
    threads, runs, *setting = options(argv, DEFAULTS, USAGE)
    torch.set_num_threads(threads)
    frames, height, width = setting
    rows = [row(name, (frames, height, width), runs) for name in NAMES]
    heads = [f"{count} expressions (a look for each)" for count in COUNTS[1:]]
    print(text_table([f"{frames} frames of {height}x{width}", "1 expression, seconds", *heads], rows))


if __name__ == "__main__":
    main(sys.argv[1:])

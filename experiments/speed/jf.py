"""Timings of J and F: `python -m experiments.speed.jf`

In memory against two straightforward evaluators of the same definition, and from PNG files against decoding alone.
All ratios come from one run, so that they hold on any machine.
"""

from __future__ import annotations

import math
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from benchmarks.davis import Folders, evaluate
from benchmarks.masks.png import read_labels, write_labels
from benchmarks.metrics.jf import DAVIS_TOLERANCE, boundary_map, boundary_radius, j_and_f
from benchmarks.tables import text_table
from experiments.speed.options import options

USAGE = """
python -m experiments.speed.jf [key=value ...]

  frames      frames per sequence, at least 1 (default 40; in memory every fifth is measured)
  processes   processes of the last row (default 2)

Real masks are taken from golden/vos below FEWSHOT_SHARED (default ../shared); without them synthetic masks.
"""
DEFAULTS = {"frames": 40, "processes": 2}
IN_MEMORY_STEP = 5  # the straightforward evaluators are slow
SIZE = (480, 854)
Pairs = dict[str, tuple[NDArray[np.bool_], NDArray[np.bool_]]]


def dilation_j_and_f(pred: NDArray[np.bool_], gt: NDArray[np.bool_]) -> tuple[float, float]:
    """The definition written down: whole image, dilation of the boundary maps with a disk."""
    radius = boundary_radius(gt.shape, DAVIS_TOLERANCE)
    rows, columns = np.mgrid[-radius : radius + 1, -radius : radius + 1]
    disk = rows**2 + columns**2 <= radius**2
    return _plain_j_and_f(pred, gt, lambda edge: ndimage.binary_dilation(edge, disk))


def distance_j_and_f(pred: NDArray[np.bool_], gt: NDArray[np.bool_]) -> tuple[float, float]:
    """The same by an exact distance transform of the whole image, compared as squared integers."""
    radius = boundary_radius(gt.shape, DAVIS_TOLERANCE)

    def near(edge: NDArray[np.bool_]) -> NDArray[np.bool_]:
        return np.rint(ndimage.distance_transform_edt(~edge) ** 2) <= radius**2

    return _plain_j_and_f(pred, gt, near)


def _plain_j_and_f(
    pred: NDArray[np.bool_], gt: NDArray[np.bool_], near: Callable[[NDArray[np.bool_]], NDArray[np.bool_]]
) -> tuple[float, float]:
    union = np.count_nonzero(pred | gt)
    j = np.count_nonzero(pred & gt) / union if union else 1.0
    p, g = boundary_map(pred), boundary_map(gt)
    if not p.any() or not g.any():
        return j, float(p.any() == g.any())
    precision, recall = np.mean(near(g)[p]), np.mean(near(p)[g])
    return j, float(2 * precision * recall / (precision + recall)) if precision + recall else 0.0


def real_masks(frames: int) -> Pairs:
    """Masks of real sequences and a real method, `{sequence: (result, truth)}`; empty if the data are not there."""
    folder = Path(os.environ.get("FEWSHOT_SHARED", "../shared")) / "golden" / "vos"
    found: Pairs = {}
    for path in sorted(folder.glob("davis16_osvos__*.npz")):
        with np.load(path) as arrays:
            keep = np.linspace(0, len(arrays["gt"]) - 1, frames).round().astype(int)
            found[path.stem.split("__")[1]] = (arrays["pred"][keep] == 1, arrays["gt"][keep] == 1)
    return found


def synthetic_masks(frames: int) -> Pairs:
    """Wobbly blobs that move, and the same blobs a little off."""
    pairs: Pairs = {}
    for sequence in range(4):
        rng = np.random.default_rng(sequence)
        phases, start = rng.uniform(0, 2 * math.pi, 5), rng.uniform(0.3, 0.7, 2) * SIZE
        truth = np.stack([_blob(start + (0, 3 * t), 60 + 20 * sequence, phases + 0.1 * t) for t in range(frames)])
        shift = rng.integers(1, 9, 2)
        pairs[f"blob{sequence}"] = (np.roll(truth, tuple(shift), (1, 2)), truth)
    return pairs


def _blob(centre: NDArray[np.float64], size: float, phases: NDArray[np.float64]) -> NDArray[np.bool_]:
    rows, columns = np.ogrid[: SIZE[0], : SIZE[1]]
    angle = np.arctan2(rows - centre[0], columns - centre[1])
    edge = 1 + sum(0.1 * np.sin((k + 2) * angle + phase) for k, phase in enumerate(phases))
    return np.hypot(rows - centre[0], columns - centre[1]) < size * edge


def milliseconds(work: Callable[[], object], clock: Callable[[], float] = time.process_time) -> float:
    """Time of one call, in ms."""
    start = clock()
    work()
    return 1000 * (clock() - start)


def in_memory(pairs: Pairs) -> list[list[str]]:
    """CPU time per frame of one object, median over all frames, and the ratio to ours."""
    frames = [(p, g) for pred, gt in pairs.values() for p, g in zip(pred, gt, strict=True)][::IN_MEMORY_STEP]
    methods = {
        "ours": j_and_f,
        "whole image, distance transform": distance_j_and_f,
        "whole image, disk dilation": dilation_j_and_f,
    }
    for p, g in frames[:3]:  # also a warm-up
        assert all(np.allclose(j_and_f(p, g), method(p, g), rtol=0, atol=1e-12) for method in methods.values())
    medians = {
        name: statistics.median(milliseconds(partial(method, p, g)) for p, g in frames)
        for name, method in methods.items()
    }
    return [[name, f"{value:.2f}", f"{value / medians['ours']:.1f}"] for name, value in medians.items()]


def from_files(pairs: Pairs, processes: int) -> list[list[str]]:
    """Time per frame of decoding truth and result, and of the whole evaluation, from palette PNGs."""
    frames = sum(len(gt) for _, gt in pairs.values())
    with tempfile.TemporaryDirectory() as folder:
        results, truth = Path(folder) / "results", Path(folder) / "truth"
        files = _write(pairs, results, truth)
        folders = Folders(results, truth, task="unsupervised")
        decode = min(milliseconds(lambda: [read_labels(path) for path in files]) for _ in range(3)) / frames
        whole = min(milliseconds(lambda: evaluate(folders)) for _ in range(3)) / frames
        rows = [["decoding alone (CPU)", f"{decode:.2f}", "1.0"]]
        rows.append(["evaluation from files (CPU)", f"{whole:.2f}", f"{whole / decode:.2f}"])
        clock = time.perf_counter
        for number in (1, processes):
            wall = milliseconds(partial(evaluate, folders, processes=number), clock) / frames
            name = "1 process" if number == 1 else f"{number} processes, start included"
            rows.append([f"evaluation, {name} (wall)", f"{wall:.2f}", f"{wall / decode:.2f}"])
    return rows


def _write(pairs: Pairs, results: Path, truth: Path) -> list[Path]:
    """Write all masks; the paths of truth and results."""
    files = []
    for name, (pred, gt) in pairs.items():
        for root, masks in ((results, pred), (truth, gt)):
            for number, mask in enumerate(masks):
                files.append(root / name / f"{number:05d}.png")
                write_labels(files[-1], mask)
    return files


def main(argv: Sequence[str]) -> None:
    """The command line."""
    frames, processes = options(argv, DEFAULTS, USAGE)
    pairs = real_masks(frames) or synthetic_masks(frames)
    size = "x".join(str(side) for side in next(iter(pairs.values()))[0].shape[1:])
    print(f"{len(pairs)} sequences ({', '.join(pairs)}), {frames} frames each, {size}, one object\n")
    print(text_table(["in memory", "ms CPU per frame (median)", "ratio"], in_memory(pairs)), end="\n\n")
    print(text_table(["from palette PNGs", "ms per frame", "of decoding"], from_files(pairs, processes)))


if __name__ == "__main__":
    main(sys.argv[1:])

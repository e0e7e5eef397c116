"""Timings of the full-size UniVS beside CMA's: `python -m experiments.speed.univs`

Forward pass (evaluation mode: 200 learnable queries with their classes, and two objects that are shown by their masks)
and training step (forward, losses of all ten heads, backward) of UniVS, and those of CMA with RoBERTa, both with
ResNet-50 at random weights.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import torch
from torch import Tensor

from benchmarks.tables import text_table
from experiments.speed.cma import clips, median_seconds
from experiments.speed.options import options
from experiments.speed.sgmg import CMA_CLIP, cma, forward_seconds, step_seconds
from fewshot.cli.memory import keep_freed_memory
from fewshot.nn.backbones import ResNet
from fewshot.systems.univs import prompts
from fewshot.systems.univs.decoder import Found
from fewshot.systems.univs.draws import Draws
from fewshot.systems.univs.lessons import LessonRules
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.school import Lesson, School
from fewshot.systems.univs.targets import Targets, boxes_of
from fewshot.training.step import set_training_mode

USAGE = """
python -m experiments.speed.univs [key=value ...]

  threads     CPU threads (default 2)
  runs        measured runs after one warm-up; the median is shown (default 5)
"""
DEFAULTS = {"threads": 2, "runs": 5}
FORWARD_CLIP, STEP_CLIP = (3, 160, 224), (2, 128, 160)  # frames, height, width
CLASSES, OBJECTS = 40, 2  # of YouTube-VIS 2021; in a clip


def univs() -> UniVS:
    """UniVS with a frozen ResNet-50, as it is trained on videos."""
    return UniVS(ResNet(50), None, freeze_backbone=True)


def frames_of(clip: tuple[int, int, int]) -> Tensor:
    """Noise `(T, 3, H, W)`."""
    frames, height, width = clip
    return torch.randn(frames, 3, height, width, generator=torch.Generator().manual_seed(1))


def masks_of(clip: tuple[int, int, int]) -> Tensor:
    """Rectangles, one beside the other: `(OBJECTS, T, H, W)` bool."""
    frames, height, width = clip
    masks = torch.zeros(OBJECTS, frames, height, width, dtype=torch.bool)
    for n, mask in enumerate(masks):
        mask[:, height // 4 : height // 2, n * width // 2 : (n + 1) * width // 2 - 8] = True
    return masks


def concepts() -> Tensor:
    """Embeddings of the classes, noise `(CLASSES, 640)`."""
    return torch.randn(CLASSES, 640, generator=torch.Generator().manual_seed(2))


def answer(model: UniVS, frames: Tensor, shown: Tensor) -> list[Found]:
    """Everything that is found in a clip `(T, 3, H, W)`: classes, and objects `(P, H, W)` of its first frame."""
    scenes = model.scenes(model.encode_frames(frames), torch.arange(len(frames))[None])
    looks = model.show(scenes, 0, shown, Draws.seeded(0))
    tokens, positions = (x[None, :, None] for x in (looks.tokens, looks.positions))
    asked = prompts.visual(tokens, positions, tokens, positions, model.task("sot"))
    return model.segment(scenes, prompts.for_frames(asked, len(frames)), concepts=concepts())


def forward_of_univs(model: UniVS, runs: int) -> float:
    """Median seconds of a forward pass."""
    frames, shown = frames_of(FORWARD_CLIP), masks_of(FORWARD_CLIP)[:, 0].float()
    model.eval()
    with torch.inference_mode():
        return median_seconds(lambda: answer(model, frames, shown), runs)


def step_of_univs(model: UniVS, runs: int) -> float:
    """Median seconds of a training step without the optimiser, asked by masks, boxes and points."""
    frames, masks = frames_of(STEP_CLIP), masks_of(STEP_CLIP)
    ids = torch.arange(OBJECTS)[:, None].expand(-1, len(frames))
    targets = Targets(torch.arange(OBJECTS), ids, masks, boxes_of(masks))
    school = School(LessonRules(visual_share=1.0))

    def step() -> None:
        model.zero_grad(set_to_none=True)
        moments = torch.arange(len(frames))[None]
        lesson = Lesson(model.encode_frames(frames), moments, [targets], concepts())
        school.losses(model, lesson, Draws.seeded(0)).total.backward()

    set_training_mode(model)
    return median_seconds(step, runs)


def rows(runs: int) -> list[list[str]]:
    """Seconds of both systems, forward and step, and UniVS' as parts of CMA's."""
    query, support = (clips(*CMA_CLIP, seed=seed) for seed in (1, 2))
    name = "{} frames of {}x{}".format
    of_cma, of_univs, table = cma(), univs(), []
    for what, base, own, clip in (
        ("forward", forward_seconds, forward_of_univs, FORWARD_CLIP),
        ("step", step_seconds, step_of_univs, STEP_CLIP),
    ):
        standard, seconds = base(of_cma, query, support, runs), own(of_univs, runs)
        table.append([f"{what}: CMA, {CMA_CLIP[0]}+{name(*CMA_CLIP)}", f"{standard:.2f}", "1"])
        table.append([f"{what}: UniVS, {name(*clip)}", f"{seconds:.2f}", f"{seconds / standard:.2f}"])
    return table


def main(argv: Sequence[str]) -> None:
    """Measure and print a table."""
    threads, runs = options(argv, DEFAULTS, USAGE)
    torch.set_num_threads(threads)
    keep_freed_memory()  # as every command does
    torch.manual_seed(0)
    print(text_table([f"median, threads={threads}", "seconds", "ratio"], rows(runs)))


if __name__ == "__main__":
    main(sys.argv[1:])

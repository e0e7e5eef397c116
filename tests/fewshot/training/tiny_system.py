"""A system and episodes small enough to train in milliseconds, and a program that trains them (for kill -9)."""

from __future__ import annotations

import argparse
import json
import logging
import os
import signal
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from episodes.batch import ClipBatch
from episodes.clip import Clip, Objects
from episodes.episode import ClipSpec, Episode, EpisodeSpec
from episodes.seeding import generator
from episodes.sources.files import read_image
from fewshot.adaptation.build import adapting
from fewshot.config.sections import AdaptationConfig
from fewshot.nn.outputs import Losses, Prediction
from fewshot.run.processes import distributed
from fewshot.run.signals import CAUGHT
from fewshot.systems.base import ReferenceState, System
from fewshot.training.loop import Trainer, TrainSettings, Validate

SIZE = 8


@dataclass(frozen=True)
class TinyState:
    mean: Tensor  # (B, C)

    def repeat(self, expressions: int) -> TinyState:
        return TinyState(self.mean.repeat_interleave(expressions, 0))


class TinySystem(System):
    """Dropout, a frozen part with dropout, a part that nobody uses, and one that may be left out of the optimiser."""

    name = "tiny"

    def __init__(self, dropout: float = 0.3, width: int = 4, train_affinity: bool = True) -> None:
        super().__init__()
        self.train_affinity = train_affinity
        with torch.random.fork_rng():
            torch.manual_seed(0)
            self.frozen = nn.Sequential(nn.Conv2d(3, width, 1), nn.Dropout(0.5)).requires_grad_(False)
            self.features = nn.Conv2d(width, width, 3, padding=1)
            self.affinity = nn.Conv2d(width, width, 1)
            self.head = nn.Conv2d(width, 1, 1)
            self.unused = nn.Linear(2, 2)
        self.dropout = nn.Dropout(dropout)

    def _features(self, frames: Tensor) -> Tensor:
        maps = self.features(self.frozen(frames.flatten(0, 1))).tanh()
        return self.affinity(self.dropout(maps)).unflatten(0, frames.shape[:2])

    def encode_supports(self, supports: ClipBatch, shots: int) -> TinyState:
        mean = self._features(supports.frames).mean((1, 3, 4))
        return TinyState(mean.unflatten(0, (-1, shots)).mean(1))

    def forward(self, queries: ClipBatch, state: ReferenceState) -> Prediction:
        state.check(len(queries))
        maps = self._features(queries.frames) * state.supports.mean[:, None, :, None, None]
        masks = self.head(maps.flatten(0, 1)).unflatten(0, maps.shape[:2])
        return Prediction(masks=masks, stride=1)

    def losses(self, prediction: Prediction, queries: ClipBatch, num_frames: float | None = None) -> Losses:
        target = torch.stack([m.float() for m in queries.masks])
        each = F.binary_cross_entropy_with_logits(prediction.masks[:, :, 0], target, reduction="none").mean((2, 3))
        num_frames = num_frames or float(queries.valid.sum())
        loss = (each * queries.valid).sum() / num_frames
        size = prediction.masks.abs().mean((2, 3, 4)).sum() / num_frames
        return Losses(total=2 * loss, terms={"mask": loss, "size": size})

    def warmup_losses(
        self, supports: ClipBatch, queries: ClipBatch, shots: int, num_frames: float, words: object = None
    ) -> Losses:
        loss = self.features(self.frozen(queries.frames.flatten(0, 1))).square().mean((1, 2, 3)).sum() / num_frames
        return Losses(total=loss, terms={"proto": loss})

    def parameter_groups(self, lr: float) -> list[dict[str, Any]]:
        out = {"head"} if self.train_affinity else {"head", "affinity"}
        named = [(n, p) for n, p in self.named_parameters() if p.requires_grad]
        rest = [p for n, p in named if n.split(".")[0] not in out]
        return [
            {"params": rest, "lr": lr, "name": "all"},
            {"params": list(self.head.parameters()), "lr": lr / 2, "name": "head"},
            {"params": [], "lr": lr, "name": "empty"},
        ]

    def kept_gradients(self) -> dict[str, nn.Parameter]:
        named = () if self.train_affinity else self.affinity.named_parameters()
        return {f"affinity.{name}": parameter for name, parameter in named}


class TinyEpisodes:
    """Random clips; the object is the brighter half. Episode `poison` is not a number, `broken` cannot be read;
    `stop_at` kills the process."""

    def __init__(
        self,
        poison: int = -1,
        stop_at: int = -1,
        by: int = signal.SIGKILL,
        valid: bool = True,
        broken: int = -1,
    ) -> None:
        self.poison, self.stop_at, self.by, self.valid, self.broken = poison, stop_at, by, valid, broken

    def __getitem__(self, index: int) -> Episode:
        if index == self.broken:
            read_image(Path("broken.jpg"))
        if index == self.stop_at:
            os.kill(os.getpid(), self.by)
        draw = generator("tiny", index)
        spec = EpisodeSpec(
            benchmark="tiny",
            group=1,
            split="train",
            seed=0,
            index=index,
            class_id=3,
            class_name="dax",
            supports=(ClipSpec(f"support{index}", 1, ("0", "1")),),
            queries=(ClipSpec(f"query{index}", 1, ("0", "1"), "a dax"), ClipSpec(f"query{index}", 2, ("0", "1"), "b")),
        )
        supports = (self._clip(draw, "support", None, 1.0),)
        scale = float("nan") if index == self.poison else 1.0
        queries = tuple(self._clip(draw, "query", words, scale) for words in ("a dax", "b"))
        return Episode(spec, supports, queries)

    def _clip(self, draw: torch.Generator, video: str, words: str | None, scale: float) -> Clip:
        frames = torch.randn(2, 3, SIZE, SIZE, generator=draw)
        valid = torch.rand(2, generator=draw) < 0.7
        masks = (frames.mean(1) > 0) & valid[:, None, None]
        boxes = torch.tensor([0.0, 0, SIZE, SIZE]).expand(2, 4) * valid[:, None]
        seen = valid if self.valid else None
        return Clip(frames * scale, Objects.one(masks, boxes, seen), words, video, ("0", "1"), (SIZE, SIZE))


class Rows:
    """A log in memory, and in a file of JSON lines where one is given."""

    def __init__(self, path: Path | None = None) -> None:
        self.path, self.rows = path, []
        if path is not None and path.exists():
            self.rows = [(row.pop("step"), row) for row in map(json.loads, path.read_text().splitlines())]

    def log(self, row: dict[str, Any], step: int) -> None:
        self.rows.append((step, dict(row)))
        self._write()

    def rewind(self, step: int, validated: int) -> None:
        self.rows = [(s, row) for s, row in self.rows if s <= (validated if "val/score" in row else step)]
        self._write()

    def _write(self) -> None:
        if self.path is not None:
            self.path.write_text("".join(json.dumps({"step": s, **row}) + "\n" for s, row in self.rows))

    def losses(self) -> list[tuple[int, dict[str, float]]]:
        """The rows without what depends on the clock."""
        clock = ("train/steps_per_second", "train/memory_gib")
        return [(step, {k: v for k, v in row.items() if k not in clock}) for step, row in self.rows]


def tiny_settings(**changes: Any) -> TrainSettings:
    """Twelve steps with everything in them."""
    settings = {
        "steps": 12,
        "batch": 2,
        "accumulate": 2,
        "lr": 1e-2,
        "schedule": "onecycle",
        "warmup_fraction": 0.25,
        "clip_norm": 0.5,
        "checkpoint_every": 4,
        "val_every": 5,
        "log_every": 1,
        "pad_multiple": 1,
        "prototype_steps": 3,
        "prototype_weight": 0.1,
    }
    return TrainSettings(**{**settings, **changes})


def score(system: System, step: int) -> dict[str, float]:
    """A score of the weights alone."""
    system.eval()
    torch.rand(step)  # a validation that draws must not change the training
    return {"score": -float(sum(p.detach().square().sum() for p in system.parameters()))}


def stopped(system: System, step: int) -> dict[str, float]:
    """A validation in which SIGTERM strikes."""
    os.kill(os.getpid(), signal.SIGTERM)
    raise AssertionError("validation went on")


def train(
    folder: Path,
    dataset: TinyEpisodes | None = None,
    resume: bool = False,
    train_affinity: bool = True,
    validate: Validate = score,
    adaptation: Mapping[str, Any] | None = None,
    **changes: Any,
) -> System:
    """Trains a tiny system in `folder`, which may adapt to its supports, and returns it."""
    system = adapting(TinySystem(train_affinity=train_affinity), AdaptationConfig(**adaptation or {}))
    log = Rows(folder / "rows.jsonl")
    Trainer(system, dataset or TinyEpisodes(), tiny_settings(**changes), folder, log=log, validate=validate).run(resume)
    return system


HELD: list[BaseException] = []


def main() -> None:
    """Train in the folder of the first argument; the second holds keyword arguments as JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--episodes", type=json.loads, default={})
    parser.add_argument("--settings", type=json.loads, default={})
    parser.add_argument("--resume", action="store_true")
    parser.add_argument("--ignored", type=json.loads, default=[], help="signals that the parent ignores")
    parser.add_argument("--stop-in-validation", action="store_true", help="SIGTERM strikes while it validates")
    options = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    for signum in CAUGHT:  # whatever the parent of the tests does with them
        signal.signal(signum, signal.SIG_IGN if signum in options.ignored else signal.default_int_handler)
    torch.set_num_threads(1)
    options.folder.mkdir(parents=True, exist_ok=True)
    with distributed():
        validate = stopped if options.stop_in_validation else score
        try:
            train(
                options.folder, TinyEpisodes(**options.episodes), options.resume, validate=validate, **options.settings
            )
        except SystemExit as error:
            HELD.append(error)  # as Hydra does: the frames that it went through live until the end
            raise


if __name__ == "__main__":
    main()

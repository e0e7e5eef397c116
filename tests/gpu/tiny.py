"""Systems, episodes and devices that the tests of this folder share.

Each test runs on a CUDA device, marked `gpu`, and in the same lines on the CPU, so that the tests themselves are
tested everywhere. Only torch, numpy, pytest and the models are imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import torch
from torch import Tensor

from episodes.batch import EpisodeBatch
from episodes.clip import Clip, Objects
from episodes.collation import collate
from episodes.episode import ClipSpec, Episode, EpisodeSpec
from episodes.seeding import generator
from fewshot.nn.outputs import Prediction
from fewshot.systems.base import System
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.prototype.config import PrototypeConfig
from fewshot.systems.registry import make_system
from fewshot.systems.uniref.config import UniRefConfig, UniRefSAMConfig

ON_CUDA = pytest.param(
    "cuda",
    marks=[pytest.mark.gpu, pytest.mark.skipif(not torch.cuda.is_available(), reason="torch finds no CUDA device")],
)
DEVICES = [ON_CUDA, "cpu"]
BACKBONE: dict[str, Any] = dict(backbone="tiny", backbone_width=8, freeze_backbone=False)
TEXT: dict[str, Any] = dict(text="small", text_dim=32, text_layers=1, freeze_text=False, dropout=0.0)
TRANSFORMER: dict[str, Any] = dict(
    hidden_dim=32, heads=4, encoder_layers=1, decoder_layers=2, feedforward_dim=48, num_queries=3
)
FUSION: dict[str, Any] = dict(fusion_head_dim=16, fusion_dropout=0.0, affinity_init="similarity")
CONFIGS = {
    "cma": CMAConfig(**BACKBONE, **TEXT, **TRANSFORMER),
    "prototype": PrototypeConfig(**BACKBONE),
    "uniref": UniRefConfig(**BACKBONE, **TEXT, **TRANSFORMER, **FUSION, value_encoder="tiny"),
    "uniref_sam": UniRefSAMConfig(**TEXT, **FUSION, heads=2, sam_size="tiny"),
}
SIZE = 64  # pixels


def tiny_system(name: str, device: str = "cpu", seed: int = 0) -> System:
    """A system of about a million parameters, the same for the same seed on every device."""
    return make_system(CONFIGS[name], seed).to(device)


class TinyEpisodes:
    """Episode i: one support and one query clip of two noise frames with a square as the object."""

    def __getitem__(self, index: int) -> Episode:
        draw = generator("gpu", index)
        spec = EpisodeSpec(
            benchmark="gpu",
            group=1,
            split="train",
            seed=0,
            index=index,
            class_id=1,
            class_name="dax",
            supports=(ClipSpec(f"support{index}", 1, ("0", "1")),),
            queries=(ClipSpec(f"query{index}", 1, ("0", "1"), "the big blue dax"),),
        )
        words = "the big blue dax"
        return Episode(spec, (_clip(draw, "support", words),), (_clip(draw, "query", words),))


def _clip(draw: torch.Generator, video: str, words: str) -> Clip:
    left, top = (int(n) for n in torch.randint(4, 28, (2,), generator=draw))
    masks = torch.zeros(2, SIZE, SIZE, dtype=torch.bool)
    masks[:, top : top + 32, left : left + 32] = True
    frames = torch.randn(2, 3, SIZE, SIZE, generator=draw) + 2.0 * masks[:, None]
    boxes = torch.tensor([left, top, left + 32, top + 32], dtype=torch.float32).expand(2, 4)
    objects = Objects.one(masks, boxes, torch.ones(2, dtype=torch.bool))
    return Clip(frames, objects, words, video, ("0", "1"), (SIZE, SIZE))


def tiny_batch(first: int = 0, count: int = 2) -> EpisodeBatch:
    """Episodes `first` to `first + count - 1`."""
    episodes = TinyEpisodes()
    return collate([episodes[first + n] for n in range(count)])


def predict(system: System, batch: EpisodeBatch) -> Prediction:
    """What a system makes of a batch with one query clip an episode, on the device of both."""
    return system(batch.queries, system.encode_reference(batch.references))


@contextmanager
def exact_float32() -> Iterator[None]:
    """No TF32 in products and convolutions."""
    places = (torch.backends.cuda.matmul, torch.backends.cudnn.conv)
    before = [place.fp32_precision for place in places]
    try:
        for place in places:
            place.fp32_precision = "ieee"
        yield
    finally:
        for place, precision in zip(places, before, strict=True):
            place.fp32_precision = precision


def error(found: Tensor, wanted: Tensor) -> float:
    """Largest difference relative to the largest value of `wanted`."""
    found, wanted = found.detach().cpu().double(), wanted.detach().cpu().double()
    assert found.shape == wanted.shape, f"shape {tuple(found.shape)}, expected {tuple(wanted.shape)}"
    assert found.isfinite().all() and wanted.isfinite().all()
    return float((found - wanted).abs().max() / wanted.abs().max().clamp(min=1e-30))

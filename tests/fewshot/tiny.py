"""A CMA small enough for unit tests, and clips for it."""

from __future__ import annotations

from typing import Any

import torch

from episodes.batch import ClipBatch, References
from fewshot.nn.backbones import TinyBackbone
from fewshot.nn.text import small_text_encoder
from fewshot.systems.base import System
from fewshot.systems.cma.model import CMA
from fewshot.systems.trunk import Sizes

SIZES = Sizes(
    hidden_dim=32, heads=4, encoder_layers=1, decoder_layers=2, feedforward_dim=48, num_queries=3, dropout=0.0
)


def tiny_cma(sizes: Sizes = SIZES, seed: int = 0, **options: Any) -> CMA:
    """A trainable CMA of about 0.2 M parameters, the same for the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        text = small_text_encoder(dim=32, layers=1, dropout=0.0, vocabulary=64)
        return CMA(TinyBackbone(8), text, sizes, **{"freeze_backbone": False, "freeze_text": False, **options})


def clips(count: int, frames: int = 2, height: int = 64, width: int = 64, seed: int = 0) -> ClipBatch:
    """Noise clips with a square object, fully described, without padding."""
    generator = torch.Generator().manual_seed(seed)
    masks = torch.zeros(count, frames, height, width, dtype=torch.bool)
    for n in range(count):
        masks[n, :, 8 + n : 40 + n, 16 : 48 + n] = True
    corners = [(16 + n, 8 + n, min(48 + n, width), 40 + n) for n in range(count)]
    boxes = torch.tensor([[(x0 + x1) / 2, (y0 + y1) / 2, x1 - x0, y1 - y0] for x0, y0, x1, y1 in corners])
    boxes = boxes / torch.tensor([width, height, width, height])
    return ClipBatch(
        frames=torch.randn(count, frames, 3, height, width, generator=generator) + 2.0 * masks[:, :, None],
        padding=torch.zeros(count, height, width, dtype=torch.bool),
        sizes=torch.tensor([[height, width]] * count),
        expressions=tuple(f"the {'red' if n % 2 else 'big blue'} dax" for n in range(count)),
        masks=tuple(masks),
        boxes=boxes[:, None].expand(-1, frames, -1).contiguous(),
        valid=torch.ones(count, frames, dtype=torch.bool),
    )


def predicted(system: System, queries: ClipBatch, supports: ClipBatch | None = None, shots: int = 1) -> Any:
    """The prediction for query clips by their own expressions and by supports of `shots` clips an episode."""
    references = References(supports, 0 if supports is None else shots, queries.expressions)
    return system(queries, system.encode_reference(references))

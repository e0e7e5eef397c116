"""Sizes of UniVS, and what its training sees of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from torch import Tensor

from episodes.batch import ClipBatch
from fewshot.systems.univs.decoder import Found, Prompts, Scenes
from fewshot.systems.univs.episodes import UniVSWords


@dataclass(frozen=True)
class Sizes:
    """Numbers of the network; the defaults are those of the released models."""

    hidden_dim: int = 256
    heads: int = 8
    encoder_layers: int = 6
    pixel_feedforward_dim: int = 1024
    decoder_layers: int = 9
    feedforward_dim: int = 2048
    num_queries: int = 200
    text_dim: int = 640
    dense_points: int = 32


RELEASED = Sizes()


class Network(Protocol):
    """The network, as its training uses it: see `fewshot.systems.univs.model.UniVS`."""

    sizes: Sizes

    def frame_features(self, clips: ClipBatch) -> tuple[Tensor, ...]:
        """Features of the frames."""

    def scenes(self, features: Sequence[Tensor], frames: Tensor) -> Scenes:
        """Features as the decoder sees them."""

    def segment(self, scenes: Scenes, asked: Prompts | None, **options: Any) -> list[Found]:
        """Answers of all queries before the first round of the decoder and after each."""

    def task(self, name: str) -> Tensor:
        """Embedding of a task."""

    def embed_classes(self, names: Sequence[str], data: str | None = None) -> Tensor:
        """Embeddings of classes."""

    def encode_text(self, expressions: Sequence[str | None]) -> UniVSWords | None:
        """Words of expressions."""

    def name_classes(self, scenes: Scenes, concepts: Tensor) -> Prompts:
        """Classes as prompts."""

    def describe(self, scenes: Scenes, words: Tensor, sentences: Tensor) -> Prompts:
        """Expressions as prompts."""

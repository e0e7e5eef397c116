"""ReferFormer from its settings."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fewshot.nn.text import TextEncoder
from fewshot.systems.parts import build_text_encoder, text_encoder_without_files
from fewshot.systems.referformer.config import ReferFormerConfig
from fewshot.systems.referformer.model import ReferFormer
from fewshot.systems.trunk_build import trunk_arguments
from fewshot.systems.trunk_checkpoint import REFERFORMER, check_whose, sizes_of

SENTENCE = {"pooled": "state", "mean": "mean"}


def build(config: ReferFormerConfig) -> ReferFormer:
    """A ReferFormer of the configured sizes with its text encoder."""
    return build_around(config, build_text_encoder(config))


def build_around(config: ReferFormerConfig, text: TextEncoder | None) -> ReferFormer:
    """A ReferFormer of the configured sizes around a text encoder.

    Raises:
        ValueError: there is no text encoder.
    """
    arguments = trunk_arguments(config, text)
    return ReferFormer(**arguments, sentence=SENTENCE[config.sentence])


def fit(tensors: Mapping[str, Tensor], variant: str | None) -> tuple[ReferFormerConfig, ReferFormer]:
    """The settings that the tensors of an official checkpoint imply, and an empty ReferFormer of these sizes.

    Raises:
        ValueError: they are not those of a ReferFormer, or a variant is named.
    """
    check_whose(tensors, REFERFORMER, variant)
    config = ReferFormerConfig(**sizes_of(tensors))
    return config, build_around(config, text_encoder_without_files(config))

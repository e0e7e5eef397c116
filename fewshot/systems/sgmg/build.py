"""SgMg from its settings."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fewshot.nn.text import TextEncoder
from fewshot.systems.parts import build_text_encoder, text_encoder_without_files
from fewshot.systems.sgmg.config import SgMgConfig
from fewshot.systems.sgmg.model import SgMg
from fewshot.systems.trunk_build import trunk_arguments
from fewshot.systems.trunk_checkpoint import SGMG, check_whose, sizes_of

SENTENCE = {"pooled": "apart", "mean": "mean"}


def build(config: SgMgConfig) -> SgMg:
    """An SgMg of the configured sizes with its text encoder."""
    return build_around(config, build_text_encoder(config))


def build_around(config: SgMgConfig, text: TextEncoder | None) -> SgMg:
    """An SgMg of the configured sizes around a text encoder.

    Raises:
        ValueError: there is no text encoder.
    """
    return SgMg(
        **trunk_arguments(config, text),
        sentence=SENTENCE[config.sentence],
        refine=config.refine,
        gate_padding=config.gate_padding,
        fast=config.fast,
    )


def fit(tensors: Mapping[str, Tensor], variant: str | None) -> tuple[SgMgConfig, SgMg]:
    """The settings that the tensors of an official checkpoint imply, and an empty SgMg of these sizes.

    Raises:
        ValueError: they are not those of an SgMg, or a variant is named.
    """
    check_whose(tensors, SGMG, variant)
    config = SgMgConfig(**sizes_of(tensors))
    return config, build_around(config, text_encoder_without_files(config))

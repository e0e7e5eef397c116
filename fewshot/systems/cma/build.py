"""CMA from its settings."""

from __future__ import annotations

from collections.abc import Mapping

from torch import Tensor

from fewshot.nn.text import TextEncoder
from fewshot.systems.cma.checkpoint import sizes_of
from fewshot.systems.cma.config import CMAConfig
from fewshot.systems.cma.model import CMA
from fewshot.systems.parts import build_backbone, build_text_encoder, text_encoder_without_files
from fewshot.systems.trunk import Sizes


def build(config: CMAConfig) -> CMA:
    """A CMA of the configured sizes with its text encoder."""
    return build_around(config, build_text_encoder(config))


def build_around(config: CMAConfig, text: TextEncoder | None) -> CMA:
    """A CMA of the configured sizes around a text encoder.

    Raises:
        ValueError: there is no text encoder.
    """
    if text is None:
        raise ValueError("system.text=none: CMA cannot do without expressions; choose roberta or small")
    sizes = Sizes(**config.widths(), dropout=config.dropout)
    return CMA(
        build_backbone(config),
        text,
        sizes,
        variant=config.variant,
        support_frames=config.support_frames,
        affinity_init=config.affinity_init,
        clean_anchors=config.clean_anchors,
        train_affinity=config.train_affinity,
        freeze_backbone=config.freeze_backbone,
        freeze_text=config.freeze_text,
        text_dropout=config.text_dropout,
        # pretrained parts learn more slowly; parts that start from scratch do not
        backbone_lr=1.0 if config.backbone == "tiny" else 0.5,
        text_lr=1.0 if config.text == "small" else 0.1,
        checkpointing=config.activation_checkpointing,
    )


def fit(tensors: Mapping[str, Tensor], variant: str | None) -> tuple[CMAConfig, CMA]:
    """The settings that the tensors of an official checkpoint imply, and an empty CMA of these sizes.

    Raises:
        ValueError: they are not those of a CMA, or do not say which variant.
    """
    config = CMAConfig(**sizes_of(tensors, variant))
    return config, build_around(config, text_encoder_without_files(config))

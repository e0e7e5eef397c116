"""UniVS from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from torch import Tensor

from fewshot.systems.parts import build_backbone
from fewshot.systems.univs.checkpoint import STUDENT, sizes_of
from fewshot.systems.univs.config import UniVSConfig
from fewshot.systems.univs.model import Sizes, UniVS
from fewshot.systems.univs.text_tower import SmallTextTower


def build(config: UniVSConfig) -> UniVS:
    """A UniVS of the configured sizes with its text tower, if it has one."""
    text = SmallTextTower(config.text_dim, config.text_layers, dropout=0.0) if config.text == "small" else None
    return UniVS(
        build_backbone(config),
        text,
        Sizes(**{entry.name: getattr(config, entry.name) for entry in fields(Sizes)}),
        separation=config.separation,
        text_to_image=config.text_to_image,
        freeze_backbone=config.freeze_backbone,
        freeze_text=config.freeze_text,
        # a pretrained backbone learns more slowly; one that starts from scratch does not
        backbone_lr=1.0 if config.backbone == "tiny" else 0.1,
        weights_of=config.weights_of,
    )


def fit(tensors: Mapping[str, Tensor], variant: str | None) -> tuple[UniVSConfig, UniVS]:
    """The settings that the tensors of an official checkpoint imply, and an empty UniVS of these sizes.

    Args:
        variant: `student`, the default, or `teacher`.

    Raises:
        ValueError: they are not those of a UniVS, or another variant is named.
    """
    config = UniVSConfig(**sizes_of(tensors), weights_of=variant or STUDENT)
    return config, build(config)

"""UniVS from its settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields

from torch import Tensor

from fewshot.systems.parts import build_backbone
from fewshot.systems.univs.checkpoint import STUDENT, sizes_of
from fewshot.systems.univs.clip_files import read_tower
from fewshot.systems.univs.concepts import read_concepts
from fewshot.systems.univs.config import UniVSConfig
from fewshot.systems.univs.criterion import Criterion
from fewshot.systems.univs.lessons import LessonRules
from fewshot.systems.univs.model import UniVS
from fewshot.systems.univs.network import Sizes
from fewshot.systems.univs.points import PointSampling
from fewshot.systems.univs.school import School
from fewshot.systems.univs.text_tower import SmallTextTower, TextTower


def build(config: UniVSConfig) -> UniVS:
    """A UniVS of the configured sizes with its text tower, if it has one."""
    text, concepts = build_text(config), None if config.concepts is None else read_concepts(config.concepts)
    if text is not None:
        check_width(text.dim, config.text_dim, f"system.text={config.text}")
    if concepts is not None:
        check_width(concepts.embeddings.shape[1], config.text_dim, concepts.source)
    return UniVS(
        build_backbone(config),
        text,
        Sizes(**{entry.name: getattr(config, entry.name) for entry in fields(Sizes)}),
        separation=config.separation,
        object_queries=config.object_queries,
        text_to_image=config.text_to_image,
        freeze_backbone=config.freeze_backbone,
        freeze_text=config.freeze_text,
        # a pretrained backbone learns more slowly; one that starts from scratch does not
        backbone_lr=1.0 if config.backbone == "tiny" else 0.1,
        weights_of=config.weights_of,
        concepts=concepts,
        prior=config.prior,
        start=config.start,
        mask_stride=config.mask_stride,
        background=config.background,
        school=school_of(config),
        decay_norms=config.decay_norms,
    )


def school_of(config: UniVSConfig) -> School:
    """How it learns from clips with all of their objects."""
    rules = LessonRules(config.visual_share, config.most_prompts, config.shuffled_looks, config.permute_frames)
    return School(
        rules,
        Criterion(PointSampling(config.mask_points), config.likeness_weight, config.count_absent),
        config.clip_frames,
    )


def build_text(config: UniVSConfig) -> TextTower | None:
    """The text tower, with the weights of its files; None without, and for one whose folder is not named.

    Raises:
        FileNotFoundError, CheckpointError: as of `read_tower`.
    """
    if config.text == "small":
        return SmallTextTower(config.text_dim, config.text_layers, dropout=0.0)
    if config.text == "clip" and config.text_weights is not None:
        return read_tower(config.text_weights)
    return None


def check_width(found: int, width: int, source: str) -> None:
    """Refuse texts of another width than the model's.

    Raises:
        ValueError: naming both.
    """
    if found != width:
        raise ValueError(f"{source} has features of width {found}, the model expects system.text_dim={width}")


def fit(tensors: Mapping[str, Tensor], variant: str | None) -> tuple[UniVSConfig, UniVS]:
    """The settings that the tensors of an official checkpoint imply, and an empty UniVS of these sizes.

    Args:
        variant: `student`, the default, or `teacher`.

    Raises:
        ValueError: they are not those of a UniVS, or another variant is named.
    """
    config = UniVSConfig(**sizes_of(tensors), text="clip", weights_of=variant or STUDENT)
    return config, build(config)

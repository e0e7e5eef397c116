"""The arguments of a system of the ReferFormer family, from its settings."""

from __future__ import annotations

from typing import Any

from fewshot.nn.text import TextEncoder
from fewshot.systems.config import TrunkConfig
from fewshot.systems.parts import build_backbone
from fewshot.systems.trunk import Relation, Sizes


def trunk_arguments(config: TrunkConfig, text: TextEncoder | None) -> dict[str, Any]:
    """Arguments of `Trunk`, around a text encoder.

    Raises:
        ValueError: there is no text encoder.
    """
    if text is None:
        raise ValueError(
            f"system.text=none: {config.name} cannot do without expressions; choose roberta, bert or small"
        )
    related = config.affinity != "none"
    learns = "stem" if config.backbone.startswith("resnet") else "none"
    return {
        "backbone": build_backbone(config),
        "text": text,
        "sizes": Sizes(**config.widths(), dropout=config.dropout),
        "relation": Relation(config.affinity, config.support_frames, config.affinity_init) if related else None,
        "pad_multiple": config.pad_multiple,
        "clean_positions": config.clean_positions,
        "freeze_backbone": "all" if config.freeze_backbone else learns,
        "freeze_text": config.freeze_text,
        "train_pooler": config.train_pooler,
        "text_dropout": config.text_dropout,
        "fresh_scores": config.fresh_scores,
        # pretrained parts learn more slowly; parts that start from scratch do not
        "backbone_lr": 1.0 if config.backbone == "tiny" else 0.5,
        "text_lr": 1.0 if config.text == "small" else 0.1,
        "checkpointing": config.activation_checkpointing,
        "word_positions": config.word_positions,
        "box_weight": config.box_weight,
        "absent_boxes": config.absent_boxes,
        "masks_per_clip": config.masks_per_clip,
        "pass_features": config.fusion_init == "pass",
    }

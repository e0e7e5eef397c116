"""UniRef++ and its plug-in for Segment Anything from their settings."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from torch import Tensor, nn

from episodes.transforms.input_rule import InputRule
from fewshot.nn.sam import SAM
from fewshot.nn.text import TextEncoder
from fewshot.nn.value_encoder import Stride16ValueEncoder, TinyValueEncoder, ValueEncoder
from fewshot.systems.parts import build_backbone, build_text_encoder, text_encoder_without_files
from fewshot.systems.uniref.checkpoint import sizes_of
from fewshot.systems.uniref.config import UniRefConfig, UniRefSAMConfig
from fewshot.systems.uniref.model import Sizes, UniRef
from fewshot.systems.uniref.sam import UniRefSAM, predicted_iou


def build(config: UniRefConfig) -> UniRef:
    """A UniRef++ of the configured sizes with its text encoder, if it has one."""
    return build_around(config, build_text_encoder(config))


def build_around(config: UniRefConfig, text: TextEncoder | None) -> UniRef:
    """A UniRef++ of the configured sizes around a text encoder, or without one."""
    sizes = Sizes(
        **config.widths(),
        dropout=config.dropout,
        fusion_heads=config.heads,
        fusion_head_dim=config.fusion_head_dim,
        fusion_dropout=config.fusion_dropout,
        num_classes=config.num_classes,
    )
    learns = "stem" if config.backbone.startswith(("resnet", "swin")) else "none"
    return UniRef(
        build_backbone(config),
        text,
        build_value_encoder(config),
        sizes,
        freeze_backbone="all" if config.freeze_backbone else learns,
        freeze_text=config.freeze_text,
        text_dropout=config.text_dropout,
        bf16_attention=config.bf16_attention,
        fusion_init="similarity" if config.affinity_init == "similarity" else "zero",
        mask_stride=config.mask_stride,
        word_stride=config.word_stride,
        word_positions=config.word_positions,
        mask_aux=config.mask_aux,
        empty_masks=config.empty_masks,
        box_weight=config.box_weight,
        box_supervision=config.box_supervision,
        exchange_red_and_blue=config.exchange_red_and_blue,
        # pretrained parts learn more slowly; parts that start from scratch do not
        backbone_lr=1.0 if config.backbone == "tiny" else 0.1,
        text_lr_absolute=None if config.text == "small" else 1e-5,
        checkpointing=config.activation_checkpointing,
    )


def build_value_encoder(config: UniRefConfig) -> nn.Module | None:
    """Encoder of the masked references of UniRef++; None: it takes none."""
    builders: dict[str, Callable[[], nn.Module | None]] = {
        "resnet18": lambda: ValueEncoder(config.hidden_dim),
        "tiny": lambda: TinyValueEncoder(config.hidden_dim),
        "none": lambda: None,
    }
    if config.value_encoder not in builders:
        raise ValueError(f"unknown value encoder {config.value_encoder!r}: choose one of {', '.join(builders)}")
    return builders[config.value_encoder]()


def fit(tensors: Mapping[str, Tensor], variant: str | None) -> tuple[UniRefConfig, UniRef]:
    """The settings that the tensors of an official checkpoint imply, and an empty UniRef++ of these sizes.

    Raises:
        ValueError: they are not those of a UniRef++, or a variant is named.
    """
    if variant is not None:
        raise ValueError(f"variant={variant}: UniRef++ has none; leave it out")
    config = UniRefConfig(dropout=0.0, **sizes_of(tensors))
    return config, build_around(config, text_encoder_without_files(config))


def video(task: Any) -> dict[str, Any]:
    """Nothing beside what every tracker knows."""
    return {}


def build_with_sam(config: UniRefSAMConfig) -> UniRefSAM:
    """UniRef++ as a plug-in of a Segment Anything of the configured size, with random weights."""
    return build_around_sam(config, build_text_encoder(config))


def build_around_sam(config: UniRefSAMConfig, text: TextEncoder | None) -> UniRefSAM:
    """The plug-in around a text encoder, or without one."""
    sam = SAM(config.sam_size)
    return UniRefSAM(
        sam,
        text,
        None if config.value_encoder == "none" else Stride16ValueEncoder(sam.dim),
        heads=config.heads,
        fusion_head_dim=config.fusion_head_dim,
        fusion_dropout=config.fusion_dropout,
        freeze_text=config.freeze_text,
        text_dropout=config.text_dropout,
        bf16_attention=config.bf16_attention,
        fusion_init="similarity" if config.affinity_init == "similarity" else "zero",
        text_lr_absolute=None if config.text == "small" else 1e-5,
    )


def rule_of_sam(system: UniRefSAM) -> InputRule:
    """The longer side of a picture fills SAM's plane."""
    return InputRule("pad", system.sam.side)


def video_of_sam(task: Any) -> dict[str, Any]:
    """Masks are judged by the predicted IoU; the released code compares logits (`task.compare_logits`)."""
    return {"confidence": predicted_iou, "logits": task.compare_logits}

"""Settings of UniRef++ and of its plug-in for Segment Anything."""

from __future__ import annotations

from dataclasses import dataclass

from fewshot.config.keys import key
from fewshot.systems.config import (
    BY_NEAREST,
    INITS,
    ON_IMAGES,
    SMALL_BACKBONE,
    SMALL_TEXT,
    SMALL_TRANSFORMER,
    TEXTS,
    BackboneConfig,
    SystemConfig,
    TextConfig,
    TransformerConfig,
)


@dataclass
class FusionConfig:
    """UniFusion, and what encodes masked references."""

    fusion_head_dim: int = key(256, "width of each head of UniFusion", minimum=1, maximum=8192)
    fusion_dropout: float = key(0.1, "dropout of UniFusion's attention", minimum=0, maximum=1)
    bf16_attention: bool = key(False, "bfloat16 in UniFusion's attention, as the released models on a GPU")
    affinity_init: str = key(
        "default",
        "start of what relates query and supports (UniFusion): as released, or as feature similarity",
        choices=INITS,
    )


@dataclass
class UniRefConfig(FusionConfig, TransformerConfig, TextConfig, BackboneConfig, SystemConfig):
    """UniRef++."""

    name: str = key("uniref", "the system")
    freeze_backbone: bool = key(True, "keep the image encoder as it starts; false: all but stem and stride 4")
    text: str = key("roberta", "text encoder; none: no expressions", choices=TEXTS)
    value_encoder: str = key(
        "resnet18", "what encodes masked references; none: no supports", choices=("resnet18", "tiny", "none")
    )
    num_classes: int = key(
        1, "classes of the score head; 365 for the Objects365 pre-training", minimum=1, maximum=100_000
    )
    mask_stride: int = key(4, "pixels per mask cell, 4, or 1 to follow masks in videos", minimum=1, maximum=4)
    word_stride: int = key(
        4, "pixels per mask cell in the losses of masks that words refer to, 4 as released, or 1", minimum=1, maximum=4
    )
    word_positions: bool = key(
        False, "places ask the words with their position, which 'left' and 'upper' need (not in the released models)"
    )
    box_weight: float = key(1.0, "factor on the weights of the box losses", minimum=0, maximum=1000)
    mask_aux: bool = key(False, "the two auxiliary mask losses of the video stage")
    empty_masks: bool = key(
        False, "where nothing is to be found the best proposal learns an empty mask (not in the released models)"
    )
    box_supervision: bool = key(False, "learn masks from boxes")
    exchange_red_and_blue: bool = key(
        False, "with box_supervision: colours are compared with red and blue exchanged, as in the released code"
    )

    @property
    def support_key(self) -> str | None:
        """See `SystemConfig.support_key`."""
        return "system.value_encoder=resnet18" if self.value_encoder == "none" else None

    def check(self) -> None:
        """Refuse widths that cannot be split among the heads."""
        self.check_width()


@dataclass
class UniRefSAMConfig(FusionConfig, TextConfig, SystemConfig):
    """UniRef++ as a plug-in of Segment Anything."""

    name: str = key("uniref_sam", "the system")
    text: str = key("bert", "text encoder; none: no expressions", choices=TEXTS)
    heads: int = key(8, "attention heads of UniFusion", minimum=1, maximum=256)
    value_encoder: str = key(
        "resnet18", "what encodes masked references; none: no supports", choices=("resnet18", "none")
    )
    sam_size: str = key("huge", "size of Segment Anything", choices=("base", "large", "huge", "tiny"))

    @property
    def support_key(self) -> str | None:
        """See `SystemConfig.support_key`."""
        return "system.value_encoder=resnet18" if self.value_encoder == "none" else None


# Its tests on images, as released.
TESTS = dict.fromkeys(ON_IMAGES, BY_NEAREST)

# Instances that a CPU trains in seconds.
SMALL_FUSION = {"fusion_head_dim": 16, "fusion_dropout": 0.0}
SMALL = {
    **SMALL_BACKBONE,
    **SMALL_TEXT,
    **SMALL_TRANSFORMER,
    **SMALL_FUSION,
    "value_encoder": "tiny",
    "affinity_init": "similarity",
}
SMALL_SAM = {**SMALL_TEXT, **SMALL_FUSION, "sam_size": "tiny", "heads": 4}

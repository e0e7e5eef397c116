"""CMA: few-shot referring video object segmentation with cross-modal affinity.

Li et al., Learning Cross-Modal Affinity for Referring Video Object Segmentation Targeting Limited Samples, ICCV 2023:
ReferFormer with a support branch. Its steps are in `Trunk` and in `PyramidTrunk.forward`; here is what sets it apart.
"""

from __future__ import annotations

from torch import nn

from fewshot.nn.backbones import Backbone
from fewshot.nn.text import TextEncoder
from fewshot.systems.trunk import RELEASED, Relation, Sizes, part_of
from fewshot.systems.trunk_pyramid import PyramidTrunk


class CMA(PyramidTrunk):
    """The CMA model, its baseline and its self-affinity variant.

    Args:
        backbone: four taps at strides 4, 8, 16 and 32.
        text: text encoder with its tokenizer.
        sizes: widths and depths.
        variant: `cma`, `base` (query plus masked support) or `self` (self affinity only). The last two decode from the
            sentence, `cma` from anchor boxes.
        support_frames: `middle` or `all`: which frames of each support the cross affinity sees.
        affinity_init: `default` or `similarity`, see `CrossModalAffinity`.
        clean_anchors: see `AnchorQueries`; false for released weights.
        freeze_backbone, freeze_text: keep these as they are.
        train_affinity: false leaves the affinity's convolutions out of the optimiser, see `kept_gradients`.
        text_dropout: keep the dropout of a frozen text encoder in training, as the released code does.
        backbone_lr, text_lr: their learning rates, as a factor on the learning rate of the rest.
        checkpointing: trade time for memory in training.
    """

    name = "cma"
    needs = frozenset({"support", "expression"})

    def __init__(
        self,
        backbone: Backbone,
        text: TextEncoder,
        sizes: Sizes = RELEASED,
        *,
        variant: str = "cma",
        support_frames: str = "middle",
        affinity_init: str = "default",
        clean_anchors: bool = False,
        train_affinity: bool = True,
        freeze_backbone: bool = True,
        freeze_text: bool = True,
        text_dropout: bool = False,
        backbone_lr: float = 0.5,
        text_lr: float = 0.1,
        checkpointing: bool = False,
    ) -> None:
        anchors = "clean" if clean_anchors else "released"
        super().__init__(
            backbone,
            text,
            sizes,
            relation=Relation(variant, support_frames, affinity_init),
            anchors=anchors if variant == "cma" else None,
            freeze_backbone="all" if freeze_backbone else "none",
            freeze_text=freeze_text,
            text_dropout=text_dropout,
            backbone_lr=backbone_lr,
            text_lr=text_lr,
            checkpointing=checkpointing,
            pass_features=affinity_init == "similarity",  # which needs features that the fusion lets pass
        )
        self.variant, self.train_affinity = variant, train_affinity

    def rates(self, lr: float) -> dict[str, float]:
        """Learning rate of each part; the affinity's convolutions only if `train_affinity`."""
        rates = super().rates(lr)
        if not self.train_affinity:
            del rates["affinity"]
        return rates

    def kept_gradients(self) -> dict[str, nn.Parameter]:
        """The affinity's convolutions where they are not trained.

        The released loop clears gradients through its optimiser, which does not hold them: theirs add up from step to
        step and enter the clipping norm.
        """
        if self.train_affinity:
            return {}
        return {k: p for k, p in self.named_parameters() if p.requires_grad and part_of(k) == "affinity"}

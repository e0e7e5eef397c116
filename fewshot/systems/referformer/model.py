"""ReferFormer: expressions as queries that look for their object in every frame.

Wu et al., Language as Queries for Referring Video Object Segmentation, CVPR 2022. Its steps are those of `Trunk` and of
`PyramidTrunk.forward`.
"""

from __future__ import annotations

from typing import Any

from fewshot.losses.criterion import SetCriterion, weights_of
from fewshot.losses.matching import MatchCosts
from fewshot.nn.backbones import Backbone
from fewshot.nn.text import TextEncoder
from fewshot.systems.trunk import RELEASED, RELEASED_PADDING, Sizes
from fewshot.systems.trunk_pyramid import PyramidTrunk


class ReferFormer(PyramidTrunk):
    """The ReferFormer model; for the arguments see `Trunk`."""

    name = "referformer"
    data_pad_multiples = RELEASED_PADDING
    resizes_once = True

    def __init__(self, backbone: Backbone, text: TextEncoder, sizes: Sizes = RELEASED, **options: Any) -> None:
        super().__init__(backbone, text, sizes, **options)
        costs = MatchCosts(visible_scores=True, visible_boxes=not self.absent_boxes)
        self.criterion = SetCriterion(weights_of(self.box_weight), costs, self.absent_boxes, self.masks_per_clip)

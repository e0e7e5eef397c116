"""Tensor names of the official SgMg checkpoints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from torch import Tensor

from fewshot.systems.trunk_checkpoint import SGMG, TRUNK, check_whose, for_backbone, table
from fewshot.weights.key_table import Plan

if TYPE_CHECKING:
    from fewshot.systems.sgmg.model import SgMg

_FILTERS = (
    (f"{official}.*.{a}.", f"{own}.*.{b}.")
    for official, own in (("input_fft", "filters_before"), ("input_fft_post", "filters_after"))
    for a, b in (("laplace", "texture"), ("fc", "gate"), ("conv1", "conv1"), ("conv2", "conv2"))
)
TABLE = table(
    ("text_encoder.text_backbone.", "text.encoder."),
    ("text_proj.fc.", "text_projection.linear."),
    ("text_proj.layer_norm.", "text_projection.norm."),
    ("sentence_proj.fc.", "text_projection.sentence.linear."),
    ("sentence_proj.layer_norm.", "text_projection.sentence.norm."),
    *_FILTERS,
    ("mask_refine.conv1_1div8.", "optimiser.coarse.conv1."),
    ("mask_refine.conv2_1div8.", "optimiser.coarse.conv2."),
    ("mask_refine.conv1_1div4.", "optimiser.fine.conv1."),
    ("mask_refine.conv2_1div4.", "optimiser.fine.conv2."),
    *TRUNK,
)


def plan_of(official: Mapping[str, Tensor], system: SgMg) -> Plan:
    """Plan for reading a file with these tensors into an SgMg.

    What relates it to supports, and what tells expressions apart in the fast way, is in no official file and starts
    from scratch.

    Raises:
        ValueError: it is a checkpoint of ReferFormer or CMA.
    """
    check_whose(official, SGMG)
    fresh = ("affinity.",) * (system.relation is not None) + ("decoupling.",) * (system.decoupling is not None)
    return Plan("official SgMg checkpoint", for_backbone(TABLE, system.backbone), fresh)
